"""Freezes: a delivery process is stopped for longer than its lease, and then continues.

On SQLite it is the only one, so mail waits for it. On PostgreSQL it is one of three, of which two have a data
folder of their own, as on other machines; meanwhile people join, and the others must continue.
"""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sqlalchemy import func, select

from mailer.outbox.outbox import OutboxRow
from tests.crash import chance, machine, proof, report, scenes
from tests.crash.campaign import NOTHING, WAIT_SECONDS, Campaign, Kill, open_campaign, populate_readers
from tests.crash.report import Note, ProofReport

LEASE_SECONDS = 45.0
OVER_SECONDS = 8.0  # beyond the lease: long enough for the rescue job
ELSEWHERE_SECONDS = 30.0  # … and until others treat a worker on another machine as lost
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
) -> ProofReport:
    """Freeze delivery so many times; a shorter lease shortens it."""
    with open_campaign(
        folder, url=url, wait_seconds=WAIT_SECONDS, settings=shorter(lease_seconds)
    ) as campaign:
        scenes.make_tables(campaign)
        populate_readers(campaign, people)
        scenes.announce(campaign)
        pause = _freeze_often(campaign, times, lease_seconds, random.Random(seed), tell)
        proof.finish(campaign)
        notes = [] if campaign.embedded else [
            Note(what="others stood still for at most", measured=pause, most=OTHERS_GO_ON_SECONDS)
        ]  # fmt: skip
        return report.reach(campaign, *notes)


def shorter(lease_seconds: float) -> dict[str, str]:
    """Return the environment of processes whose lease is this long."""
    if lease_seconds == LEASE_SECONDS:
        return dict(NOTHING)
    return {"PYTHONPATH": str(HOOK), "PROOF_LEASE": str(lease_seconds)}


def _freeze_often(
    campaign: Campaign, times: int, lease_seconds: float, dice: random.Random, tell: Tell
) -> float:
    """Freeze one worker after the other; returns the longest pause of the others."""
    longest, readers = 0.0, list(campaign.expected)
    seconds = lease_seconds + (OVER_SECONDS if campaign.embedded else ELSEWHERE_SECONDS)
    with working(campaign) as pids:
        since = time.monotonic()
        for number in range(times):
            supply(campaign, readers)
            campaign.sign_up(chance.SIGN_UPS)
            campaign.until(lambda: campaign.tape.has_message_after(since), what="a message before a freeze")  # noqa: B023
            time.sleep(dice.uniform(0.05, SENDING_SECONDS))
            frozen = [dice.choice(pids())]
            stopped = time.monotonic()
            machine.stop(frozen)
            held = claimed(campaign)
            _stand_by(campaign, seconds)
            since = time.monotonic()
            pause = campaign.tape.longest_pause(stopped, since)
            longest = max(longest, pause)
            campaign.note(Kill(point="frozen, then goes on", at=since, timed=campaign.embedded, anew=False))
            machine.go_on(frozen)
            tell(f"freeze {number + 1} of {times}: {held} were claimed, no mail for {pause:.1f} s")
        campaign.sign_up(chance.SIGN_UPS)
        campaign.until(lambda: campaign.tape.has_message_after(since), what="a message after the last freeze")
        proof.until_settled(campaign)
    return longest


def supply(campaign: Campaign, readers: list[str]) -> None:
    """Send these readers one more update where few messages wait, so that some can be claimed."""
    if campaign.waiting() < LITTLE:
        scenes.announce(campaign, "--again")
        campaign.expected.update(readers)


def _stand_by(campaign: Campaign, seconds: float) -> None:
    """Wait; where other workers run, let people join meanwhile."""
    end = time.monotonic() + seconds
    while (remaining := end - time.monotonic()) > 0:
        if not campaign.embedded:
            campaign.sign_up(1)
        time.sleep(min(remaining, seconds if campaign.embedded else JOIN_EVERY_SECONDS))


@contextmanager
def working(campaign: Campaign) -> Iterator[Callable[[], list[int]]]:
    """Run `mailer serve`, and on PostgreSQL two more workers; yields the ids of those that deliver now."""
    with ExitStack() as running:
        server = running.enter_context(scenes.running(campaign, "serve"))
        others = [
            running.enter_context(scenes.running(campaign, "work", home=another_home(campaign)))
            for _ in range(0 if campaign.embedded else OTHERS)
        ]

        def pids() -> list[int]:
            campaign.until(lambda: chance.child_of(server.pid) is not None, what="the delivery process")
            child = chance.child_of(server.pid)
            assert child is not None
            return [child, *(other.pid for other in others)]

        yield pids


def another_home(campaign: Campaign) -> Path:
    """Make the data folder of a worker on another machine: no other process reads its journal."""
    home = campaign.home.with_name(f"home{len(campaign.elsewhere) + 2}")
    shutil.copytree(campaign.home / "secrets", home / "secrets")
    campaign.elsewhere.append(home)
    return home


def claimed(campaign: Campaign) -> int:
    """Count the messages that workers hold now."""
    with campaign.service.database.read() as session:
        return session.scalar(select(func.count()).where(OutboxRow.state == "sending")) or 0
