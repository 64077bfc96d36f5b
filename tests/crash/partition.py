"""Partition: one of three workers on PostgreSQL is cut off from the network inside a claim, for 90 seconds.

Two workers live in network namespaces of their own, joined to the database and the mail server by a bridge.
The cut takes one of them off the bridge: nothing is closed and nothing is refused, its packets are lost. The
others must go on within half a minute, and when the cut is healed nothing may be unknown that was never
begun. It needs root, and `ip` of iproute2.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import databases
from tests.crash import freezes, proof, scenes, verdict
from tests.crash.campaign import WAIT_SECONDS, Campaign, Kill, campaign, populate_readers
from tests.crash.freezes import HOOK, JOIN_EVERY_SECONDS, OTHERS_GO_ON_SECONDS, Tell
from tests.crash.verdict import Note, Verdict

CUT_SECONDS = 90.0
HEALED_SECONDS = 15.0
SLOWER = 6  # of the mail server, so that there is something to send
RATE = "180000/minute"  # no brake, but a lock
NAMES = ("cut", "kept")
ACCESS = "local all all trust\nhost all all 10.203.0.0/16 trust\n"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A bridge with an address, and namespaces that reach it; `cut` and `heal` lose and carry packets."""

    prefix: str
    subnet: str

    @property
    def host(self) -> str:
        """The address of the bridge, where servers listen."""
        return f"{self.subnet}.1"

    def inside(self, name: str) -> list[str]:
        """Return the command that runs another inside a namespace."""
        return ["ip", "netns", "exec", f"{self.prefix}{name}"]

    def cut(self, name: str) -> None:
        """Lose every packet from and to this namespace; nobody is told."""
        _ip("link", "set", f"{self.prefix}{name}", "nomaster")

    def heal(self, name: str) -> None:
        """Carry its packets again."""
        _ip("link", "set", f"{self.prefix}{name}", "master", f"{self.prefix}b")


def trouble() -> str:
    """Say why no network can be made here, or nothing."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        return "A network of our own needs root and iproute2."
    made = subprocess.run(["ip", "link", "add", "mlrtry", "type", "bridge"], capture_output=True, check=False)
    subprocess.run(["ip", "link", "del", "mlrtry"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "This machine makes no bridges."


@contextmanager
def network() -> Iterator[Network]:
    """Make a bridge and the namespaces, and take them away again."""
    number = os.getpid()
    made = Network(prefix=f"mlr{number % 100_000}", subnet=f"10.203.{number % 250}")
    bridge = f"{made.prefix}b"
    with ExitStack() as undone:
        _ip("link", "add", bridge, "type", "bridge")
        undone.callback(_ip, "link", "del", bridge)
        _ip("address", "add", f"{made.host}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for last, name in enumerate(NAMES, 2):
            space, there = f"{made.prefix}{name}", f"{made.prefix}n"
            _ip("netns", "add", space)
            undone.callback(_ip, "netns", "del", space)
            _ip("link", "add", space, "type", "veth", "peer", "name", there, "netns", space)
            _ip("link", "set", space, "master", bridge, "up")
            _ip("-n", space, "address", "add", f"{made.subnet}.{last}/24", "dev", there)
            _ip("-n", space, "link", "set", there, "up")
            _ip("-n", space, "link", "set", "lo", "up")
        yield made


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def prove(folder: Path, *, people: int, seconds: float = CUT_SECONDS, tell: Tell = print) -> Verdict:
    """Cut one worker off for so many seconds; raises LookupError where that cannot be done."""
    programs = databases.postgres_programs()
    if (why := trouble()) or programs is None:
        raise LookupError(why or "PostgreSQL is missing.")
    with network() as net:
        settings = (*databases.FAST, f"listen_addresses={net.host}")
        with (
            databases.postgres(programs, settings=settings, access=ACCESS) as server,
            campaign(folder, url=server.empty(), wait_seconds=SLOWER * WAIT_SECONDS, host=net.host) as made,
        ):
            made.limit(RATE, RATE)  # claims hold the lock of the limits: all others need it, too
            scenes.make_tables(made)
            populate_readers(made, people)
            scenes.announce(made)
            with scenes.serving(made), _workers(made, net, folder) as linger:
                pause = _cut(made, net, linger, seconds, tell)
                proof.until_settled(made)
            proof.finish(made)
            return verdict.reach(
                made,
                Note(what="the others stood still for at most", measured=pause, most=OTHERS_GO_ON_SECONDS),
            )


@contextmanager
def _workers(made: Campaign, net: Network, folder: Path) -> Iterator[Path]:
    """Run a worker in each namespace; gives the file that lets the one to be cut linger in its next claim."""
    linger = folder / "linger"
    with ExitStack() as running:
        for name in NAMES:
            home = freezes.another_home(made)
            database = made.url.partition("?")[0].replace("@/", f"@{net.host}/")
            environ = {**made.environ, "MAILER_HOME": str(home), "MAILER_DATABASE_URL": database}
            if name == "cut":
                environ |= {"PYTHONPATH": str(HOOK), "PROOF_LINGER": str(linger)}
            log = running.enter_context(made.log_file.open("ab"))
            command = [*net.inside(name), sys.executable, "-m", "mailer", "work"]
            worker = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
            running.callback(worker.wait)
            running.callback(worker.terminate)
        yield linger


def _cut(made: Campaign, net: Network, linger: Path, seconds: float, tell: Tell) -> float:
    """Cut one off inside a claim while others join; returns how long nothing left at most."""
    began = time.monotonic()
    made.until(lambda: len(made.tape.read()) > 100, what="messages before the cut")
    linger.touch()

    def inside() -> bool:
        made.sign_up(1)
        return linger.with_suffix(".inside").exists()

    made.until(inside, what="a claim of the worker that is cut off")
    net.cut("cut")
    cut = time.monotonic()
    tell(f"cut off after {cut - began:.1f} s, {freezes.claimed(made)} messages were claimed")
    while time.monotonic() - cut < seconds:
        made.sign_up(1)
        time.sleep(JOIN_EVERY_SECONDS)
    healed = time.monotonic()
    net.heal("cut")
    pause = made.tape.longest_pause(cut, healed)
    tell(f"healed after {healed - cut:.0f} s, the others' longest pause was {pause:.1f} s")
    made.note(Kill(point="cut off inside a claim", at=healed))
    time.sleep(HEALED_SECONDS)
    made.sink.send_signal(signal.SIGUSR1)
    return pause
