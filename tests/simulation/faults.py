"""Faults: what goes wrong in a world besides its relays, drawn from its seed.

Each world suffers some kinds and is spared others, so that none hides behind the rest; when it is healed,
nothing goes wrong any more.
"""

from random import Random
from typing import TYPE_CHECKING

from mailer.delivery.delivery import RENEW_SECONDS
from mailer.delivery.worker_lease import LEASE
from tests.simulation.clock import SECOND
from tests.simulation.storage import FULL, LOCKED, LOST

if TYPE_CHECKING:
    from tests.simulation.world import World

RENEWED_BEFORE = LEASE.total_seconds() - RENEW_SECONDS  # what is left of a lease when it should be renewed


class Faults:
    """The disk, the database and the journal of one world."""

    def __init__(self, world: "World", chance: Random) -> None:
        self._world, self._chance = world, chance
        self.heal()

    def begin(self) -> None:
        """Let go wrong from now on what the plan says."""
        plan = self._world.plan
        self._locked = plan.locked
        self._lost_answers = plan.lost_answers
        self._refusals = plan.journal_refusals

    def fill_disk(self, seconds: float) -> None:
        """Let no commit succeed for a while; for long enough, and no worker can keep what it holds."""
        self._world.tell("disk", f"full for {seconds:.1f} s")
        now = self._world.clock.ticks
        self._full_since = now if now >= self._full_until else self._full_since
        self._full_until = now + int(seconds * SECOND)
        if self._full_until - self._full_since > RENEWED_BEFORE * SECOND:
            self._world.stalled = True

    def heal(self) -> None:
        """Let nothing go wrong from now on."""
        self._locked = self._lost_answers = self._refusals = 0.0
        self._full_until = self._full_since = 0

    def begin_trouble(self) -> str:
        """Return why a transaction cannot begin, or nothing."""
        return LOCKED if self._happens(self._locked) else ""

    def read_trouble(self) -> str:
        """Return why nothing can be read, or nothing."""
        return LOST if self._happens(self._locked / 8) else ""

    def commit_trouble(self) -> str:
        """Return why a commit fails without effect, or nothing."""
        return FULL if self._world.clock.ticks < self._full_until else ""

    def loses_commit_answer(self) -> bool:
        """Tell whether a commit that took effect is not known to have."""
        return self._happens(self._lost_answers)

    def refuses_journal(self) -> bool:
        """Tell whether a line of the journal cannot be written."""
        return self._happens(self._refusals)

    def _happens(self, often: float) -> bool:
        return often > 0 and self._chance.random() < often
