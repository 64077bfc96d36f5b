"""Process: a process of a simulated world, which can be killed at any of its steps and then has no effect.

A step is a moment at which a kill matters: before and after each commit, each line of the journal and each
write to the network. At such a step it may also stop for a while: then the world runs inside that step, until
it wakes.

A kill is an exception that nothing in the product catches; while it unwinds the stack, and ever after, every
output of the process (database, journal, network) refuses to do anything, so that no `finally` has an effect
that it would not have after a real kill. Octets written to the network still arrive, and the kernel releases
the journal's lock.
"""

import asyncio
import math
import selectors
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mailer.service import Service
from tests.simulation.clock import SECOND, ProcessClock

if TYPE_CHECKING:
    from tests.simulation.journal import SimulatedJournal
    from tests.simulation.wire import Wire
    from tests.simulation.world import World

T = TypeVar("T")
NEVER = 1 << 62
LOCKS_THE_DATABASE = "commit: before"  # SQLite would block every other writer while a process stops here


class Killed(BaseException):
    """This process has been killed."""


class Process:
    """One process from start to end; `dies_at` is the number of the step that kills it, 0 for none."""

    service: Service

    def __init__(self, world: "World", name: str, *, dies_at: int) -> None:
        self.world, self.name, self.dies_at = world, name, dies_at
        self.home = world.stage.folder
        self.steps = 0
        self.dead = False
        self.stands_until = 0  # ticks; a stopped process is not stepped meanwhile
        self.stands_at = 0  # the first step at which `stands_still` is called, once; 0 for none
        self.stands_still: Callable[[], None] = lambda: None
        self.slept = 0  # ticks for which only its machine was suspended
        self.clock = ProcessClock(world.clock, self)
        self.journal: SimulatedJournal | None = None
        self.wires: list[Wire] = []
        self.connected = 0  # how many of them were open when it ended
        self.loop = SteppedLoop(self)

    def step(self, what: str) -> None:
        """Mark a moment at which this process may be killed, and end it if it is the one."""
        if self.dead:
            raise Killed
        self.steps += 1
        if self.steps == self.dies_at:
            self.kill(what)
            raise Killed
        if 0 < self.stands_at <= self.steps and what != LOCKS_THE_DATABASE:
            self.stands_at = 0
            self.stands_still()
            if self.dead:  # it was killed meanwhile
                raise Killed

    def stand_still(self, seconds: float) -> None:
        """Run the world for this long in the middle of a step of this process."""
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(None)  # other processes of the world run their own meanwhile
        self.stands_until = NEVER
        try:
            until = self.world.clock.ticks + int(seconds * SECOND)
            self.world.go_on(until=until, unless=lambda: self.dead)
        finally:
            self.stands_until = 0
            asyncio._set_running_loop(running)

    def kill(self, what: str) -> None:
        """End at once, as by SIGKILL."""
        self.dead = True
        self.world.tell(self.name, f"killed: {what}, step {self.steps}")
        self.loop.stop()
        self.release()
        self.world.died(self)

    def release(self) -> None:
        """Release what the kernel releases when a process ends, however it ends."""
        self.dead = True
        self.connected = sum(not wire.is_closing() for wire in self.wires)
        if self.journal is not None:
            self.journal.release_file()
        for wire in self.wires:
            wire.owner_died()

    @property
    def wakes(self) -> int:
        """Return when it next has work, in ticks."""
        return NEVER if self.dead else max(self.loop.wakes, self.stands_until)


class _Selector(selectors.DefaultSelector):
    """Watches no files: where a loop would wait, it returns control to the world."""

    loop: "SteppedLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.loop.idle(timeout)
        return []


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop that runs until it has no ready work; `wakes` is when it will have, in ticks."""

    def __init__(self, process: Process) -> None:
        selector = _Selector()
        self._clock = process.world.clock
        super().__init__(selector)
        selector.loop = self
        self.process = process
        self.wakes = NEVER
        self.set_exception_handler(lambda loop, context: self._trouble(context))

    def time(self) -> float:
        return self.process.clock.monotonic()

    def idle(self, timeout: float | None) -> None:
        self.wakes = NEVER if timeout is None else self._clock.ticks + math.ceil(timeout * SECOND)
        self.stop()

    def turn(self) -> None:
        """Run everything that is ready now."""
        self.run_forever()

    def wake(self) -> None:
        """Make the loop run at the present moment."""
        self.wakes = min(self.wakes, self._clock.ticks)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any
    ) -> Any:  # type: ignore[override]
        return await self.process.world.network.connect(self.process, protocol_factory, f"{host}:{port}")

    async def start_tls(self, *args: Any, **_: Any) -> Any:
        """Raise ConnectionResetError: simulated relays offer TLS and then drop the connection."""
        await asyncio.sleep(0.01)
        raise ConnectionResetError(104, "Connection reset by peer")

    def _trouble(self, context: dict[str, Any]) -> None:
        if not self.process.dead:
            self.process.world.breaks(f"the event loop of {self.process.name} says: {context['message']}")
