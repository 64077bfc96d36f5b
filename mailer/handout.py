"""Handout: composed messages that wait for a connection, and which lane takes the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mailer.composer import Ready
from mailer.lanes import Lane


class Composed(NamedTuple):
    """A message that waits for a sender, and when it was composed, in the loop's time."""

    letter: Ready
    at: float


@dataclass(kw_only=True)
class Handout:
    """Hands each message to an idle connection of a lane that works; `moved` is called when one was taken.

    Idle connections are used last in, first out: few messages keep few connections warm.
    """

    lanes: Sequence[Lane]
    time: Callable[[], float]
    moved: Callable[[], None]
    _letters: deque[Composed] = field(default_factory=deque, init=False)
    _idle: "dict[Lane, list[asyncio.Future[Composed | None]]]" = field(init=False)
    _closed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._idle = {lane: [] for lane in self.lanes}

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, composed: Composed) -> None:
        """Let a message wait for the next connection that is free for it."""
        self._letters.append(composed)
        self._share_out()

    async def take(self, lane: Lane) -> Composed | None:
        """Wait for the next message for this lane, which `lane.leave()` ends; None when no more will come."""
        if self._closed:
            return None
        waiter: asyncio.Future[Composed | None] = asyncio.get_running_loop().create_future()
        self._idle[lane].append(waiter)
        self._share_out()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (composed := waiter.result()) is not None:
                self._letters.appendleft(composed)
                lane.leave()
            raise

    def close(self) -> None:
        """Hand out nothing more: whoever waits for a message gets None."""
        self._closed = True
        for waiters in self._idle.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            waiters.clear()

    def take_back(self) -> Sequence[Composed]:
        """Return what nobody has taken, and let it wait no longer."""
        left = list(self._letters)
        self._letters.clear()
        return left

    def _share_out(self) -> None:
        while self._letters and (lane := self._next()) is not None:
            waiter = self._idle[lane].pop()
            if waiter.done():  # its sender was cancelled
                continue
            lane.take()
            waiter.set_result(self._letters.popleft())
            self.moved()

    def _next(self) -> Lane | None:
        now = self.time()
        return next((lane for lane in self.lanes if self._idle[lane] and lane.may_take(now)), None)
