"""Concurrency: how many messages may be under way at once, so that a server holds up only its own recipients.

```
running ─no answer for a second (or thrice what is usual)→ stalled ─any answer→ over, its domain is prompt
   │                                                          │
   └─ answered → over                                         └─ none → its recipient is tried later, alone
```
A message that is stalled occupies its connection and no place of the worker's: another connection takes
over, as many as a lane has extra. So many may stall at once without slowing anybody down. Of one domain only
a part may; a domain that stalled gets one message at a time until it answers (as Postfix shrinks and grows
the concurrency of a destination). While a relay answers nobody at all it is only probed, so that a relay in
trouble does not get all these connections. Urgent mail has connections of its own, the lane's reserve.

A relay with `connections=` allows no connection more. There the reserve is taken from its places, and while
messages wait, a command that was not answered for a while before the final dot is given up: that is safe at
any time, and costs one attempt. After the final dot nothing is given up (RFC 1047).

Kept in the memory of one worker: what a new one does not know costs it a second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lists.addresses import domain_of
from mailer.delivery.relay_pool import RelayConnection, RelayPool

STALL_SECONDS = 1.0  # without an answer, or longer where the relay usually takes longer
STALL_FACTOR = 3.0  # so many times the usual is a stall
GIVE_UP_SECONDS = 5.0  # for a stalled command while others wait and are answered
GIVE_UP_FACTOR = 5.0  # or so many times what is usual
SILENCE_SECONDS = 30.0  # for one while nobody is answered, and for one that is tried alone
SLOW_MOST = 5  # messages under way to recipients that stalled before
REMEMBERED_SECONDS = 6 * 3600.0  # how long it is known that a recipient stalled
REMEMBERED_MOST = 10_000  # recipients, and domains
LIMIT_MOST = 1_000

Admission = Literal["now", "soon", "later"]


@dataclass(slots=True, eq=False)
class InFlightMessage:
    """One message under way: from when it was handed to a lane's connection until its outcome is known."""

    pool: RelayPool
    recipient: str
    domain: str
    urgent: bool
    began_at: float
    is_slow: bool  # its recipient stalled before
    is_probe: bool  # it tries a relay that is known not to take mail
    connection: RelayConnection | None = None
    stalled: bool = False


@dataclass(slots=True)
class _Domain:
    """What is under way to one recipients' domain, and how many of it may be."""

    limit: int
    running: int = 0
    stalled: int = 0
    misses: int = 0  # stalls since its last answer


