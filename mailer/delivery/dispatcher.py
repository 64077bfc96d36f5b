"""Handout: composed messages that wait for a connection, and which lane takes the next one.

Messages are shared out among the lanes that work by smooth weighted round robin: with weights 3 and 1 they go
A A B A, A A B A. Nothing waits in a lane of its own, so what a relay in trouble did not take is free for the
others at once. A lane whose turn it is and that has no room is waited for, else its share would be lost; but
not for long: a relay that hangs must not hold up the others. Urgent messages go first, and a message whose
recipient's domain has enough under way is passed over; mailer/delivery/concurrency.py says how many may be.
"""

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lists.addresses import domain_of
from mailer.compose.composer import ReadyMessage
from mailer.coordination.rate_limits import SendWindow
from mailer.delivery.concurrency import STALL_SECONDS, Concurrency, InFlightMessage
from mailer.delivery.relay_pool import RelayPool, select_active
from mailer.outbox.outbox import Entry
from mailer.policy import is_urgent

POOL_WAIT_SECONDS = 0.25  # a lane that took nothing for so long is not waited for


ANY_TIME = SendWindow(None, -math.inf, math.inf)


class WaitingMessage(NamedTuple):
    """A message that waits for a sender, when its composing began, in the loop's time, and its turn."""

    ready: ReadyMessage
    composed_at: float
    window: SendWindow = ANY_TIME


class DispatchedMessage(NamedTuple):
    """A message that was handed to a sender, and its flight, which `Handout.over` ends."""

    message: WaitingMessage
    in_flight: InFlightMessage


