"""Freezes: a delivery process stands still for longer than its lease, and goes on as if nothing had been.

On SQLite it is the only one, so mail waits for it. On PostgreSQL it is one of three, of which two have a data
folder of their own, as on other machines; meanwhile people join, and the others must go on.
"""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import func, select

from mailer.outbox.outbox import OutboxRow
from tests.crash import chance, machine, proof, scenes, verdict
from tests.crash.campaign import NOTHING, WAIT_SECONDS, Campaign, Kill, campaign, populate_readers
from tests.crash.verdict import Note, Verdict

LEASE_SECONDS = 45.0
OVER_SECONDS = 8.0  # beyond the lease: long enough for the rescue to look
ELSEWHERE_SECONDS = 30.0  # … and for others to believe that a worker on another machine is lost
OTHERS_GO_ON_SECONDS = 30.0
JOIN_EVERY_SECONDS = 0.5
LITTLE = 300  # messages
OTHERS = 2  # workers beside the one of `mailer serve`, on PostgreSQL
HOOK = Path(__file__).with_name("hook")
SENDING_SECONDS = 0.5

Tell = Callable[[str], None]


def prove(
    folder: Path,
    *,
    url: str,
    people: int,
    times: int,
    seed: int = 1,
    lease_seconds: float = LEASE_SECONDS,
    tell: Tell = print,
) -> Verdict:
    """Freeze delivery so many times; with a shorter lease it takes less long."""
    with campaign(folder, url=url, wait_seconds=WAIT_SECONDS, settings=shorter(lease_seconds)) as made:
        scenes.make_tables(made)
        populate_readers(made, people)
        scenes.announce(made)
        pause = _freeze_often(made, times, lease_seconds, random.Random(seed), tell)
        proof.finish(made)
        notes = [] if made.embedded else [
            Note(what="others stood still for at most", measured=pause, most=OTHERS_GO_ON_SECONDS)
        ]  # fmt: skip
        return verdict.reach(made, *notes)


def shorter(lease_seconds: float) -> dict[str, str]:
    """Return the environment of processes whose lease is this long."""
    if lease_seconds == LEASE_SECONDS:
        return dict(NOTHING)
    return {"PYTHONPATH": str(HOOK), "PROOF_LEASE": str(lease_seconds)}


def _freeze_often(made: Campaign, times: int, lease_seconds: float, dice: random.Random, tell: Tell) -> float:
    """Freeze one worker after the other; returns the longest pause of the others."""
    longest, readers = 0.0, list(made.expected)
    seconds = lease_seconds + (OVER_SECONDS if made.embedded else ELSEWHERE_SECONDS)
    with working(made) as pids:
        since = time.monotonic()
        for number in range(times):
            supply(made, readers)
            made.sign_up(chance.SIGN_UPS)
            made.until(lambda: made.tape.taken_after(since), what="a message before a freeze")  # noqa: B023
            time.sleep(dice.uniform(0.05, SENDING_SECONDS))
            frozen = [dice.choice(pids())]
            stopped = time.monotonic()
            machine.stop(frozen)
            held = claimed(made)
            _stand_by(made, seconds)
            since = time.monotonic()
            pause = made.tape.longest_pause(stopped, since)
            longest = max(longest, pause)
            made.note(Kill(point="frozen, then goes on", at=since, timed=made.embedded, anew=False))
            machine.go_on(frozen)
            tell(f"freeze {number + 1} of {times}: {held} were claimed, no mail for {pause:.1f} s")
        made.sign_up(chance.SIGN_UPS)
        made.until(lambda: made.tape.taken_after(since), what="a message after the last freeze")
        proof.until_settled(made)
    return longest


def supply(made: Campaign, readers: list[str]) -> None:
    """Write to these readers once more where little is left to send, so that something can be claimed."""
    if made.waiting() < LITTLE:
        scenes.announce(made, "--again")
        made.expected.update(readers)


def _stand_by(made: Campaign, seconds: float) -> None:
    """Wait; where other workers are, let people join meanwhile."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not made.embedded:
            made.sign_up(1)
        time.sleep(min(left, seconds if made.embedded else JOIN_EVERY_SECONDS))


@contextmanager
def working(made: Campaign) -> Iterator[Callable[[], list[int]]]:
    """Run `mailer serve`, and on PostgreSQL two workers more; gives the ids of those that deliver now."""
    with ExitStack() as running:
        server = running.enter_context(scenes.running(made, "serve"))
        others = [
            running.enter_context(scenes.running(made, "work", home=another_home(made)))
            for _ in range(0 if made.embedded else OTHERS)
        ]

        def pids() -> list[int]:
            made.until(lambda: chance.child_of(server.pid) is not None, what="the delivery process")
            child = chance.child_of(server.pid)
            assert child is not None
            return [child, *(other.pid for other in others)]

        yield pids


def another_home(made: Campaign) -> Path:
    """Make the data folder of a worker on another machine: nobody else sees its journal."""
    home = made.home.with_name(f"home{len(made.elsewhere) + 2}")
    shutil.copytree(made.home / "secrets", home / "secrets")
    made.elsewhere.append(home)
    return home


def claimed(made: Campaign) -> int:
    """Count the messages that workers hold now."""
    with made.built.database.read() as session:
        return session.scalar(select(func.count()).where(OutboxRow.state == "sending")) or 0
