"""Clocks: those of a simulated world, in whole microseconds that only the world moves."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from lists.clock import Clock
from tests.clocks import START

if TYPE_CHECKING:
    from tests.simulation.process import Process

SECOND = 1_000_000


class WorldClock(Clock):
    """The world's own time; the wall clock can be set back or jump ahead, `ticks` only ever grow."""

    def __init__(self) -> None:
        super().__init__()
        self.ticks = 0
        self.shift = timedelta(0)
        self.asleep = timedelta(0)  # suspensions of the whole machine, which `ticks` do not count

    def real(self) -> datetime:
        """Return what the wall clock shows."""
        return self.machine()

    def machine(self) -> datetime:
        """Return the same: the clocks of all machines agree."""
        return START + timedelta(microseconds=self.ticks) + self.shift

    def monotonic(self) -> float:
        """Return seconds since the world began, as CLOCK_MONOTONIC: without those of a suspension."""
        return self.ticks / SECOND

    def elapsed(self) -> float:
        """Return seconds since the world began, as CLOCK_BOOTTIME: with those of a suspension."""
        return self.ticks / SECOND + self.asleep.total_seconds()

    def sleep(self, seconds: float) -> None:
        """Let this much time pass."""
        self.ticks += round(seconds * SECOND)

    def at(self, moment: datetime) -> int:
        """Return the ticks at which the wall clock will show this moment."""
        return (moment - self.shift - START) // timedelta(microseconds=1)


class ProcessClock(Clock):
    """The clock of one process: its monotonic time stops while only its machine is suspended."""

    def __init__(self, world: WorldClock, process: "Process") -> None:
        super().__init__()
        self._world, self._process = world, process

    def real(self) -> datetime:
        """Return what the wall clock shows."""
        return self._world.real()

    def machine(self) -> datetime:
        """Return the same."""
        return self._world.real()

    def monotonic(self) -> float:
        """Return seconds as CLOCK_MONOTONIC of this process's machine counts them."""
        return (self._world.ticks - self._process.slept) / SECOND

    def elapsed(self) -> float:
        """Return seconds as CLOCK_BOOTTIME of this process's machine counts them."""
        return self._world.elapsed()

    def sleep(self, seconds: float) -> None:
        """Let this much time pass."""
        self._world.sleep(seconds)
