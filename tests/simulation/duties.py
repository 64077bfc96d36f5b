"""The two duties a process can have: to serve, which is to run the jobs and answer people, and to work.

```
serve   runs the jobs, and does what neighbors and staff ask for
work    delivers, through the real mailer/smtp/connection.py, over a simulated network, to simulated relays
```
Both are built and begun as in earnest; what ends them is a kill, trouble with the database, or being told to.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress

from lists.errors import StorageError
from mailer.coordination import heartbeat
from tests.simulation.clock import SECOND
from tests.simulation.process import Killed, Process
from tests.simulation.stage import journals_of

NEXT_TICK = 1.0  # seconds
HEAVY, HEAVY_LATER = ("fill-sequence",), 4  # what takes longest to find nothing is done less often
HELD = "SELECT id FROM outbox WHERE state = 'sending' AND worker = ?"


class Serve(Process):
    """The process that runs the jobs and answers people."""

    def begin(self) -> None:
        """Start, and tick from now on."""
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
        """Run one job; what fails is tried again by the next tick."""
        with suppress(StorageError, Killed):
            job()


class Work(Process):
    """A process that delivers."""

    def begin(self, *, until_empty: bool = False) -> None:
        """Start: settle what the dead left, begin a journal, deliver."""
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
        """Do everything there is to do now; notice the end."""
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
        except (StorageError, Killed) as more:
            fault = more
        except BaseException as same:
            fault = same
        if self.dead:
            return
        if fault is None:
            held = [row for (row,) in world.witness.ask(HELD, self.name)]
            if held:
                world.breaks(f"{self.name} ended as it should, but still holds rows {held}")
        elif not all(isinstance(each, StorageError) for each in _leaves(fault)):
            world.breaks(f"{self.name} ended by {fault!r}")
        world.tell(self.name, "ended" if fault is None else f"ended by {type(fault).__name__}")
        self.ended = True
        self.release()
        world.died(self)


def _leaves(fault: BaseException) -> list[BaseException]:
    if isinstance(fault, BaseExceptionGroup):
        return [leaf for each in fault.exceptions for leaf in _leaves(each)]
    return [fault]
