"""Doubts: which rows may end `unknown`, judged from the lines that the journals were given.

A row is *stranded* when it ends unknown though somebody knows better: its final dot was never written, or its
worker wrote the answer down. Only a reboot, which may lose lines of a journal, excuses that.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.witness import Witness

UNKNOWN = """
SELECT outbox.id, attempts.attempt FROM outbox JOIN attempts ON attempts.outbox_id = outbox.id
WHERE outbox.state = 'unknown' AND attempts.outcome = 'unknown'
"""


class Journals:
    """What all journals of one world were given, by row and attempt."""

    def __init__(self) -> None:
        self._begun: dict[int, set[int]] = {}
        self._answers: dict[tuple[int, int], str] = {}

    def begin(self, row: int, attempt: int) -> None:
        """See the line that stands before a final dot."""
        self._begun.setdefault(row, set()).add(attempt)

    def answer(self, row: int, attempt: int, state: str) -> None:
        """See the line that says what a relay answered."""
        self._answers[row, attempt] = state

    def stranded(self, witness: "Witness") -> Iterator[str]:
        """Say which rows are unknown at the end though no doubt is left, or never was."""
        if witness.world.rebooted:
            return
        doubted: dict[int, set[int]] = {}
        for row, attempt in witness.ask(UNKNOWN):
            doubted.setdefault(row, set()).add(attempt)
        for row, attempts in doubted.items():
            begun = attempts & self._begun.get(row, set())
            if not begun:
                yield f"row {row} is unknown, though its final dot was never written"
            elif all(self._answers.get((row, attempt), "unknown") != "unknown" for attempt in begun):
                yield f"row {row} is unknown, though its worker wrote the answer into its journal"
