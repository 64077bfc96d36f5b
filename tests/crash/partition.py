"""Partition: one of three workers on PostgreSQL is cut off from the network inside a claim, for 90 seconds.

Two workers run in network namespaces of their own, joined to the database and the relay by a bridge. The cut
takes one of them off the bridge: nothing is closed and nothing is refused, its packets are lost. The others
must continue within half a minute, and when the network is restored no message may be unknown that was never
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
from tests.crash import freezes, proof, report, scenes
from tests.crash.campaign import WAIT_SECONDS, Campaign, Kill, open_campaign, populate_readers
from tests.crash.freezes import HOOK, JOIN_EVERY_SECONDS, OTHERS_GO_ON_SECONDS, Tell
from tests.crash.report import Note, ProofReport

CUT_SECONDS = 90.0
HEALED_SECONDS = 15.0
SLOWER = 6  # of the sink, so that there are messages to send
RATE = "180000/minute"  # too high to slow anything, but it needs the lock of the limits
NAMES = ("cut", "kept")
ACCESS = "local all all trust\nhost all all 10.203.0.0/16 trust\n"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A bridge with an address, and namespaces that reach it; `cut` and `heal` lose and carry packets."""

    prefix: str
    subnet: str

    @property
    def host(self) -> str:
        """The address of the bridge, on which servers listen."""
        return f"{self.subnet}.1"

    def inside(self, name: str) -> list[str]:
        """Return the command that runs another inside a namespace."""
        return ["ip", "netns", "exec", f"{self.prefix}{name}"]

    def cut(self, name: str) -> None:
        """Lose every packet from and to this namespace, without an error."""
        _ip("link", "set", f"{self.prefix}{name}", "nomaster")

    def heal(self, name: str) -> None:
        """Carry its packets again."""
        _ip("link", "set", f"{self.prefix}{name}", "master", f"{self.prefix}b")


def trouble() -> str:
    """Return why no network can be made on this machine, or ""."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        return "A network of our own needs root and iproute2."
    result = subprocess.run(
        ["ip", "link", "add", "mlrtry", "type", "bridge"], capture_output=True, check=False
    )
    subprocess.run(["ip", "link", "del", "mlrtry"], capture_output=True, check=False)
    return "" if result.returncode == 0 else "This machine makes no bridges."


@contextmanager
def network() -> Iterator[Network]:
    """Make a bridge and the namespaces, and remove them at the end."""
    number = os.getpid()
    setup = Network(prefix=f"mlr{number % 100_000}", subnet=f"10.203.{number % 250}")
    bridge = f"{setup.prefix}b"
    with ExitStack() as cleanup:
        _ip("link", "add", bridge, "type", "bridge")
        cleanup.callback(_ip, "link", "del", bridge)
        _ip("address", "add", f"{setup.host}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        for last, name in enumerate(NAMES, 2):
            namespace, peer = f"{setup.prefix}{name}", f"{setup.prefix}n"
            _ip("netns", "add", namespace)
            cleanup.callback(_ip, "netns", "del", namespace)
            _ip("link", "add", namespace, "type", "veth", "peer", "name", peer, "netns", namespace)
            _ip("link", "set", namespace, "master", bridge, "up")
            _ip("-n", namespace, "address", "add", f"{setup.subnet}.{last}/24", "dev", peer)
            _ip("-n", namespace, "link", "set", peer, "up")
            _ip("-n", namespace, "link", "set", "lo", "up")
        yield setup


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def prove(folder: Path, *, people: int, seconds: float = CUT_SECONDS, tell: Tell = print) -> ProofReport:
    """Cut one worker off for so many seconds; raises LookupError where that cannot be done."""
    programs = databases.postgres_programs()
    if (why := trouble()) or programs is None:
        raise LookupError(why or "PostgreSQL is missing.")
    with network() as net:
        settings = (*databases.FAST, f"listen_addresses={net.host}")
        with (
            databases.postgres(programs, settings=settings, access=ACCESS) as server,
            open_campaign(
                folder, url=server.empty(), wait_seconds=SLOWER * WAIT_SECONDS, host=net.host
            ) as campaign,
        ):
            campaign.limit(
                RATE, RATE
            )  # claims hold the lock of the limits, which all other workers need, too
            scenes.make_tables(campaign)
            populate_readers(campaign, people)
            scenes.announce(campaign)
            with scenes.serving(campaign), _workers(campaign, net, folder) as linger:
                pause = _cut(campaign, net, linger, seconds, tell)
                proof.until_settled(campaign)
            proof.finish(campaign)
            return report.reach(
                campaign,
                Note(what="the others stood still for at most", measured=pause, most=OTHERS_GO_ON_SECONDS),
            )


@contextmanager
def _workers(campaign: Campaign, net: Network, folder: Path) -> Iterator[Path]:
    """Run a worker in each namespace; yields the file that delays the next claim of the worker to cut off."""
    linger = folder / "linger"
    with ExitStack() as running:
        for name in NAMES:
            home = freezes.another_home(campaign)
            database = campaign.url.partition("?")[0].replace("@/", f"@{net.host}/")
            environ = {**campaign.environ, "MAILER_HOME": str(home), "MAILER_DATABASE_URL": database}
            if name == "cut":
                environ |= {"PYTHONPATH": str(HOOK), "PROOF_LINGER": str(linger)}
            log = running.enter_context(campaign.log_file.open("ab"))
            command = [*net.inside(name), sys.executable, "-m", "mailer", "work"]
            worker = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
            running.callback(worker.wait)
            running.callback(worker.terminate)
        yield linger


def _cut(campaign: Campaign, net: Network, linger: Path, seconds: float, tell: Tell) -> float:
    """Cut one worker off inside a claim while people join; returns the longest pause of the others."""
    began = time.monotonic()
    campaign.until(lambda: len(campaign.tape.read()) > 100, what="messages before the cut")
    linger.touch()

    def inside() -> bool:
        campaign.sign_up(1)
        return linger.with_suffix(".inside").exists()

    campaign.until(inside, what="a claim of the worker that is cut off")
    net.cut("cut")
    cut = time.monotonic()
    tell(f"cut off after {cut - began:.1f} s, {freezes.claimed(campaign)} messages were claimed")
    while time.monotonic() - cut < seconds:
        campaign.sign_up(1)
        time.sleep(JOIN_EVERY_SECONDS)
    healed = time.monotonic()
    net.heal("cut")
    pause = campaign.tape.longest_pause(cut, healed)
    tell(f"healed after {healed - cut:.0f} s, the others' longest pause was {pause:.1f} s")
    campaign.note(Kill(point="cut off inside a claim", at=healed))
    time.sleep(HEALED_SECONDS)
    campaign.sink.send_signal(signal.SIGUSR1)
    return pause
