"""Handout: composed messages that wait for a connection, and which lane takes the next one.

Messages are shared out among the lanes that work by smooth weighted round robin: with weights 3 and 1 they go
A A B A, A A B A. Nothing waits in a lane of its own, so what a relay in trouble did not take is free for the
others at once. A lane whose turn it is and that has no idle connection is waited for, else its share would
be lost; but not for long: a relay that hangs must not hold up the others.
"""

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mailer.composer import Ready
from mailer.lanes import Lane, in_turn
from mailer.limits import Turn
from mailer.outbox import Entry
from mailer.policy import POLICY

PATIENCE_SECONDS = 0.25  # a lane that took nothing for so long is not waited for
PERSON_WAITS = min(policy.priority for policy in POLICY.values())


ANY_TIME = Turn(None, -math.inf, math.inf)


class Composed(NamedTuple):
    """A message that waits for a sender, when its composing began, in the loop's time, and its turn."""

    letter: Ready
    at: float
    turn: Turn = ANY_TIME


@dataclass(kw_only=True)
class Handout:
    """Hands each message to an idle connection of a lane that works; `moved` is called when one was taken.

    Idle connections are used last in, first out: few messages keep few connections warm.
    """

    lanes: Sequence[Lane]
    loop: asyncio.AbstractEventLoop
    moved: Callable[[], None]
    _letters: deque[Composed] = field(default_factory=deque, init=False)
    _idle: "dict[Lane, list[asyncio.Future[Composed | None]]]" = field(init=False)
    _aside: list[Composed] = field(default_factory=list, init=False)  # not every lane can carry them
    _early: list[tuple[float, int, Composed]] = field(default_factory=list, init=False)
    _credit: dict[Lane, int] = field(init=False)
    _closed: bool = field(default=False, init=False)
    _timer: asyncio.Handle | None = field(default=None, init=False)
    _looks_at: float = field(default=math.inf, init=False)  # uvloop's handles of past moments do not say when

    def __post_init__(self) -> None:
        self._idle = {lane: [] for lane in self.lanes}
        self._credit = dict.fromkeys(self.lanes, 0)
        for lane in self.lanes:
            lane.taken_at = self.loop.time()

    @property
    def empty(self) -> bool:
        """Whether no message waits."""
        return not self._letters and not self._early and not self._aside

    @property
    def ripe(self) -> int:
        """How many messages wait for a connection, and not for their turn."""
        return len(self._letters) + len(self._aside)

    def put(self, composed: Composed) -> None:
        """Let a message wait for its turn, and for the next connection that is free for it."""
        if composed.turn.begins > self.loop.time():
            heapq.heappush(self._early, (composed.turn.begins, composed.letter.entry.id, composed))
        else:
            self._letters.append(composed)
        self.share_out()

    async def take(self, lane: Lane) -> Composed | None:
        """Wait for the next message for this lane, which `lane.leave()` ends; None when no more will come."""
        if self._closed:
            return None
        waiter: asyncio.Future[Composed | None] = self.loop.create_future()
        self._idle[lane].append(waiter)
        self.share_out()
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

    def take_back(self, *, before: float) -> Sequence[Composed]:
        """Return what was composed before this moment and nobody has taken; it waits no longer."""
        left = [composed for composed in self._letters if composed.at < before]
        left += [composed for composed in self._aside if composed.at < before]
        left += [composed for _, _, composed in self._early if composed.at < before]
        if left:
            self._aside = [composed for composed in self._aside if composed.at >= before]
            self._letters = deque(composed for composed in self._letters if composed.at >= before)
            self._early = [each for each in self._early if each[-1].at >= before]
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
            each for each in self._aside if not any(lane.works(now) for lane in self._carriers(each, now))
        ]
        self._aside = [each for each in self._aside if each not in left]
        return [each.letter.entry for each in left]

    def share_out(self) -> None:
        """Hand out what can be taken now; for when a lane may take messages again that it could not take."""
        ripe = []
        while self._early and self._early[0][0] <= self.loop.time():
            ripe.append(heapq.heappop(self._early)[-1])
        self._letters.extendleft(reversed(ripe))  # before those who may begin at any time: theirs is brief
        self._look_again(self._early[0][0] if self._early else math.inf)
        self._hand_out_aside()
        while self._letters and any(self._idle.values()) and (lane := self._next()) is not None:
            # A relay that may still be away is tried with what can wait best.
            composed = self._letters.pop() if lane.doubtful else self._letters.popleft()
            letter = composed.letter
            if lane.lack(letter.recipient, letter.message, self.loop.time()):
                self._aside.append(composed)
                self._hand_out_aside()
            elif not self._hand(composed, lane):
                self._letters.appendleft(composed)

    def _hand(self, composed: Composed, lane: Lane) -> bool:
        """Hand one message to an idle connection of a lane; False where its sender was cancelled."""
        waiter = self._idle[lane].pop()
        if waiter.done():
            return False
        now = self.loop.time()
        until = min(lane.take(now, late=composed.turn.until < now), composed.turn.until)
        waiter.set_result(composed._replace(turn=composed.turn._replace(until=until)))
        self.moved()
        return True

    def _hand_out_aside(self) -> None:
        """Hand what not every lane can carry to one that can, a standby too."""
        now = self.loop.time()
        for composed in self._aside[:]:
            for lane in self._carriers(composed, now):
                if not lane.may_take(now) or lane.busy >= lane.places or not self._idle[lane]:
                    continue
                if self._hand(composed, lane):
                    self._aside.remove(composed)
                    break

    def _carriers(self, composed: Composed, now: float) -> Sequence[Lane]:
        letter = composed.letter
        return [lane for lane in self.lanes if not lane.lack(letter.recipient, letter.message, now)]

    def _next(self) -> Lane | None:
        """Choose the lane whose turn it is; None when no message can be taken now."""
        now = self.loop.time()
        turns = self._entitled(now)
        while turns:
            total = sum(lane.weight or 1 for lane in turns)
            first = max(turns, key=lambda lane: self._credit[lane] + (lane.weight or 1))
            if self._idle[first] and first.busy < first.places:
                for lane in turns:
                    self._credit[lane] += lane.weight or 1
                self._credit[first] -= total
                return first
            if now < first.taken_at + PATIENCE_SECONDS and len(turns) > 1:
                self._look_again(first.taken_at + PATIENCE_SECONDS)
                return None
            turns.remove(first)
        self._look_again(min(lane.next_chance(now) for lane in self.lanes))
        return None

    def _entitled(self, now: float) -> list[Lane]:
        """Return the lanes that may take the next message; backups only while all others are down."""
        may = [lane for lane in in_turn(self.lanes) if lane.may_take(now)]
        if len(self._letters) > 1 or POLICY[self._letters[0].letter.entry.kind].priority > PERSON_WAITS:
            return may
        return [lane for lane in may if not lane.doubtful] or may  # nobody who waits is used to try a relay

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