@dataclass(kw_only=True)
class Dispatcher:
    """Hands each message to an idle connection of a lane that works; `moved` is called when one was taken.

    `put_off` is called with what cannot begin for a while, because its server lets others wait. Idle
    connections are used last in, first out: few messages keep few connections warm.
    """

    pools: Sequence[RelayPool]
    loop: asyncio.AbstractEventLoop
    on_progress: Callable[[], None]
    postpone: Callable[[ReadyMessage], None]
    _urgent: deque[WaitingMessage] = field(default_factory=deque, init=False)
    _others: deque[WaitingMessage] = field(default_factory=deque, init=False)
    _idle: "dict[RelayPool, list[asyncio.Future[DispatchedMessage | None]]]" = field(init=False)
    _restricted: list[WaitingMessage] = field(
        default_factory=list, init=False
    )  # not every lane can carry them
    _early: list[tuple[float, int, WaitingMessage]] = field(default_factory=list, init=False)
    _credit: dict[RelayPool, int] = field(init=False)
    _concurrency: Concurrency = field(init=False)
    _closed: bool = field(default=False, init=False)
    _timer: asyncio.Handle | None = field(default=None, init=False)
    _next_dispatch_at: float = field(
        default=math.inf, init=False
    )  # uvloop's handles of past moments do not say when

    def __post_init__(self) -> None:
        self._concurrency = Concurrency(pools=self.pools)
        self._idle = {lane: [] for lane in self.pools}
        self._credit = dict.fromkeys(self.pools, 0)
        for lane in self.pools:
            lane.taken_at = self.loop.time()

    @property
    def empty(self) -> bool:
        """Whether no message waits."""
        return not (self._urgent or self._others or self._early or self._restricted)

    @property
    def is_stuck(self) -> bool:
        """Whether messages wait, and all connections have waited for answers for long."""
        return not self.empty and self._concurrency.is_stuck(self.loop.time())

    def count_waiting(self, *, urgent: bool) -> int:
        """Return how many messages, urgent or not, wait for a connection, and not for their turn."""
        aside = sum(_is_urgent(each) == urgent for each in self._restricted)
        return len(self._urgent if urgent else self._others) + aside

    def put(self, message: WaitingMessage) -> None:
        """Let a message wait for its turn, and for the next connection that is free for it."""
        if message.window.begins > self.loop.time():
            heapq.heappush(self._early, (message.window.begins, message.ready.entry.id, message))
        else:
            self._queue_for(message).append(message)
        self.dispatch_waiting()

    async def take(self, pool: RelayPool) -> DispatchedMessage | None:
        """Wait for the next message for this lane, which `over` ends; None when no more will come."""
        if self._closed:
            return None
        waiter: asyncio.Future[DispatchedMessage | None] = self.loop.create_future()
        self._idle[pool].append(waiter)
        self.dispatch_waiting()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (handed := waiter.result()) is not None:
                self._queue_for(handed.message).appendleft(handed.message)
                self.finish(handed.in_flight, answered=None)
            raise

    def finish(self, in_flight: InFlightMessage, *, answered: bool | None) -> None:
        """Note that a message has left its lane, and whether a server answered it; None: it was not begun."""
        self._concurrency.end(in_flight, answered=answered, now=self.loop.time())
        in_flight.pool.end_message(probed=in_flight.is_probe)
        self.on_progress()

    def close(self) -> None:
        """Hand out nothing more: whoever waits for a message gets None."""
        self._closed = True
        for waiters in self._idle.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            waiters.clear()

    def withdraw(self, *, before: float, urgent: bool = True) -> Sequence[WaitingMessage]:
        """Return what was composed before this moment and nobody has taken; it waits no longer.

        Without `urgent`, urgent messages go on waiting.
        """
        waiting = [*self._others, *self._restricted, *(each[-1] for each in self._early), *self._urgent]
        left = [
            each
            for each in waiting
            if each.composed_at < before and (urgent or self._queue_for(each) is self._others)
        ]
        if left:
            gone = {id(composed) for composed in left}
            self._others = deque(each for each in self._others if id(each) not in gone)
            self._urgent = deque(each for each in self._urgent if id(each) not in gone)
            self._restricted = [each for each in self._restricted if id(each) not in gone]
            self._early = [each for each in self._early if id(each[-1]) not in gone]
            heapq.heapify(self._early)
        return left

    def find_unsupported_reason(self, ready: ReadyMessage) -> str:
        """Return why no lane is known to carry a message, "" while one may."""
        now = self.loop.time()
        lacks = [lane.find_unsupported_reason(ready.recipient, ready.message, now) for lane in self.pools]
        return "" if "" in lacks else lacks[0]

    def withdraw_stranded(self) -> Sequence[Entry]:
        """Return what only lanes can carry that take no mail now; it waits no longer."""
        now = self.loop.time()
        left = [
            each
            for each in self._restricted
            if not any(
                lane.is_usable(now, urgent=_is_urgent(each)) for lane in self._capable_pools(each, now)
            )
        ]
        self._restricted = [each for each in self._restricted if each not in left]
        return [each.ready.entry for each in left]

    def dispatch_waiting(self) -> None:
        """Hand out what can be taken now; for when a lane may take messages again that it could not take."""
        ripe = []
        now = self.loop.time()
        while self._early and self._early[0][0] <= now:
            ripe.append(heapq.heappop(self._early)[-1])
        for composed in reversed(ripe):  # before those who may begin at any time: theirs is brief
            self._queue_for(composed).appendleft(composed)
        self._schedule_dispatch(self._early[0][0] if self._early else math.inf)
        self._concurrency.mark_stalled(now)
        if self._restricted:
            self._dispatch_restricted()
        for queue in (self._urgent, self._others):
            while queue and self._dispatch_next(queue):
                pass
            if queue and self._next_dispatch_at > now + STALL_SECONDS:
                self._schedule_dispatch(self._concurrency.find_next_stall())

    def _dispatch_next(self, queue: deque[WaitingMessage]) -> bool:
        """Hand out the next message of a queue that may begin; False when none can."""
        now, urgent = self.loop.time(), queue is self._urgent
        if not any(self._idle[lane] and lane.has_room(now, urgent=urgent) for lane in self.pools):
            self._make_room(now, urgent=urgent)
            return False
        place = self._find_admitted(queue, now)
        lane = None if place is None else self._choose_pool(queue, now)
        if place is None or lane is None:
            return False
        if lane.would_probe(urgent=urgent):
            queue = self._others or queue  # a relay that may still be away is tried with what can wait best
            place = len(queue) - 1
        composed = queue[place]
        del queue[place]
        if lane.find_unsupported_reason(composed.ready.recipient, composed.ready.message, now):
            self._restricted.append(composed)
            self._dispatch_restricted()
        elif not self._dispatch(composed, lane):
            queue.insert(place, composed)
        return True

    def _dispatch(self, message: WaitingMessage, pool: RelayPool) -> bool:
        """Hand one message to an idle connection of a lane; False where its sender was cancelled."""
        waiter = self._idle[pool].pop()
        if waiter.done():
            return False
        now, urgent = self.loop.time(), _is_urgent(message)
        flight = self._concurrency.begin(pool, message.ready.recipient, urgent=urgent, now=now)
        until = min(
            pool.begin_message(now, urgent=urgent, late=message.window.until < now), message.window.until
        )
        waiter.set_result(
            DispatchedMessage(message._replace(window=message.window._replace(until=until)), flight)
        )
        self.on_progress()
        return True

    def _dispatch_restricted(self) -> None:
        """Hand what not every lane can carry to one that can, a standby too."""
        now = self.loop.time()
        for composed in self._restricted[:]:
            urgent, admission = (
                _is_urgent(composed),
                self._concurrency.admit(composed.ready.recipient, now=now),
            )
            if admission == "later":
                self._restricted.remove(composed)
                self.postpone(composed.ready)
            for lane in self._capable_pools(composed, now) if admission == "now" else ():
                room = lane.has_room(now, urgent=urgent) and self._idle[lane]
                if room and lane.may_take(now, urgent=urgent) and self._dispatch(composed, lane):
                    self._restricted.remove(composed)
                    break

    def _capable_pools(self, message: WaitingMessage, now: float) -> Sequence[RelayPool]:
        letter = message.ready
        return [
            lane
            for lane in self.pools
            if not lane.find_unsupported_reason(letter.recipient, letter.message, now)
        ]

    def _find_admitted(self, queue: deque[WaitingMessage], now: float) -> int | None:
        """Return the place of the first message that may begin; those that may not for long are put off."""
        place, full = 0, set[str]()
        while place < len(queue):
            recipient = queue[place].ready.recipient
            domain = domain_of(recipient) if full else ""
            admission = "soon" if domain in full else self._concurrency.admit(recipient, now=now)
            if admission == "now":
                return place
            if admission == "later":
                composed = queue[place]
                del queue[place]
                self.postpone(composed.ready)
            else:
                full.add(domain_of(recipient))
                place += 1
        return None

    def _choose_pool(self, queue: deque[WaitingMessage], now: float) -> RelayPool | None:
        """Choose the lane whose turn it is; None when no message can be taken now."""
        urgent = queue is self._urgent
        turns = self._candidate_pools(now, urgent=urgent)
        while turns:
            total = sum(lane.weight or 1 for lane in turns)
            first = max(turns, key=lambda lane: self._credit[lane] + (lane.weight or 1))
            if self._idle[first] and first.has_room(now, urgent=urgent):
                for lane in turns:
                    self._credit[lane] += lane.weight or 1
                self._credit[first] -= total
                return first
            if now < first.taken_at + POOL_WAIT_SECONDS and len(turns) > 1:
                self._schedule_dispatch(first.taken_at + POOL_WAIT_SECONDS)
                return None
            turns = [lane for lane in turns if lane is not first]
        self._make_room(now, urgent=urgent)
        return None

    def _make_room(self, now: float, *, urgent: bool) -> None:
        """Give up what stalls where no connection more may be opened, and look again when that may help."""
        for lane in self.pools:
            if lane.stalled and lane.is_full(now, urgent=urgent) and lane.may_take(now, urgent=urgent):
                self._schedule_dispatch(self._concurrency.give_up_stalled(lane, now=now))
            if lane.rate or lane.trouble:
                self._schedule_dispatch(lane.find_next_chance(now))

    def _candidate_pools(self, now: float, *, urgent: bool) -> list[RelayPool]:
        """Return the lanes that may take the next message; backups only while all others are down."""
        may = [lane for lane in select_active(self.pools) if lane.may_take(now, urgent=urgent)]
        if urgent:
            may = [lane for lane in may if not lane.paused] or may
        if not urgent or len(self._urgent) > 1 or self._others:
            return may
        return [
            lane for lane in may if not lane.needs_probe
        ] or may  # nobody who waits is used to try a relay

    def _queue_for(self, message: WaitingMessage) -> deque[WaitingMessage]:
        return self._urgent if _is_urgent(message) else self._others

    def _schedule_dispatch(self, at: float) -> None:
        """Share out again at this moment, if nothing is planned before."""
        if at >= self._next_dispatch_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._next_dispatch_at = at
        self._timer = self.loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer, self._next_dispatch_at = None, math.inf
        self.dispatch_waiting()


def _is_urgent(message: WaitingMessage) -> bool:
    return is_urgent(message.ready.entry.kind)
