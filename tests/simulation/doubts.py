"""Doubts: check which rows may end `unknown`, from the lines written to the journals.

A row is *stranded* when it ends unknown without reason: its final dot was never written, or its worker
recorded the answer. Only a reboot, which may lose lines of a journal, excuses that.
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
    """The lines written to all journals of one world, by row and attempt."""

    def __init__(self) -> None:
        self._dots: dict[int, set[int]] = {}
        self._answers: dict[tuple[int, int], str] = {}

    def begin(self, row: int, attempt: int) -> None:
        """Note the line that is written before a final dot."""
        self._dots.setdefault(row, set()).add(attempt)

    def answer(self, row: int, attempt: int, state: str) -> None:
        """Note the line with a relay's answer."""
        self._answers[row, attempt] = state

    def list_stranded(self, witness: "Witness") -> Iterator[str]:
        """Yield a sentence on each row that is unknown at the end without a doubt."""
        if witness.world.rebooted:
            return
        doubted: dict[int, set[int]] = {}
        for row, attempt in witness.ask(UNKNOWN):
            doubted.setdefault(row, set()).add(attempt)
        for row, attempts in doubted.items():
            dots = attempts & self._dots.get(row, set())
            if not dots:
                yield f"row {row} is unknown, though its final dot was never written"
            elif all(self._answers.get((row, attempt), "unknown") != "unknown" for attempt in dots):
                yield f"row {row} is unknown, though its worker wrote the answer into its journal"
