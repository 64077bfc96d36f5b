"""Clock: the only module that asks the machine for the time.

Edges read it once per unit of work and pass `now` down.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def _no_offset() -> timedelta:
    return timedelta(0)


class Clock:
    """Returns the service's time, the machine's time, and time that never runs backwards.

    `offset` is called at each `now()`: the try-out's time machine stores it in the database, so that every
    process has the same time. Leases and timeouts use `real` and `monotonic`, which no offset changes.
    `correction` is added to this machine's time where several machines share a database
    (mailer/coordination/clock_skew.py).
    """

    correction = timedelta(0)

    def __init__(self, offset: Callable[[], timedelta] = _no_offset) -> None:
        self._offset = offset

    def now(self) -> datetime:
        """Return the service's present moment, aware, in UTC."""
        return self.real() + self._offset()

    def real(self) -> datetime:
        """Return the present moment, aware, in UTC: the machine's time corrected to the database's."""
        return self.machine() + self.correction

    def machine(self) -> datetime:
        """Return the time of this machine's clock, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that only increase, for timeouts; the time of a suspended machine is not counted."""
        return time.monotonic()

    def elapsed(self) -> float:
        """Return seconds that only increase and include the time of a suspended machine, for leases."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        """Block this thread for some seconds."""
        time.sleep(seconds)
