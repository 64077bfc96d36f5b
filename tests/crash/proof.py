"""Proof: a campaign that is killed at every named point and at random, and delivers everything once."""

import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import update

from mailer.outbox import in_doubt
from mailer.outbox.outbox import OutboxRow
from mailer.outbox.stats import count_by_kind_and_state
from mailer.reasons import Reason
from tests.crash import chance, doubts, report, scenes
from tests.crash.campaign import WAIT_SECONDS, Campaign, open_campaign
from tests.crash.points import POINTS, Point
from tests.crash.report import ProofReport

FINAL_STATES = frozenset({"sent", "unknown", "cancelled", "expired", "failed"})
SERVED, OF_MORE = 3, 40  # random kills of `mailer serve` and its child: so many, and one of so many
MANY = 100  # random kills; from so many on the delivery process is also killed many times in a row
FINISH_SECONDS = 600.0
HASTEN_SECONDS = 15.0  # between two checks for postponed messages
UNLIMITED = OutboxRow.reason != Reason.DOMAIN_RATE_LIMIT


def prove(
    folder: Path, *, url: str, people: int, kills: int, points: Sequence[Point] = POINTS, seed: int = 1
) -> ProofReport:
    """Run the whole proof on one database; returns the report.

    Where several workers deliver at once the sink is slower, or all would be sent long before the last kill.
    """
    slower = 1 if url.startswith("sqlite") else 2 * chance.WORKERS
    with open_campaign(folder, url=url, wait_seconds=WAIT_SECONDS * slower) as campaign:
        for point in points:
            scenes.play(campaign, point, people=people)
        dice = random.Random(seed)
        served = min(kills, SERVED + kills // OF_MORE)
        chance.serving(campaign, served, chance=dice)
        chance.working(campaign, kills - served, chance=dice)
        if kills >= MANY:
            chance.hammering(campaign, chance.IN_A_ROW)
        finish(campaign)
        return report.reach(campaign)


def finish(campaign: Campaign) -> None:
    """Deliver everything, decide what is unknown as staff, and deliver that."""
    campaign.sink.send_signal(signal.SIGUSR1)
    with scenes.serving(campaign):
        scenes.leave(campaign)
        if campaign.expected[scenes.DORA]:
            scenes.join(campaign)
        until_settled(campaign)
        campaign.stranded += doubts.stranded(campaign)
        _decide(campaign)
        until_settled(campaign)


def _decide(campaign: Campaign) -> None:
    """Decide as staff who asked each person: it was sent, or it is sent again."""
    received = campaign.tape.distinct()
    with campaign.service.database.write() as session:
        for number, email in campaign.unknown():
            decision: in_doubt.Resolution = (
                "sent" if received[email] >= campaign.expected[email] else "resend"
            )
            in_doubt.resolve(session, number, decision, now=campaign.service.clock.now())


def until_settled(campaign: Campaign, *, seconds: float = FINISH_SECONDS) -> None:
    """Wait until no message waits any more; retries are made due early."""
    hasten_at = time.monotonic() + HASTEN_SECONDS
    end = time.monotonic() + seconds
    while True:
        with campaign.service.database.read() as session:
            states = {state for _, state in count_by_kind_and_state(session)}
        if states <= FINAL_STATES:
            return
        assert time.monotonic() < end, f"not everything is settled: {states}\n{campaign.log()}"
        if time.monotonic() > hasten_at:
            _let_everything_come_due(campaign)
            hasten_at = time.monotonic() + HASTEN_SECONDS
        time.sleep(0.1)


def _let_everything_come_due(campaign: Campaign) -> None:
    now = campaign.clock.now()
    with campaign.service.database.write() as session:
        statement = update(OutboxRow).where(OutboxRow.state == "queued", OutboxRow.due_at > now, UNLIMITED)
        session.execute(statement.values(due_at=now))
