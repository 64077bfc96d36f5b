"""Doubts: which messages may be unknown, by what the journals of the workers say.

A message is stranded when it is unknown though nobody need be in doubt: its final dot was never written, or
its worker wrote the answer into its journal.
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
    """Say in a sentence each which messages are unknown now and need not be."""
    begun: set[tuple[int, int]] = set()
    answered: set[tuple[int, int]] = set()
    for home in (campaign.home, *campaign.elsewhere):
        with suppress(BadInput):  # a worker that sent nothing leaves no journal
            for testimony in journal.read_all(home / journal.FOLDER):
                begun |= testimony.started_attempts
                answered |= {attempt for attempt, state in testimony.outcomes.items() if state != STAYS}
    return list(_stranded(campaign, begun, answered))


def _stranded(
    campaign: Campaign, begun: set[tuple[int, int]], answered: set[tuple[int, int]]
) -> Iterator[str]:
    doubted = select(OutboxRow.id, Attempt.attempt).join(Attempt, Attempt.outbox_id == OutboxRow.id)
    unknown = doubted.where(OutboxRow.state == STAYS, Attempt.outcome == STAYS)
    attempts: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
    with campaign.built.database.read() as session:
        for row, attempt in session.execute(unknown):
            attempts[row].add((row, attempt))
    for row, doubtful in attempts.items():
        if not doubtful & begun:
            yield f"message {row} is unknown and was never begun"
        elif doubtful & begun <= answered:
            yield f"message {row} is unknown, and the journal has the answer"
