"""The proof: a campaign that is killed at every named point and at random, and delivers everything once."""

import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import update

from mailer.outbox import in_doubt
from mailer.outbox.outbox import OutboxRow
from mailer.outbox.stats import count_by_kind_and_state
from tests.crash import chance, doubts, scenes, verdict
from tests.crash.campaign import WAIT_SECONDS, Campaign, campaign
from tests.crash.points import POINTS, Point
from tests.crash.verdict import Verdict

SETTLED = frozenset({"sent", "unknown", "cancelled", "expired", "failed"})
SERVED, OF_MORE = 3, 40  # random kills of `mailer serve` and its child: so many, and one of so many
MANY = 100  # random kills; from so many on the delivery process is also killed many times in a row
FINISH_SECONDS = 600.0
HASTEN_SECONDS = 15.0  # between two looks at what is put off
UNLIMITED = ~OutboxRow.why.startswith("waits for the limit")


def prove(
    folder: Path, *, url: str, people: int, kills: int, points: Sequence[Point] = POINTS, seed: int = 1
) -> Verdict:
    """Run the whole proof on one database; returns the verdict.

    Where several workers deliver at once the sink is slower, or all would be sent long before the last kill.
    """
    slower = 1 if url.startswith("sqlite") else 2 * chance.WORKERS
    with campaign(folder, url=url, wait_seconds=WAIT_SECONDS * slower) as made:
        for point in points:
            scenes.play(made, point, people=people)
        dice = random.Random(seed)
        served = min(kills, SERVED + kills // OF_MORE)
        chance.serving(made, served, chance=dice)
        chance.working(made, kills - served, chance=dice)
        if kills >= MANY:
            chance.hammering(made, chance.IN_A_ROW)
        finish(made)
        return verdict.reach(made)


def finish(made: Campaign) -> None:
    """Let it deliver everything, let staff decide what is unknown, and let it deliver that."""
    made.sink.send_signal(signal.SIGUSR1)
    with scenes.serving(made):
        scenes.leave(made)
        if made.expected[scenes.DORA]:
            scenes.join(made)
        until_settled(made)
        made.stranded += doubts.stranded(made)
        _decide(made)
        until_settled(made)


def _decide(made: Campaign) -> None:
    """Decide as staff do who asked each person: it was sent, or it is sent once more."""
    there = made.tape.distinct()
    with made.built.database.write() as session:
        for number, email in made.unknown():
            decision: in_doubt.Resolution = "sent" if there[email] >= made.expected[email] else "resend"
            in_doubt.resolve(session, number, decision, now=made.built.clock.now())


def until_settled(made: Campaign, *, seconds: float = FINISH_SECONDS) -> None:
    """Wait until no message waits any more; what is tried again later is tried soon."""
    hasten = time.monotonic() + HASTEN_SECONDS
    end = time.monotonic() + seconds
    while True:
        with made.built.database.read() as session:
            states = {state for _, state in count_by_kind_and_state(session)}
        if states <= SETTLED:
            return
        assert time.monotonic() < end, f"not everything is settled: {states}\n{made.log()}"
        if time.monotonic() > hasten:
            _let_everything_come_due(made)
            hasten = time.monotonic() + HASTEN_SECONDS
        time.sleep(0.1)


def _let_everything_come_due(made: Campaign) -> None:
    now = made.clock.now()
    with made.built.database.write() as session:
        later = update(OutboxRow).where(OutboxRow.state == "queued", OutboxRow.due_at > now, UNLIMITED)
        session.execute(later.values(due_at=now))
