"""The event loops that deliver, and one on a stopped clock: waiting takes no time, each run is the same."""

import asyncio
import math
import selectors
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

import pytest
import uvloop

from tests.clocks import StoppedClock

T = TypeVar("T")
LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Both kinds of event loop for the asynchronous tests of a file that imports this."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


class Inline(Executor):
    """Runs work at once, in the calling thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run it now; the future is done when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # the caller handles every error
            future.set_exception(error)
        return future


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, advances the loop's clock to the next moment when it has something to do."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everything waits and nothing will ever happen")
        if not ready and timeout:
            self.loop.clock.advance(seconds=math.ceil(timeout * 1e6) / 1e6)  # never less than one tick of it
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop on the stopped clock, which it advances; database work runs inline."""

    def __init__(self, clock: StoppedClock) -> None:
        selector = _Selector()
        selector.loop = self
        self.clock = clock
        super().__init__(selector)

    def time(self) -> float:
        return self.clock.monotonic()

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run(clock: StoppedClock, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on this clock."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(work)
