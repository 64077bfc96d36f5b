"""Dispatcher: holds the composed messages that wait for a connection, and chooses the pool of each.

Messages are distributed among the active pools by smooth weighted round robin: with weights 3 and 1 they go
A A B A, A A B A. All pools share one queue, so a message that a failing relay did not take is available to
the others at once. The dispatcher waits for the pool that is next in order and has no free connection,
because otherwise that pool would lose its share; but only briefly, because a relay that hangs must not delay
the others. Urgent messages go first, and a message is passed over while its recipient's domain has enough
messages in flight; mailer/delivery/concurrency.py limits their number.
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
from mailer.smtp.capabilities import RelayLimit

POOL_WAIT_SECONDS = 0.25  # a pool that took no message for so long is not waited for

ANY_TIME = SendWindow(None, -math.inf, math.inf)


class WaitingMessage(NamedTuple):
    """A message that waits for a connection, when its composing began, in the loop's time, and its window."""

    ready: ReadyMessage
    composed_at: float
    window: SendWindow = ANY_TIME


class DispatchedMessage(NamedTuple):
    """A message that was dispatched to a connection, and its `in_flight`, which `Dispatcher.finish` ends."""

    message: WaitingMessage
    in_flight: InFlightMessage


@dataclass(kw_only=True)
class Dispatcher:
    """Dispatches each message to an idle connection of a usable pool.

    `on_progress` is called when a message is dispatched or ends. `postpone` is called with a message that
    cannot begin for a while, because its recipient's server stalls. Idle connections are used last in, first
    out, so that few messages use few connections.
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
    )  # not every relay can carry them
    _early: list[tuple[float, int, WaitingMessage]] = field(default_factory=list, init=False)
    _credit: dict[RelayPool, int] = field(init=False)
    _concurrency: Concurrency = field(init=False)
    _closed: bool = field(default=False, init=False)
    _timer: asyncio.Handle | None = field(default=None, init=False)
    # Kept beside the timer, because uvloop's handles of past moments hold no time.
    _next_dispatch_at: float = field(default=math.inf, init=False)

    def __post_init__(self) -> None:
        self._concurrency = Concurrency(pools=self.pools)
        self._idle = {pool: [] for pool in self.pools}
        self._credit = dict.fromkeys(self.pools, 0)
        for pool in self.pools:
            pool.taken_at = self.loop.time()

    @property
    def empty(self) -> bool:
        """Whether no message waits."""
        return not (self._urgent or self._others or self._early or self._restricted)

    @property
    def is_stuck(self) -> bool:
        """Whether messages wait, and all connections have waited long for replies."""
        return not self.empty and self._concurrency.is_stuck(self.loop.time())

    def count_waiting(self, *, urgent: bool) -> int:
        """Return how many messages, urgent or not, wait for a connection, and not for their window."""
        restricted_count = sum(_is_urgent(message) == urgent for message in self._restricted)
        return len(self._urgent if urgent else self._others) + restricted_count

    def put(self, message: WaitingMessage) -> None:
        """Queue a message for its window and for the next free connection that can carry it."""
        if message.window.begins > self.loop.time():
            heapq.heappush(self._early, (message.window.begins, message.ready.entry.id, message))
        else:
            self._queue_for(message).append(message)
        self.dispatch_waiting()

    async def take(self, pool: RelayPool) -> DispatchedMessage | None:
        """Wait for the next message for this pool, which `finish` ends; None once the dispatcher closes."""
        if self._closed:
            return None
        waiter: asyncio.Future[DispatchedMessage | None] = self.loop.create_future()
        self._idle[pool].append(waiter)
        self.dispatch_waiting()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (dispatched := waiter.result()) is not None:
                self._queue_for(dispatched.message).appendleft(dispatched.message)
                self.finish(dispatched.in_flight, was_answered=None)
            raise

    def finish(self, in_flight: InFlightMessage, *, was_answered: bool | None) -> None:
        """Note that a message has ended, and whether a server replied; None: it was not begun."""
        self._concurrency.end(in_flight, was_answered=was_answered, now=self.loop.time())
        in_flight.pool.end_message(probed=in_flight.is_probe)
        self.on_progress()

    def close(self) -> None:
        """Dispatch no more messages; each connection that waits for one gets None."""
        self._closed = True
        for waiters in self._idle.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            waiters.clear()

    def withdraw(self, *, before: float, urgent: bool = True) -> Sequence[WaitingMessage]:
        """Remove and return the messages that were composed before this moment and not dispatched.

        Without `urgent`, urgent messages continue to wait.
        """
        candidates = [*self._others, *self._restricted, *(each[-1] for each in self._early), *self._urgent]
        messages = [
            each
            for each in candidates
            if each.composed_at < before and (urgent or self._queue_for(each) is self._others)
        ]
        if messages:
            removed_ids = {id(message) for message in messages}
            self._others = deque(each for each in self._others if id(each) not in removed_ids)
            self._urgent = deque(each for each in self._urgent if id(each) not in removed_ids)
            self._restricted = [each for each in self._restricted if id(each) not in removed_ids]
            self._early = [each for each in self._early if id(each[-1]) not in removed_ids]
            heapq.heapify(self._early)
        return messages

    def find_limit(self, ready: ReadyMessage) -> RelayLimit | None:
        """Return the limit for which no relay can carry a message, None while one may."""
        now = self.loop.time()
        limits = [pool.find_limit(ready.recipient, ready.message, now) for pool in self.pools]
        return None if None in limits else limits[0]

    def withdraw_stranded(self) -> Sequence[Entry]:
        """Remove and return the messages that only relays can carry which accept no mail now."""
        now = self.loop.time()
        stranded = [
            message
            for message in self._restricted
            if not any(
                pool.is_usable(now, urgent=_is_urgent(message)) for pool in self._capable_pools(message, now)
            )
        ]
        self._restricted = [message for message in self._restricted if message not in stranded]
        return [message.ready.entry for message in stranded]

    def dispatch_waiting(self) -> None:
        """Dispatch every message that can begin now; call it when a pool may accept messages again."""
        due_messages = []
        now = self.loop.time()
        while self._early and self._early[0][0] <= now:
            due_messages.append(heapq.heappop(self._early)[-1])
        for message in reversed(due_messages):  # before those without a window: a window is brief
            self._queue_for(message).appendleft(message)
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
        """Dispatch the next message of a queue that may begin; False when none can."""
        now, urgent = self.loop.time(), queue is self._urgent
        if not any(self._idle[pool] and pool.has_room(now, urgent=urgent) for pool in self.pools):
            self._make_room(now, urgent=urgent)
            return False
        position = self._find_admitted(queue, now)
        pool = None if position is None else self._choose_pool(queue, now)
        if position is None or pool is None:
            return False
        if pool.would_probe(urgent=urgent):
            queue = self._others or queue  # a relay is tested with the message that can wait best
            position = len(queue) - 1
        message = queue[position]
        del queue[position]
        if pool.find_limit(message.ready.recipient, message.ready.message, now):
            self._restricted.append(message)
            self._dispatch_restricted()
        elif not self._dispatch(message, pool):
            queue.insert(position, message)
        return True

    def _dispatch(self, message: WaitingMessage, pool: RelayPool) -> bool:
        """Dispatch one message to an idle connection of a pool; False where its task was cancelled."""
        waiter = self._idle[pool].pop()
        if waiter.done():
            return False
        now, urgent = self.loop.time(), _is_urgent(message)
        in_flight = self._concurrency.begin(pool, message.ready.recipient, urgent=urgent, now=now)
        until = min(
            pool.begin_message(now, urgent=urgent, late=message.window.until < now), message.window.until
        )
        waiter.set_result(
            DispatchedMessage(message._replace(window=message.window._replace(until=until)), in_flight)
        )
        self.on_progress()
        return True

    def _dispatch_restricted(self) -> None:
        """Dispatch each restricted message to a pool that can carry it, a standby pool too."""
        now = self.loop.time()
        for message in self._restricted[:]:
            urgent = _is_urgent(message)
            admission = self._concurrency.admit(message.ready.recipient, now=now)
            if admission == "postpone":
                self._restricted.remove(message)
                self.postpone(message.ready)
            for pool in self._capable_pools(message, now) if admission == "admit" else ():
                has_room = pool.has_room(now, urgent=urgent) and self._idle[pool]
                if has_room and pool.may_take(now, urgent=urgent) and self._dispatch(message, pool):
                    self._restricted.remove(message)
                    break

    def _capable_pools(self, message: WaitingMessage, now: float) -> Sequence[RelayPool]:
        ready = message.ready
        return [pool for pool in self.pools if not pool.find_limit(ready.recipient, ready.message, now)]

    def _find_admitted(self, queue: deque[WaitingMessage], now: float) -> int | None:
        """Return the position of the first message that may begin; postpone those that may not for long."""
        position, full_domains = 0, set[str]()
        while position < len(queue):
            recipient = queue[position].ready.recipient
            domain = domain_of(recipient) if full_domains else ""
            admission = "wait" if domain in full_domains else self._concurrency.admit(recipient, now=now)
            if admission == "admit":
                return position
            if admission == "postpone":
                message = queue[position]
                del queue[position]
                self.postpone(message.ready)
            else:
                full_domains.add(domain_of(recipient))
                position += 1
        return None

    def _choose_pool(self, queue: deque[WaitingMessage], now: float) -> RelayPool | None:
        """Choose the pool that is next in order; None when no pool can take a message now."""
        urgent = queue is self._urgent
        candidates = self._candidate_pools(now, urgent=urgent)
        while candidates:
            total = sum(pool.weight or 1 for pool in candidates)
            first = max(candidates, key=lambda pool: self._credit[pool] + (pool.weight or 1))
            if self._idle[first] and first.has_room(now, urgent=urgent):
                for pool in candidates:
                    self._credit[pool] += pool.weight or 1
                self._credit[first] -= total
                return first
            if now < first.taken_at + POOL_WAIT_SECONDS and len(candidates) > 1:
                self._schedule_dispatch(first.taken_at + POOL_WAIT_SECONDS)
                return None
            candidates = [pool for pool in candidates if pool is not first]
        self._make_room(now, urgent=urgent)
        return None

    def _make_room(self, now: float, *, urgent: bool) -> None:
        """Give up a stalled message where no further connection may be opened; schedule the next dispatch."""
        for pool in self.pools:
            if pool.stalled and pool.is_full(now, urgent=urgent) and pool.may_take(now, urgent=urgent):
                self._schedule_dispatch(self._concurrency.give_up_stalled(pool, now=now))
            if pool.rate or pool.trouble:
                self._schedule_dispatch(pool.find_next_chance(now))

    def _candidate_pools(self, now: float, *, urgent: bool) -> list[RelayPool]:
        """Return the pools that may take the next message; standby pools only while all others are down."""
        candidates = [pool for pool in select_active(self.pools) if pool.may_take(now, urgent=urgent)]
        if urgent:
            candidates = [pool for pool in candidates if not pool.paused] or candidates
        if not urgent or len(self._urgent) > 1 or self._others:
            return candidates
        # A single urgent message does not test a relay where another pool is usable.
        return [pool for pool in candidates if not pool.needs_probe] or candidates

    def _queue_for(self, message: WaitingMessage) -> deque[WaitingMessage]:
        return self._urgent if _is_urgent(message) else self._others

    def _schedule_dispatch(self, at: float) -> None:
        """Dispatch again at this moment, if no dispatch is scheduled before."""
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
