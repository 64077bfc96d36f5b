"""Faults: errors of the disk, the database and the journal in a world, drawn from its seed.

Each world has only some kinds, so that no kind hides behind the others; after a world is healed, there are no
more faults.
"""

from random import Random
from typing import TYPE_CHECKING

from mailer.delivery.delivery import RENEW_SECONDS
from mailer.delivery.worker_lease import LEASE
from tests.simulation.clock import SECOND
from tests.simulation.storage import FULL, LOCKED, LOST

if TYPE_CHECKING:
    from tests.simulation.world import World

RENEWED_BEFORE = LEASE.total_seconds() - RENEW_SECONDS  # the rest of a lease when it should be renewed


class Faults:
    """The disk, the database and the journal of one world."""

    def __init__(self, world: "World", chance: Random) -> None:
        self._world, self._chance = world, chance
        self.heal()

    def begin(self) -> None:
        """Begin the faults of the plan."""
        plan = self._world.plan
        self._locked = plan.locked
        self._lost_answers = plan.lost_answers
        self._refusals = plan.journal_refusals

    def fill_disk(self, seconds: float) -> None:
        """Let every commit fail for a while; after long enough no worker can keep its claims."""
        self._world.tell("disk", f"full for {seconds:.1f} s")
        now = self._world.clock.ticks
        self._full_since = now if now >= self._full_until else self._full_since
        self._full_until = now + int(seconds * SECOND)
        if self._full_until - self._full_since > RENEWED_BEFORE * SECOND:
            self._world.stalled = True

    def heal(self) -> None:
        """End all faults."""
        self._locked = self._lost_answers = self._refusals = 0.0
        self._full_until = self._full_since = 0

    def begin_trouble(self) -> str:
        """Return the error that prevents a transaction from beginning, or ""."""
        return LOCKED if self._happens(self._locked) else ""

    def read_trouble(self) -> str:
        """Return the error of a read, or ""."""
        return LOST if self._happens(self._locked / 8) else ""

    def commit_trouble(self) -> str:
        """Return the error of a commit that fails without effect, or ""."""
        return FULL if self._world.clock.ticks < self._full_until else ""

    def loses_commit_answer(self) -> bool:
        """Return whether the answer to a successful commit is lost."""
        return self._happens(self._lost_answers)

    def refuses_journal(self) -> bool:
        """Return whether a line of the journal cannot be written."""
        return self._happens(self._refusals)

    def _happens(self, often: float) -> bool:
        return often > 0 and self._chance.random() < often
