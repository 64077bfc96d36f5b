"""The clock of a simulated world: whole microseconds that only the world moves."""

from datetime import datetime, timedelta

from lists.clock import Clock
from tests.clocks import START

SECOND = 1_000_000


class WorldClock(Clock):
    """Every process of a world lives by it; the wall clock can be set back, the other never is."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0
        self.shift = timedelta(0)

    def real(self) -> datetime:
        """Return what the wall clock shows."""
        return START + timedelta(microseconds=self.ticks) + self.shift

    def monotonic(self) -> float:
        """Return seconds since the world began."""
        return self.ticks / SECOND

    def machine(self) -> datetime:
        """Return the same: all processes are on one machine."""
        return self.real()

    def elapsed(self) -> float:
        """Return seconds since the world began; it never sleeps."""
        return self.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let this much time pass."""
        self.ticks += round(seconds * SECOND)

    def at(self, moment: datetime) -> int:
        """Return the ticks at which the wall clock will show this moment."""
        return (moment - self.shift - START) // timedelta(microseconds=1)
