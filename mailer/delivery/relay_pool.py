"""Lane: one relay with the connections that lead to it, and whether it can be reached.

```
works ─cannot be reached→ rests ─rest is over→ probed by one message ─any answer→ works
                            ↑                        │
                            └── twice as long ───────┘ still not reached
```
A message that finds its relay unreachable costs no attempt and is free for the other lanes at once. How many
messages may be under way at once, says mailer/delivery/concurrency.py.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from mailer.smtp.capabilities import Capabilities
from mailer.smtp.outcome import Outcome
from mailer.smtp.rate import Rate

BACKOFF_FIRST, BACKOFF_LONGEST = 1.0, 60.0  # seconds to leave a relay alone that cannot be reached
NO_CONNECTION_LEFT = "Other workers have all the connections that the relay allows."
CAPABILITIES_SECONDS = 60.0  # what a relay said it can carry is believed so long, and then asked for anew
RECENT_SUCCESS_SECONDS = 5.0  # while others got through so lately, a connection that fails is its own trouble
RESERVE_PART = 4  # one connection of so many is kept for urgent mail
EXTRA_CONNECTIONS = 60  # connections beside those whose messages are stalled
URGENT_EXTRA_CONNECTIONS = 10  # the last of these are for urgent mail
PROBES = 2  # messages at once to a relay that answers nobody
CONNECTION_CAP_SECONDS = 60.0  # after a relay refused a connection more, none more is opened for so long
SMOOTHING, USUAL_SECONDS_MOST = (
    0.1,
    10.0,
)  # how much one answer counts for what is usual, and at most how long

log = structlog.get_logger()


class RelayConnection(Protocol):
    """A reused conversation with a relay; see mailer/smtp/connection.py for the real one.

    `dotted` is true from the moment the final dot of the present message may have left; `offers` is what the
    relay last said it can carry, another object each time it said so.
    """

    dot_written: bool
    capabilities: Capabilities | None

    async def send(
        self,
        *,
        sender: str,
        recipient: str,
        message: bytes,
        may_begin: Callable[[], bool],
        deadline: Callable[[], float],
        before_dot: Callable[[], None],
    ) -> Outcome | None:
        """Hand over one message and say what became of it; None when it was not begun.

        `may_begin` is asked right before MAIL, `deadline` and then `before_dot` right before the final dot.
        """

    async def close(self) -> None:
        """Say goodbye."""

    def abort(self) -> None:
        """Drop the connection at once."""

    def give_up(self) -> bool:
        """End the present hand-over as deferred; False, and nothing happens, once the dot may have left."""


@dataclass(kw_only=True, eq=False)
class RelayPool:
    """One relay: `connect` makes a connection to it and is called `most` times.

    `name` is what people call it, host and port. `weight` is its share of the mail; with 0 it gets some only
    while all others are down. Where it has a `rate`, a message begins only by one of `slots`; what they are,
    says mailer/coordination/rate_limits.py. `offers` is what it last said that it can carry. `shared` is how
    many connections all workers may have together, None for any number, and `places` how many this one has
    now. `paused` says why nothing may be handed to it, except one message where `trial` is true, and urgent
    ones where it is only `suspended`; see mailer/coordination/suspensions.py. `trouble` says why it cannot be
    reached, "" while it can. Of the `busy` connections some have `stalled`; `usual` is how long an answer
    takes. Moments are the loop's.
    """

    name: str
    connect: Callable[[], RelayConnection]
    connections: int
    weight: int = 1
    rate: Rate | None = None
    shared: int | None = None
    places: int = field(default=0, init=False)
    paused: str = field(default="", init=False)
    urgent_exempt: bool = field(default=False, init=False)
    trial: bool = field(default=False, init=False)
    slots: deque[float] = field(default_factory=deque, init=False)
    sent: int = field(default=0, init=False)
    busy: int = field(default=0, init=False)
    backing_off: int = field(default=0, init=False)  # places whose connections failed by themselves
    stalled: int = field(default=0, init=False)
    stalled_since: float = field(default=float("-inf"), init=False)  # the beginning of the newest of them
    answered_at: float = field(default=float("-inf"), init=False)
    usual_seconds: float = field(default=0.0, init=False)  # seconds
    trouble: str = field(default="", init=False)
    capabilities: Capabilities | None = field(default=None, init=False)
    capabilities_at: float = field(default=float("-inf"), init=False)
    backoff_until: float = field(default=float("-inf"), init=False)
    taken_at: float = field(default=float("-inf"), init=False)
    _reported_at: float = field(default=float("-inf"), init=False)
    _backoff: float = field(default=0.0, init=False)
    _probing: bool = field(default=False, init=False)
    _reached_at: float = field(default=float("-inf"), init=False)
    _connection_cap: tuple[float, int] = field(
        default=(float("-inf"), 0), init=False
    )  # until when, and how many

    def __post_init__(self) -> None:
        self.places = 0 if self.shared else self.connections

    @property
    def needs_probe(self) -> bool:
        """Whether its relay is known not to take mail: it may only be tried, by one message at a time."""
        return bool(self.trouble or self.paused)

    @property
    def closed_reason(self) -> str:
        """Why nothing can go this way, "" while something can."""
        return self.trouble or self.paused or ("" if self.places else NO_CONNECTION_LEFT)

    @property
    def reserve(self) -> int:
        """How many connections are kept for urgent mail: of its places if these are shared, else beside."""
        return self.places // RESERVE_PART if self.shared else max(1, self.connections // RESERVE_PART)

    @property
    def extra(self) -> int:
        """How many connections may be opened beside those whose messages are stalled."""
        return 0 if self.shared else EXTRA_CONNECTIONS

    @property
    def connections_most(self) -> int:
        """How many connections there may ever be."""
        return self.connections if self.shared else self.connections + self.reserve + self.extra

    def is_full(self, now: float, *, urgent: bool) -> bool:
        """Tell whether no connection more may be opened, whatever those that are open do."""
        if self.shared:
            return self.busy >= self.places - (0 if urgent else self.reserve)
        until, crowd = self._connection_cap
        most = self.places + self.reserve + self.extra - (0 if urgent else URGENT_EXTRA_CONNECTIONS)
        return self.busy >= (min(crowd, most) if now < until else most)

    def has_room(self, now: float, *, urgent: bool) -> bool:
        """Tell whether one more message may be under way."""
        if not self.shared and not self.stalled:
            return self.busy + self.backing_off < self.places + (self.reserve if urgent else 0)
        if self.shared or self.is_full(now, urgent=urgent):
            return not self.is_full(now, urgent=urgent)
        silent = self.answered_at <= self.stalled_since
        usually = min(PROBES, self.places) if silent else self.places
        return self.busy + self.backing_off - self.stalled < usually + (self.reserve if urgent else 0)

    def note_reply(self, *, began: float, now: float) -> None:
        """Note that a message begun then was answered, whatever the answer."""
        self.answered_at = now
        self.usual_seconds += SMOOTHING * (min(now - began, USUAL_SECONDS_MOST) - self.usual_seconds)

    def passes(self, *, urgent: bool) -> bool:
        """Tell whether a pause lets a message through: urgent mail waits only for staff."""
        return not self.paused or (urgent and self.urgent_exempt)

    def is_usable(self, now: float, *, urgent: bool) -> bool:
        """Tell whether its relay takes mail, or may be tried now."""
        return self.can_be_reached(now) and (self.passes(urgent=urgent) or self.trial)

    def can_be_reached(self, now: float) -> bool:
        """Tell whether a connection may be tried, whether it is paused or not."""
        tried = self.needs_probe and self._probing
        return self.places > 0 and not tried and (not self.trouble or now >= self.backoff_until)

    def may_take(self, now: float, *, urgent: bool) -> bool:
        """Tell whether a message may be handed to this lane now, as soon as a connection is idle."""
        return self.is_usable(now, urgent=urgent) and self._next_slot(now) <= now

    def find_next_chance(self, now: float) -> float:
        """Return when this lane may next be able to take a message that it cannot take now; inf: unknown."""
        later = [moment for moment in (self.backoff_until, self._next_slot(now)) if moment > now]
        return max(later, default=float("inf"))

    def update_capabilities(self, capabilities: Capabilities, now: float) -> bool:
        """Note what the relay says it can carry; tells whether that is news, or was last told a while ago."""
        news = capabilities != self.capabilities or now > self._reported_at + CAPABILITIES_SECONDS
        self.capabilities, self.capabilities_at = capabilities, now
        self._reported_at = now if news else self._reported_at
        return news

    def find_unsupported_reason(self, address: str, message: bytes, now: float) -> str:
        """Return why this relay is known not to carry a message to an address, "" where it may."""
        if self.capabilities is None or now > self.capabilities_at + CAPABILITIES_SECONDS:
            return ""
        return self.capabilities.find_unsupported_reason(address, message)

    def begin_message(self, now: float, *, urgent: bool, late: bool = False) -> float:
        """Note that a message is handed to this lane; returns until when it may begin. `leave` follows.

        One that is `late` for its domain's slot will not begin, and leaves this lane's slot to another.
        """
        until = self.slots.popleft() + self._grace if self.rate and not late else float("inf")
        self.busy += 1
        self.taken_at = now
        if self.would_probe(urgent=urgent):
            self._probing, self.trial = True, False
        return until

    def end_message(self, *, probed: bool) -> None:
        """Note that a message has left this lane, and whether it tried if its relay takes mail again."""
        self.busy -= 1
        self._probing = self._probing and not probed

    def would_probe(self, *, urgent: bool) -> bool:
        """Tell whether a message handed to it now only tries a relay that is known not to take mail."""
        return bool(self.trouble) or not self.passes(urgent=urgent)

    def note_outcome(self, outcome: Outcome, *, began: float, now: float) -> bool:
        """Note whether the relay could be reached; tells when only this connection failed."""
        if outcome.state != "unreachable":
            self.trouble = ""
            self._backoff = 0.0
            self._reached_at = now
            self.sent += outcome.state == "sent"
            return False
        if self._reached_at >= began - RECENT_SUCCESS_SECONDS:
            if self.busy > self.places:
                self._connection_cap = (now + CONNECTION_CAP_SECONDS, max(self.places, self.busy - 1))
            return True
        if not self.trouble or self._probing:
            self._backoff = min(max(self._backoff * 2, BACKOFF_FIRST), BACKOFF_LONGEST)
            self.backoff_until = now + self._backoff
            log.warning("relay unreachable", relay=self.name, reply=outcome.reply, rest_seconds=self._backoff)
        self.trouble = outcome.reply or "The relay cannot be reached."
        return False

    def _next_slot(self, now: float) -> float:
        """Return when it may next begin a message by its rate; what was not used in time is void."""
        if self.rate is None:
            return now
        while self.slots and self.slots[0] + self._grace < now:
            self.slots.popleft()
        return self.slots[0] if self.slots else float("inf")

    @property
    def _grace(self) -> float:
        return self.rate.grace.total_seconds() if self.rate else 0.0


def select_active(pools: Sequence[RelayPool]) -> Sequence[RelayPool]:
    """Return the lanes that take part now: those of weight 0 stand by until all others are down."""
    down = all(lane.needs_probe for lane in pools if lane.weight)
    return [lane for lane in pools if lane.weight or down]
