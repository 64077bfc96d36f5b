"""Doubts: which messages may be unknown, by the journals of the workers.

A message is stranded when it is unknown without need: its final dot was never written, or its worker wrote
the answer into its journal.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress

from sqlalchemy import select

from lists.errors import BadInput
from mailer.delivery import journal
from mailer.outbox.attempts import Attempt
from mailer.outbox.outbox import OutboxRow
from tests.crash.campaign import Campaign

STAYS = "unknown"


def stranded(campaign: Campaign) -> list[str]:
    """Return a sentence for each message that is unknown now without need."""
    started: set[tuple[int, int]] = set()
    settled_attempts: set[tuple[int, int]] = set()
    for home in (campaign.home, *campaign.elsewhere):
        with suppress(BadInput):  # a worker that sent nothing leaves no journal
            for contents in journal.read_all(home / journal.FOLDER):
                started |= contents.started_attempts
                settled_attempts |= {
                    attempt for attempt, state in contents.outcomes.items() if state != STAYS
                }
    return list(_stranded(campaign, started, settled_attempts))


def _stranded(
    campaign: Campaign, started: set[tuple[int, int]], settled_attempts: set[tuple[int, int]]
) -> Iterator[str]:
    statement = select(OutboxRow.id, Attempt.attempt).join(Attempt, Attempt.outbox_id == OutboxRow.id)
    unknown_attempts = statement.where(OutboxRow.state == STAYS, Attempt.outcome == STAYS)
    attempts: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
    with campaign.service.database.read() as session:
        for row, attempt in session.execute(unknown_attempts):
            attempts[row].add((row, attempt))
    for row, row_attempts in attempts.items():
        if not row_attempts & started:
            yield f"message {row} is unknown and was never begun"
        elif row_attempts & started <= settled_attempts:
            yield f"message {row} is unknown, and the journal has the answer"
