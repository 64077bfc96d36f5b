"""The only place that asks the machine the time; edges read it once per unit of work and hand `now` down."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def _no_offset() -> timedelta:
    return timedelta(0)


class Clock:
    """Tells the service's time, the machine's time, and time that never runs backwards.

    `offset` is asked at each `now()`: the try-out's time machine keeps it in the database, so that every
    process lives in the same moment. Leases and timeouts use `real` and `monotonic`, which no offset moves.
    `correction` is what is added to this machine's time where several share a database
    (mailer/coordination/clock_skew.py).
    """

    correction = timedelta(0)

    def __init__(self, offset: Callable[[], timedelta] = _no_offset) -> None:
        self._offset = offset

    def now(self) -> datetime:
        """Return the service's present moment, aware, in UTC."""
        return self.real() + self._offset()

    def real(self) -> datetime:
        """Return the present moment, aware, in UTC: the machine's, corrected to the database's."""
        return self.machine() + self.correction

    def machine(self) -> datetime:
        """Return what this machine's clock shows, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that only ever grow, for timeouts; they stand still while the machine sleeps."""
        return time.monotonic()

    def elapsed(self) -> float:
        """Return seconds that only ever grow and count the machine's sleep as well, for leases."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        """Let other threads and processes have their turn for a while."""
        time.sleep(seconds)
