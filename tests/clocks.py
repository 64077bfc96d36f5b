"""A clock that stands still until a test moves it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from lists.clock import Clock

START = datetime(2026, 10, 20, 15, 0, tzinfo=UTC)  # a Tuesday, twelve days before the clocks change


class StoppedClock(Clock):
    """The service's and the machine's time are the same moment, and `advance` moves both."""

    def __init__(self, now: datetime = START) -> None:
        super().__init__()
        self._real = now
        self._monotonic = 1000.0
        self._slept = 0.0

    def real(self) -> datetime:
        """Return the moment last set."""
        return self._real

    def monotonic(self) -> float:
        """Return seconds that grow with `advance` only."""
        return self._monotonic

    def machine(self) -> datetime:
        """Return the same moment: what is added to it changes nothing."""
        return self._real

    def elapsed(self) -> float:
        """Return seconds that grow with `advance` and `suspend`."""
        return self._monotonic + self._slept

    def suspend(self, **by: float) -> datetime:
        """Let the machine sleep: time passes, and what counts only waking seconds does not notice."""
        self._real += timedelta(**by)
        self._slept += timedelta(**by).total_seconds()
        return self.now()

    def sleep(self, seconds: float) -> None:
        """Let no real time pass."""
        self._monotonic += seconds

    def follow(self, offset: Callable[[], timedelta]) -> None:
        """Add this to what the service calls now, as the try-out's time machine does."""
        self._offset = offset

    def advance(self, **by: float) -> datetime:
        """Let time pass: `advance(days=1)`, `advance(minutes=5)`; returns the new moment."""
        self._real += timedelta(**by)
        self._monotonic += timedelta(**by).total_seconds()
        return self.now()

    def set(self, now: datetime) -> datetime:
        """Stand at this moment, also an earlier one, as a machine whose clock was set back."""
        self._real = now
        return self.now()
