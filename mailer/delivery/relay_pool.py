"""Relay pool: the connections to one relay, and whether the relay can be reached.

```
usable ─cannot be reached→ backing off ─backoff ends→ probed by one message ─any reply→ usable
                               ↑                          │
                               └───── twice as long ──────┘ still not reached
```
A message whose relay cannot be reached loses no attempt and is available to the other pools at once.
mailer/delivery/concurrency.py limits how many messages may be in flight.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from mailer.smtp.capabilities import Capabilities, RelayLimit
from mailer.smtp.outcome import Outcome
from mailer.smtp.rate import Rate

BACKOFF_FIRST, BACKOFF_LONGEST = 1.0, 60.0  # seconds without tries after a relay could not be reached
NO_CONNECTION_LEFT = "Other workers have all the connections that the relay allows."
CAPABILITIES_SECONDS = 60.0  # how long the capabilities of a relay are valid
RECENT_SUCCESS_SECONDS = 5.0  # so soon after a success, only the failing connection is at fault
RESERVE_PART = 4  # one connection of so many is reserved for urgent mail
EXTRA_CONNECTIONS = 60  # connections beside those whose messages are stalled
URGENT_EXTRA_CONNECTIONS = 10  # the last of these are for urgent mail
PROBES = 2  # messages at once to a relay that replies to none
CONNECTION_CAP_SECONDS = 60.0  # for so long after a relay refused a further connection, none is opened
SMOOTHING, MAX_USUAL_SECONDS = 0.1, 10.0  # the weight of one reply in `usual_seconds`, and its maximum

log = structlog.get_logger()


class RelayConnection(Protocol):
    """A reused connection to a relay; mailer/smtp/connection.py implements it.

    `dot_written` is true from the moment the final dot of the present message may have been sent.
    `capabilities` are those of the relay's last reply to EHLO, a new object for each reply.
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
        """Send one message and return its outcome; None when it was not begun.

        Calls `may_begin` right before MAIL, `deadline` and then `before_dot` right before the final dot.
        """

    async def close(self) -> None:
        """Send QUIT and close the connection."""

    def abort(self) -> None:
        """Drop the connection at once."""

    def give_up(self) -> bool:
        """End the present message as deferred; False, without effect, once the dot may have been sent."""


