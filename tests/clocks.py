"""Clocks: a clock that stands still until a test advances it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lists.clock import Clock

START = datetime(2026, 10, 20, 15, 0, tzinfo=UTC)  # a Tuesday, twelve days before the clocks change


class StoppedClock(Clock):
    """The service's and the machine's time are the same moment, and `advance` changes both."""

    def __init__(self, now: datetime = START) -> None:
        super().__init__()
        self._real = now
        self._monotonic = 1000.0
        self._slept = 0.0

    def real(self) -> datetime:
        """Return the moment that was set last."""
        return self._real

    def monotonic(self) -> float:
        """Return seconds that increase with `advance` only."""
        return self._monotonic

    def machine(self) -> datetime:
        """Return the same moment, without the correction."""
        return self._real

    def elapsed(self) -> float:
        """Return seconds that increase with `advance` and `suspend`."""
        return self._monotonic + self._slept

    def suspend(self, **by: float) -> datetime:
        """Suspend the machine: time passes, and `monotonic` does not increase."""
        self._real += timedelta(**by)
        self._slept += timedelta(**by).total_seconds()
        return self.now()

    def sleep(self, seconds: float) -> None:
        """Increase `monotonic` without waiting."""
        self._monotonic += seconds

    def follow(self, offset: Callable[[], timedelta]) -> None:
        """Add this offset to the service's time, as the try-out's time machine does."""
        self._offset = offset

    def advance(self, **by: float) -> datetime:
        """Advance the clock: `advance(days=1)`, `advance(minutes=5)`; returns the new moment."""
        self._real += timedelta(**by)
        self._monotonic += timedelta(**by).total_seconds()
        return self.now()

    def set(self, now: datetime) -> datetime:
        """Set the moment, also to an earlier one, as on a machine whose clock was set back."""
        self._real = now
        return self.now()
