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
from mailer.compose.composer import Ready
from mailer.coordination.rate_limits import Turn
from mailer.delivery.concurrency import STALL_SECONDS, Concurrency, Flight
from mailer.delivery.relay_pool import Lane, in_turn
from mailer.outbox.outbox import Entry
from mailer.policy import is_urgent

PATIENCE_SECONDS = 0.25  # a lane that took nothing for so long is not waited for


ANY_TIME = Turn(None, -math.inf, math.inf)


class Composed(NamedTuple):
    """A message that waits for a sender, when its composing began, in the loop's time, and its turn."""

    letter: Ready
    at: float
    turn: Turn = ANY_TIME


class Handed(NamedTuple):
    """A message that was handed to a sender, and its flight, which `Handout.over` ends."""

    composed: Composed
    flight: Flight


@dataclass(kw_only=True)
class Handout:
    """Hands each message to an idle connection of a lane that works; `moved` is called when one was taken.

    `put_off` is called with what cannot begin for a while, because its server lets others wait. Idle
    connections are used last in, first out: few messages keep few connections warm.
    """

    lanes: Sequence[Lane]
    loop: asyncio.AbstractEventLoop
    moved: Callable[[], None]
    put_off: Callable[[Ready], None]
    _urgent: deque[Composed] = field(default_factory=deque, init=False)
    _others: deque[Composed] = field(default_factory=deque, init=False)
    _idle: "dict[Lane, list[asyncio.Future[Handed | None]]]" = field(init=False)
    _aside: list[Composed] = field(default_factory=list, init=False)  # not every lane can carry them
    _early: list[tuple[float, int, Composed]] = field(default_factory=list, init=False)
    _credit: dict[Lane, int] = field(init=False)
    _concurrency: Concurrency = field(init=False)
    _closed: bool = field(default=False, init=False)
    _timer: asyncio.Handle | None = field(default=None, init=False)
    _looks_at: float = field(default=math.inf, init=False)  # uvloop's handles of past moments do not say when

    def __post_init__(self) -> None:
        self._concurrency = Concurrency(lanes=self.lanes)
        self._idle = {lane: [] for lane in self.lanes}
        self._credit = dict.fromkeys(self.lanes, 0)
        for lane in self.lanes:
            lane.taken_at = self.loop.time()

    @property
    def empty(self) -> bool:
        """Whether no message waits."""
        return not (self._urgent or self._others or self._early or self._aside)

    @property
    def stuck(self) -> bool:
        """Whether messages wait, and all connections have waited for answers for long."""
        return not self.empty and self._concurrency.stuck(self.loop.time())

    def ripe(self, *, urgent: bool) -> int:
        """Return how many messages, urgent or not, wait for a connection, and not for their turn."""
        aside = sum(_urgent(each) == urgent for each in self._aside)
        return len(self._urgent if urgent else self._others) + aside

    def put(self, composed: Composed) -> None:
        """Let a message wait for its turn, and for the next connection that is free for it."""
        if composed.turn.begins > self.loop.time():
            heapq.heappush(self._early, (composed.turn.begins, composed.letter.entry.id, composed))
        else:
            self._queue(composed).append(composed)
        self.share_out()

    async def take(self, lane: Lane) -> Handed | None:
        """Wait for the next message for this lane, which `over` ends; None when no more will come."""
        if self._closed:
            return None
        waiter: asyncio.Future[Handed | None] = self.loop.create_future()
        self._idle[lane].append(waiter)
        self.share_out()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and (handed := waiter.result()) is not None:
                self._queue(handed.composed).appendleft(handed.composed)
                self.over(handed.flight, answered=None)
            raise

    def over(self, flight: Flight, *, answered: bool | None) -> None:
        """Note that a message has left its lane, and whether a server answered it; None: it was not begun."""
        self._concurrency.end(flight, answered=answered, now=self.loop.time())
        flight.lane.leave(probed=flight.probes)
        self.moved()

    def close(self) -> None:
        """Hand out nothing more: whoever waits for a message gets None."""
        self._closed = True
        for waiters in self._idle.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
            waiters.clear()

    def take_back(self, *, before: float, urgent: bool = True) -> Sequence[Composed]:
        """Return what was composed before this moment and nobody has taken; it waits no longer.

        Without `urgent`, urgent messages go on waiting.
        """
        waiting = [*self._others, *self._aside, *(each[-1] for each in self._early), *self._urgent]
        left = [
            each for each in waiting if each.at < before and (urgent or self._queue(each) is self._others)
        ]
        if left:
            gone = {id(composed) for composed in left}
            self._others = deque(each for each in self._others if id(each) not in gone)
            self._urgent = deque(each for each in self._urgent if id(each) not in gone)
            self._aside = [each for each in self._aside if id(each) not in gone]
            self._early = [each for each in self._early if id(each[-1]) not in gone]
            heapq.heapify(self._early)
        return left

    def lack(self, letter: Ready) -> str:
        """Return why no lane is known to carry a message, "" while one may."""
        now = self.loop.time()
        lacks = [lane.lack(letter.recipient, letter.message, now) for lane in self.lanes]
        return "" if "" in lacks else lacks[0]

    def take_back_stranded(self) -> Sequence[Entry]:
        """Return what only lanes can carry that take no mail now; it waits no longer."""
        now = self.loop.time()
        left = [
            each
            for each in self._aside
            if not any(lane.works(now, urgent=_urgent(each)) for lane in self._carriers(each, now))
        ]
        self._aside = [each for each in self._aside if each not in left]
        return [each.letter.entry for each in left]

    def share_out(self) -> None:
        """Hand out what can be taken now; for when a lane may take messages again that it could not take."""
        ripe = []
        now = self.loop.time()
        while self._early and self._early[0][0] <= now:
            ripe.append(heapq.heappop(self._early)[-1])
        for composed in reversed(ripe):  # before those who may begin at any time: theirs is brief
            self._queue(composed).appendleft(composed)
        self._look_again(self._early[0][0] if self._early else math.inf)
        self._concurrency.look(now)
        if self._aside:
            self._hand_out_aside()
        for queue in (self._urgent, self._others):
            while queue and self._hand_next(queue):
                pass
            if queue and self._looks_at > now + STALL_SECONDS:
                self._look_again(self._concurrency.next_stall())

    def _hand_next(self, queue: deque[Composed]) -> bool:
        """Hand out the next message of a queue that may begin; False when none can."""
        now, urgent = self.loop.time(), queue is self._urgent
        if not any(self._idle[lane] and lane.has_room(now, urgent=urgent) for lane in self.lanes):
            self._make_room(now, urgent=urgent)
            return False
        place = self._first_admitted(queue, now)
        lane = None if place is None else self._next(queue, now)
        if place is None or lane is None:
            return False
        if lane.probed_by(urgent=urgent):
            queue = self._others or queue  # a relay that may still be away is tried with what can wait best
            place = len(queue) - 1
        composed = queue[place]
        del queue[place]
        if lane.lack(composed.letter.recipient, composed.letter.message, now):
            self._aside.append(composed)
            self._hand_out_aside()
        elif not self._hand(composed, lane):
            queue.insert(place, composed)
        return True

    def _hand(self, composed: Composed, lane: Lane) -> bool:
        """Hand one message to an idle connection of a lane; False where its sender was cancelled."""
        waiter = self._idle[lane].pop()
        if waiter.done():
            return False
        now, urgent = self.loop.time(), _urgent(composed)
        flight = self._concurrency.begin(lane, composed.letter.recipient, urgent=urgent, now=now)
        until = min(lane.take(now, urgent=urgent, late=composed.turn.until < now), composed.turn.until)
        waiter.set_result(Handed(composed._replace(turn=composed.turn._replace(until=until)), flight))
        self.moved()
        return True

    def _hand_out_aside(self) -> None:
        """Hand what not every lane can carry to one that can, a standby too."""
        now = self.loop.time()
        for composed in self._aside[:]:
            urgent, admission = _urgent(composed), self._concurrency.admit(composed.letter.recipient, now=now)
            if admission == "later":
                self._aside.remove(composed)
                self.put_off(composed.letter)
            for lane in self._carriers(composed, now) if admission == "now" else ():
                room = lane.has_room(now, urgent=urgent) and self._idle[lane]
                if room and lane.may_take(now, urgent=urgent) and self._hand(composed, lane):
                    self._aside.remove(composed)
                    break

    def _carriers(self, composed: Composed, now: float) -> Sequence[Lane]:
        letter = composed.letter
        return [lane for lane in self.lanes if not lane.lack(letter.recipient, letter.message, now)]

    def _first_admitted(self, queue: deque[Composed], now: float) -> int | None:
        """Return the place of the first message that may begin; those that may not for long are put off."""
        place, full = 0, set[str]()
        while place < len(queue):
            recipient = queue[place].letter.recipient
            domain = domain_of(recipient) if full else ""
            admission = "soon" if domain in full else self._concurrency.admit(recipient, now=now)
            if admission == "now":
                return place
            if admission == "later":
                composed = queue[place]
                del queue[place]
                self.put_off(composed.letter)
            else:
                full.add(domain_of(recipient))
                place += 1
        return None

    def _next(self, queue: deque[Composed], now: float) -> Lane | None:
        """Choose the lane whose turn it is; None when no message can be taken now."""
        urgent = queue is self._urgent
        turns = self._entitled(now, urgent=urgent)
        while turns:
            total = sum(lane.weight or 1 for lane in turns)
            first = max(turns, key=lambda lane: self._credit[lane] + (lane.weight or 1))
            if self._idle[first] and first.has_room(now, urgent=urgent):
                for lane in turns:
                    self._credit[lane] += lane.weight or 1
                self._credit[first] -= total
                return first
            if now < first.taken_at + PATIENCE_SECONDS and len(turns) > 1:
                self._look_again(first.taken_at + PATIENCE_SECONDS)
                return None
            turns = [lane for lane in turns if lane is not first]
        self._make_room(now, urgent=urgent)
        return None

    def _make_room(self, now: float, *, urgent: bool) -> None:
        """Give up what stalls where no connection more may be opened, and look again when that may help."""
        for lane in self.lanes:
            if lane.stalled and lane.is_full(now, urgent=urgent) and lane.may_take(now, urgent=urgent):
                self._look_again(self._concurrency.give_up(lane, now=now))
            if lane.rate or lane.trouble:
                self._look_again(lane.next_chance(now))

    def _entitled(self, now: float, *, urgent: bool) -> list[Lane]:
        """Return the lanes that may take the next message; backups only while all others are down."""
        may = [lane for lane in in_turn(self.lanes) if lane.may_take(now, urgent=urgent)]
        if urgent:
            may = [lane for lane in may if not lane.paused] or may
        if not urgent or len(self._urgent) > 1 or self._others:
            return may
        return [lane for lane in may if not lane.doubtful] or may  # nobody who waits is used to try a relay

    def _queue(self, composed: Composed) -> deque[Composed]:
        return self._urgent if _urgent(composed) else self._others

    def _look_again(self, at: float) -> None:
        """Share out again at this moment, if nothing is planned before."""
        if at >= self._looks_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = at
        self._timer = self.loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer, self._looks_at = None, math.inf
        self.share_out()


def _urgent(composed: Composed) -> bool:
    return is_urgent(composed.letter.entry.kind)
