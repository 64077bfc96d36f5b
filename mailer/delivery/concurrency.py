"""Concurrency: limits how many messages are in flight, so that a slow server delays only its own recipients.

```
running ─no reply for a second (or thrice the usual time)→ stalled ─any reply→ ended, its domain is prompt
   │                                                          │
   └─ reply → ended                                           └─ none → its recipient is tried later, alone
```
A stalled message occupies its connection but no place of the worker: another connection sends in its place,
up to `extra` of a relay pool. So many messages may stall at once without slowing others down. One domain may
use only a part of them; a domain that stalled gets one message at a time until it replies (as Postfix shrinks
and grows the concurrency of a destination). A relay that replies to no message at all is only probed, so that
a failing relay does not use all these connections. Urgent mail has separate connections, the reserve of the
pool.

A relay with `connections=` allows no further connections. There the reserve is part of its places, and while
messages wait, a command without a reply before the final dot is given up after a while: this is safe at any
time, and costs one attempt. After the final dot no command is given up (RFC 1047).

The state is kept in the memory of one worker; a new worker learns it again within a second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lists.addresses import domain_of
from mailer.delivery.relay_pool import RelayConnection, RelayPool

STALL_SECONDS = 1.0  # without a reply, or longer where the relay usually takes longer
STALL_FACTOR = 3.0  # times the usual duration are a stall
GIVE_UP_SECONDS = 5.0  # of a stalled command, while others wait and get replies
GIVE_UP_FACTOR = 5.0  # or times the usual duration
SILENCE_SECONDS = 30.0  # the same while no message gets a reply, or for a slow recipient
MAX_SLOW_IN_FLIGHT = 5  # messages in flight to recipients that stalled before
REMEMBERED_SECONDS = 6 * 3600.0  # how long a stalled recipient is remembered
MAX_REMEMBERED = 10_000  # recipients, and domains
MAX_LIMIT = 1_000

Admission = Literal["admit", "wait", "postpone"]


@dataclass(slots=True, eq=False)
class InFlightMessage:
    """One message from its dispatch to a connection of a pool until its outcome."""

    pool: RelayPool
    recipient: str
    domain: str
    urgent: bool
    began_at: float
    is_slow: bool  # its recipient stalled before
    is_probe: bool  # it tests a relay that is known not to accept mail
    connection: RelayConnection | None = None
    stalled: bool = False


@dataclass(slots=True)
class _Domain:
    """The messages in flight to one recipients' domain, and their limit."""

    limit: int
    running: int = 0
    stalled: int = 0


