"""Duties: the two kinds of process: one runs the jobs and answers requests, one delivers.

```
serve   runs the jobs, and the actions of neighbors and staff
work    delivers, through the real mailer/smtp/connection.py, over a simulated network, to simulated relays
```
Both are built and started as in production; a kill, an error of the database, or a stop ends them.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress

from lists.errors import StorageError
from mailer.coordination import heartbeat
from tests.simulation.clock import SECOND
from tests.simulation.process import Killed, Process
from tests.simulation.stage import journals_of

NEXT_TICK = 1.0  # seconds
HEAVY, HEAVY_LATER = ("fill-sequence",), 4  # the jobs with the slowest empty runs, run less often
HELD = "SELECT id FROM outbox WHERE state = 'sending' AND worker = ?"


class Serve(Process):
    """The process that runs the jobs and answers requests."""

    def begin(self) -> None:
        """Start the process; it ticks from now on."""
        try:
            self.service = self.world.stage.build(self)
        except StorageError:
            self.release()
            self.world.died(self)
            return
        self._last: dict[str, int] = {}
        self.world.after(0.05, self.tick)

    def tick(self) -> None:
        """Run each job that is due, as the scheduler does."""
        now = self.world.clock.ticks
        if self.dead or self.world.healed:
            return
        if now >= self.stands_until:
            for job in self.service.jobs.all():
                late = self.world.plan.lateness * (HEAVY_LATER if job.name in HEAVY else 1)
                rest = int(job.every.total_seconds() * late * SECOND)
                if now - self._last.get(job.name, -rest) >= rest:
                    self._last[job.name] = now
                    self.run(job.run)
        self.world.after(NEXT_TICK, self.tick)

    def run(self, job: Callable[[], int]) -> None:
        """Run one job; the next tick runs a failed job again."""
        with suppress(StorageError, Killed):
            job()


class Work(Process):
    """A process that delivers."""

    def begin(self, *, until_empty: bool = False) -> None:
        """Start: settle claims of ended workers, open a journal, deliver."""
        self.ended = False
        self._open = ExitStack()
        try:
            self.service = self.world.stage.build(self)
            relays = self._open.enter_context(self.service.relays())
            with journals_of(self):
                self.delivery = self._open.enter_context(self.service.delivery(relays))
        except (StorageError, Killed) as end:
            self._ends(end)
            return
        self._task = self.loop.create_task(self._deliver(until_empty=until_empty))
        self.loop.wake()

    async def _deliver(self, *, until_empty: bool) -> None:
        async with heartbeat.keep_beating(self.service.database, self.service.clock, worker=self.name):
            await self.delivery.run(until_empty=until_empty)

    def turn(self) -> None:
        """Run everything that is ready now, and detect the end of the task."""
        self.loop.turn()
        if not self.dead and self._task.done():
            self._ends(self._task.exception())

    def _ends(self, fault: BaseException | None) -> None:
        if self.dead:
            return
        world = self.world
        try:
            if fault is None:
                self._open.close()
            else:
                self._open.__exit__(type(fault), fault, None)
        except (StorageError, Killed) as error:
            fault = error
        except BaseException as error_of_exit:
            fault = error_of_exit
        if self.dead:
            return
        if fault is None:
            rows = [row for (row,) in world.witness.ask(HELD, self.name)]
            if rows:
                world.breaks(f"{self.name} ended as it should, but still holds rows {rows}")
        elif not all(isinstance(leaf, StorageError) for leaf in _leaves(fault)):
            world.breaks(f"{self.name} ended by {fault!r}")
        world.tell(self.name, "ended" if fault is None else f"ended by {type(fault).__name__}")
        self.ended = True
        self.release()
        world.died(self)


def _leaves(fault: BaseException) -> list[BaseException]:
    if isinstance(fault, BaseExceptionGroup):
        return [leaf for member in fault.exceptions for leaf in _leaves(member)]
    return [fault]