@dataclass(kw_only=True)
class Concurrency:
    """What is under way by all lanes of one worker; moments are the loop's."""

    pools: Sequence[RelayPool]
    _running: dict[InFlightMessage, None] = field(default_factory=dict, init=False)  # by beginning
    _stalled: dict[InFlightMessage, None] = field(default_factory=dict, init=False)
    _recipients: dict[str, InFlightMessage] = field(default_factory=dict, init=False)
    _domains: dict[str, _Domain] = field(default_factory=dict, init=False)
    _slow_recipients: dict[str, float] = field(default_factory=dict, init=False)  # recipients, until when
    _slow_count: int = field(default=0, init=False)

    def admit(self, recipient: str, *, now: float) -> Admission:
        """Tell when a message may begin as far as its recipient is concerned.

        "soon": within the seconds in which one before it is answered or stalls; "later": put it back.
        """
        before = self._recipients.get(recipient)
        if before is not None:
            return "later" if before.stalled else "soon"
        domain = self._domains.get(domain_of(recipient))
        if self._is_slow(recipient, now):
            busy = domain is not None and (domain.running or domain.stalled)
            return "later" if busy or self._slow_count >= SLOW_MOST else "now"
        if domain is None:
            return "now"
        if domain.stalled and domain.stalled >= self._domain_stall_limit:
            return "later"
        return "now" if domain.running < domain.limit else "soon"

    def begin(self, pool: RelayPool, recipient: str, *, urgent: bool, now: float) -> InFlightMessage:
        """Note that a message is handed to a lane; `end` follows."""
        name = domain_of(recipient)
        alone, probes = self._is_slow(recipient, now), pool.would_probe(urgent=urgent)
        flight = InFlightMessage(pool, recipient, name, urgent, now, alone, probes)
        domain = self._domains.get(name)
        if domain is None:
            if len(self._domains) >= REMEMBERED_MOST:
                self._forget_idle()
            domain = self._domains[name] = _Domain(self._initial_domain_limit)
        domain.running += 1
        self._recipients[recipient] = flight
        self._running[flight] = None
        if flight.is_slow:
            self._slow_count += 1
            pool.stalled += 1  # it is expected to: no place is kept for it
        return flight

    def end(self, in_flight: InFlightMessage, *, answered: bool | None, now: float) -> None:
        """Note that a message is over, and whether a server answered it; None: it was not begun."""
        self._running.pop(in_flight, None)
        self._stalled.pop(in_flight, None)
        self._recipients.pop(in_flight.recipient, None)
        domain = self._domains[in_flight.domain]
        if in_flight.is_slow:
            self._slow_count -= 1
        if in_flight.is_slow or in_flight.stalled:
            in_flight.pool.stalled -= 1
        if in_flight.stalled:
            domain.stalled -= 1
        else:
            domain.running -= 1
        if answered:
            in_flight.pool.note_reply(began=in_flight.began_at, now=now)
            domain.misses = 0
            domain.limit = min(domain.limit + 1, LIMIT_MOST)
            self._slow_recipients.pop(in_flight.recipient, None)
        elif answered is False and in_flight.stalled:
            self._remember_slow(in_flight.recipient, now)

    def mark_stalled(self, now: float) -> None:
        """Notice which messages have stalled by now."""
        stalled = []
        for flight in self._running:
            if flight.began_at + STALL_SECONDS > now:
                break
            if flight.began_at + _stall_seconds(flight.pool) <= now:
                stalled.append(flight)
        for flight in stalled:
            del self._running[flight]
            self._stalled[flight] = None
            flight.stalled = True
            domain = self._domains[flight.domain]
            domain.running -= 1
            domain.stalled += 1
            domain.misses += 1
            domain.limit = 1
            if not flight.is_slow:
                flight.pool.stalled += 1
                flight.pool.stalled_since = max(flight.pool.stalled_since, flight.began_at)

    def find_next_stall(self) -> float:
        """Return when the next message stalls, if it is not answered before; inf where none is running."""
        flight = next(iter(self._running), None)
        return math.inf if flight is None else flight.began_at + _stall_seconds(flight.pool)

    def give_up_stalled(self, pool: RelayPool, *, now: float) -> float:
        """Give up the stalled message of a lane that has waited longest, if it waited long enough.

        Returns when it, or another, will have; now where one was given up.
        """
        soonest = math.inf
        for flight in self._stalled:
            connection = flight.connection
            if flight.pool is not pool or connection is None or connection.dot_written:
                continue
            until = flight.began_at + _give_up_seconds(flight)
            if until <= now and connection.give_up():
                return now
            soonest = min(soonest, max(until, now + STALL_SECONDS))
        return soonest

    def is_stuck(self, now: float) -> bool:
        """Tell whether as many are stalled as usually are under way, and nobody was answered lately."""
        first = next(iter(self._stalled), None)
        long_ago = now - SILENCE_SECONDS
        return (
            first is not None
            and first.began_at <= long_ago
            and all(lane.stalled >= max(1, lane.places) for lane in self.pools)
            and all(lane.answered_at <= long_ago for lane in self.pools)
        )

    @property
    def _initial_domain_limit(self) -> int:
        """How many messages may be under way to a domain that has not answered yet."""
        return max(1, sum(lane.places for lane in self.pools) // 2)

    @property
    def _domain_stall_limit(self) -> int:
        """How many messages to one domain may be stalled at once."""
        return self._initial_domain_limit + sum(lane.extra for lane in self.pools) // 4

    def _forget_idle(self) -> None:
        """Forget the domains that nothing is under way to; what is forgotten begins anew at half."""
        for name in [name for name, each in self._domains.items() if not (each.running or each.stalled)]:
            del self._domains[name]

    def _is_slow(self, recipient: str, now: float) -> bool:
        return bool(self._slow_recipients) and self._slow_recipients.get(recipient, -math.inf) > now

    def _remember_slow(self, recipient: str, now: float) -> None:
        self._slow_recipients.pop(recipient, None)
        self._slow_recipients[recipient] = now + REMEMBERED_SECONDS
        if len(self._slow_recipients) > REMEMBERED_MOST:
            del self._slow_recipients[next(iter(self._slow_recipients))]


def _stall_seconds(pool: RelayPool) -> float:
    return max(STALL_SECONDS, STALL_FACTOR * pool.usual_seconds)


def _give_up_seconds(in_flight: InFlightMessage) -> float:
    lane = in_flight.pool
    if in_flight.is_slow or lane.answered_at <= in_flight.began_at:
        return max(SILENCE_SECONDS, GIVE_UP_FACTOR * lane.usual_seconds)
    return max(GIVE_UP_SECONDS, GIVE_UP_FACTOR * lane.usual_seconds)