@dataclass(kw_only=True)
class Concurrency:
    """The messages in flight in all pools of one worker; moments are the loop's."""

    pools: Sequence[RelayPool]
    _running: dict[InFlightMessage, None] = field(default_factory=dict, init=False)  # by start
    _stalled: dict[InFlightMessage, None] = field(default_factory=dict, init=False)
    _recipients: dict[str, InFlightMessage] = field(default_factory=dict, init=False)
    _domains: dict[str, _Domain] = field(default_factory=dict, init=False)
    _slow_recipients: dict[str, float] = field(default_factory=dict, init=False)  # recipients, until when
    _slow_count: int = field(default=0, init=False)

    def admit(self, recipient: str, *, now: float) -> Admission:
        """Tell when a message may begin as far as its recipient is concerned.

        "wait": an earlier message gets a reply or stalls within seconds; "postpone": put it back.
        """
        previous = self._recipients.get(recipient)
        if previous is not None:
            return "postpone" if previous.stalled else "wait"
        domain = self._domains.get(domain_of(recipient))
        if self._is_slow(recipient, now):
            busy = domain is not None and (domain.running or domain.stalled)
            return "postpone" if busy or self._slow_count >= MAX_SLOW_IN_FLIGHT else "admit"
        if domain is None:
            return "admit"
        if domain.stalled and domain.stalled >= self._domain_stall_limit:
            return "postpone"
        return "admit" if domain.running < domain.limit else "wait"

    def begin(self, pool: RelayPool, recipient: str, *, urgent: bool, now: float) -> InFlightMessage:
        """Note that a message is dispatched to a pool; `end` follows."""
        domain_name = domain_of(recipient)
        is_slow, is_probe = self._is_slow(recipient, now), pool.would_probe(urgent=urgent)
        in_flight = InFlightMessage(pool, recipient, domain_name, urgent, now, is_slow, is_probe)
        domain = self._domains.get(domain_name)
        if domain is None:
            if len(self._domains) >= MAX_REMEMBERED:
                self._forget_idle()
            domain = self._domains[domain_name] = _Domain(self._initial_domain_limit)
        domain.running += 1
        self._recipients[recipient] = in_flight
        self._running[in_flight] = None
        if in_flight.is_slow:
            self._slow_count += 1
            pool.stalled += 1  # expected to stall, so it occupies no place
        return in_flight

    def end(self, in_flight: InFlightMessage, *, was_answered: bool | None, now: float) -> None:
        """Note that a message has ended, and whether a server replied; None: it was not begun."""
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
        if was_answered:
            in_flight.pool.note_reply(began=in_flight.began_at, now=now)
            domain.limit = min(domain.limit + 1, MAX_LIMIT)
            self._slow_recipients.pop(in_flight.recipient, None)
        elif was_answered is False and in_flight.stalled:
            self._remember_slow(in_flight.recipient, now)

    def mark_stalled(self, now: float) -> None:
        """Mark the messages that have stalled by now."""
        newly_stalled = []
        for in_flight in self._running:
            if in_flight.began_at + STALL_SECONDS > now:
                break
            if in_flight.began_at + _stall_seconds(in_flight.pool) <= now:
                newly_stalled.append(in_flight)
        for in_flight in newly_stalled:
            del self._running[in_flight]
            self._stalled[in_flight] = None
            in_flight.stalled = True
            domain = self._domains[in_flight.domain]
            domain.running -= 1
            domain.stalled += 1
            domain.limit = 1
            if not in_flight.is_slow:
                in_flight.pool.stalled += 1
                in_flight.pool.stalled_since = max(in_flight.pool.stalled_since, in_flight.began_at)

    def find_next_stall(self) -> float:
        """Return when the next message stalls if it gets no reply before; inf where none is running."""
        in_flight = next(iter(self._running), None)
        return math.inf if in_flight is None else in_flight.began_at + _stall_seconds(in_flight.pool)

    def give_up_stalled(self, pool: RelayPool, *, now: float) -> float:
        """Give up the stalled message of a pool that has waited longest, if it waited long enough.

        Returns `now` where a message was given up, else when the next one will have waited long enough.
        """
        soonest = math.inf
        for in_flight in self._stalled:
            connection = in_flight.connection
            if in_flight.pool is not pool or connection is None or connection.dot_written:
                continue
            give_up_at = in_flight.began_at + _give_up_seconds(in_flight)
            if give_up_at <= now and connection.give_up():
                return now
            soonest = min(soonest, max(give_up_at, now + STALL_SECONDS))
        return soonest

    def is_stuck(self, now: float) -> bool:
        """Tell whether as many messages are stalled as are usually in flight, without a reply lately."""
        first = next(iter(self._stalled), None)
        long_ago = now - SILENCE_SECONDS
        return (
            first is not None
            and first.began_at <= long_ago
            and all(pool.stalled >= max(1, pool.places) for pool in self.pools)
            and all(pool.answered_at <= long_ago for pool in self.pools)
        )

    @property
    def _initial_domain_limit(self) -> int:
        """How many messages may be in flight to a domain that has not replied yet."""
        return max(1, sum(pool.places for pool in self.pools) // 2)

    @property
    def _domain_stall_limit(self) -> int:
        """How many messages to one domain may be stalled at once."""
        return self._initial_domain_limit + sum(pool.extra for pool in self.pools) // 4

    def _forget_idle(self) -> None:
        """Forget the domains without messages in flight; they start again at half of all places."""
        for name in [
            name for name, domain in self._domains.items() if not (domain.running or domain.stalled)
        ]:
            del self._domains[name]

    def _is_slow(self, recipient: str, now: float) -> bool:
        return bool(self._slow_recipients) and self._slow_recipients.get(recipient, -math.inf) > now

    def _remember_slow(self, recipient: str, now: float) -> None:
        self._slow_recipients.pop(recipient, None)
        self._slow_recipients[recipient] = now + REMEMBERED_SECONDS
        if len(self._slow_recipients) > MAX_REMEMBERED:
            del self._slow_recipients[next(iter(self._slow_recipients))]


def _stall_seconds(pool: RelayPool) -> float:
    return max(STALL_SECONDS, STALL_FACTOR * pool.usual_seconds)


def _give_up_seconds(in_flight: InFlightMessage) -> float:
    pool = in_flight.pool
    if in_flight.is_slow or pool.answered_at <= in_flight.began_at:
        return max(SILENCE_SECONDS, GIVE_UP_FACTOR * pool.usual_seconds)
    return max(GIVE_UP_SECONDS, GIVE_UP_FACTOR * pool.usual_seconds)