@dataclass(kw_only=True, eq=False)
class RelayPool:
    """One relay: `connect` makes a connection to it and is called `connections_most` times.

    `name` is its host and port. `weight` is its share of the mail; with 0 it gets mail only while all others
    are down. Where it has a `rate`, a message begins only by one of `slots`
    (mailer/coordination/rate_limits.py). `capabilities` are those of its last reply to EHLO. `shared` is how
    many connections all workers may have together, None for any number, and `places` how many this worker has
    now. `paused` is the reason why no message may be sent to it, except one where `trial` is true, and urgent
    ones where `urgent_exempt` is true (mailer/coordination/suspensions.py). `trouble` is the reason why it
    cannot be reached, "" while it can. `busy` counts the connections with a message, `stalled` those of them
    whose message is stalled or expected to stall; `usual_seconds` is the usual time until a reply. Moments
    are the loop's.
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
    backing_off: int = field(default=0, init=False)  # places whose connections failed while others succeeded
    stalled: int = field(default=0, init=False)
    stalled_since: float = field(default=float("-inf"), init=False)  # when the newest of them began
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
    _connection_cap: tuple[float, int] = field(default=(float("-inf"), 0), init=False)  # until when, how many

    def __post_init__(self) -> None:
        self.places = 0 if self.shared else self.connections

    @property
    def needs_probe(self) -> bool:
        """Whether its relay is known not to accept mail: only one message at a time may test it."""
        return bool(self.trouble or self.paused)

    @property
    def closed_reason(self) -> str:
        """Why no message can be sent to this relay, "" while one can."""
        return self.trouble or self.paused or ("" if self.places else NO_CONNECTION_LEFT)

    @property
    def reserve(self) -> int:
        """How many connections are reserved for urgent mail: of its places if shared, else in addition."""
        return self.places // RESERVE_PART if self.shared else max(1, self.connections // RESERVE_PART)

    @property
    def extra(self) -> int:
        """How many connections may be opened in addition for stalled messages."""
        return 0 if self.shared else EXTRA_CONNECTIONS

    @property
    def connections_most(self) -> int:
        """The most connections there may be."""
        return self.connections if self.shared else self.connections + self.reserve + self.extra

    def is_full(self, now: float, *, urgent: bool) -> bool:
        """Tell whether no further connection may be opened, whatever the state of those that are open."""
        if self.shared:
            return self.busy >= self.places - (0 if urgent else self.reserve)
        until, cap = self._connection_cap
        most = self.places + self.reserve + self.extra - (0 if urgent else URGENT_EXTRA_CONNECTIONS)
        return self.busy >= (min(cap, most) if now < until else most)

    def has_room(self, now: float, *, urgent: bool) -> bool:
        """Tell whether one more message may be in flight."""
        if not self.shared and not self.stalled:
            return self.busy + self.backing_off < self.places + (self.reserve if urgent else 0)
        if self.shared or self.is_full(now, urgent=urgent):
            return not self.is_full(now, urgent=urgent)
        is_silent = self.answered_at <= self.stalled_since
        usual_count = min(PROBES, self.places) if is_silent else self.places
        return self.busy + self.backing_off - self.stalled < usual_count + (self.reserve if urgent else 0)

    def note_reply(self, *, began: float, now: float) -> None:
        """Note a reply, whatever it is, to a message that began at `began`."""
        self.answered_at = now
        self.usual_seconds += SMOOTHING * (min(now - began, MAX_USUAL_SECONDS) - self.usual_seconds)

    def passes(self, *, urgent: bool) -> bool:
        """Tell whether a message may be sent despite a suspension: urgent mail waits only for staff."""
        return not self.paused or (urgent and self.urgent_exempt)

    def is_usable(self, now: float, *, urgent: bool) -> bool:
        """Tell whether its relay accepts mail, or may be tested now."""
        return self.can_be_reached(now) and (self.passes(urgent=urgent) or self.trial)

    def can_be_reached(self, now: float) -> bool:
        """Tell whether a connection may be tried, whether the relay is suspended or not."""
        is_probing = self.needs_probe and self._probing
        return self.places > 0 and not is_probing and (not self.trouble or now >= self.backoff_until)

    def may_take(self, now: float, *, urgent: bool) -> bool:
        """Tell whether a message may be dispatched to this pool now, as soon as a connection is idle."""
        return self.is_usable(now, urgent=urgent) and self._next_slot(now) <= now

    def find_next_chance(self, now: float) -> float:
        """Return when this pool may next take a message that it cannot take now; inf: unknown."""
        moments = [moment for moment in (self.backoff_until, self._next_slot(now)) if moment > now]
        return max(moments, default=float("inf"))

    def update_capabilities(self, capabilities: Capabilities, now: float) -> bool:
        """Note the relay's capabilities; returns whether they changed, or were last reported a while ago."""
        is_news = capabilities != self.capabilities or now > self._reported_at + CAPABILITIES_SECONDS
        self.capabilities, self.capabilities_at = capabilities, now
        self._reported_at = now if is_news else self._reported_at
        return is_news

    def find_limit(self, address: str, message: bytes, now: float) -> RelayLimit | None:
        """Return the limit that keeps a message to an address from this relay, None where it may go."""
        if self.capabilities is None or now > self.capabilities_at + CAPABILITIES_SECONDS:
            return None
        return self.capabilities.find_limit(address, message)

    def begin_message(self, now: float, *, urgent: bool, late: bool = False) -> float:
        """Note that a message is dispatched to this pool; returns until when it may begin.

        `end_message` follows. A message that is `late` for its domain's slot will not begin, and uses no slot
        of this pool.
        """
        until = self.slots.popleft() + self._grace if self.rate and not late else float("inf")
        self.busy += 1
        self.taken_at = now
        if self.would_probe(urgent=urgent):
            self._probing, self.trial = True, False
        return until

    def end_message(self, *, probed: bool) -> None:
        """Note that a message has ended, and whether it tested if the relay accepts mail again."""
        self.busy -= 1
        self._probing = self._probing and not probed

    def would_probe(self, *, urgent: bool) -> bool:
        """Tell whether a message dispatched now would test a relay that is known not to accept mail."""
        return bool(self.trouble) or not self.passes(urgent=urgent)

    def note_outcome(self, outcome: Outcome, *, began: float, now: float) -> bool:
        """Note whether the relay could be reached; returns whether only this connection failed."""
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
        """Return when a message may next begin by its rate; drops slots that were not used in time."""
        if self.rate is None:
            return now
        while self.slots and self.slots[0] + self._grace < now:
            self.slots.popleft()
        return self.slots[0] if self.slots else float("inf")

    @property
    def _grace(self) -> float:
        return self.rate.grace.total_seconds() if self.rate else 0.0


def select_active(pools: Sequence[RelayPool]) -> Sequence[RelayPool]:
    """Return the pools to use now: those of weight 0 stand by until all others are down."""
    all_down = all(pool.needs_probe for pool in pools if pool.weight)
    return [pool for pool in pools if pool.weight or all_down]
