"""Lane: one relay with the connections that lead to it, and whether it can be reached.

```
works ─cannot be reached→ rests ─rest is over→ probed by one message ─any answer→ works
                            ↑                        │
                            └── twice as long ───────┘ still not reached
```
A message that finds its relay unreachable costs no attempt and is free for the other lanes at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from mailer.outcomes import Outcome

REST_FIRST, REST_LONGEST = 1.0, 60.0  # seconds to leave a relay alone that cannot be reached
ALONE_SECONDS = 5.0  # while others got through so lately, a connection that fails is its own trouble

log = structlog.get_logger()


class Connection(Protocol):
    """A reused conversation with a relay; see mailer/smtp.py for the real one.

    `dotted` is true from the moment the final dot of the present message may have left.
    """

    dotted: bool

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


@dataclass(kw_only=True, eq=False)
class Lane:
    """One relay: `connect` makes a connection to it and is called `connections` times.

    `name` is what people call it, host and port. `weight` is its share of the mail; with 0 it gets some only
    while all others are down. `trouble` says why it cannot be reached, "" while it can. Moments are the event
    loop's.
    """

    name: str
    connect: Callable[[], Connection]
    connections: int
    weight: int = 1
    sent: int = field(default=0, init=False)
    busy: int = field(default=0, init=False)
    trouble: str = field(default="", init=False)
    rests_until: float = field(default=float("-inf"), init=False)
    taken_at: float = field(default=float("-inf"), init=False)
    _rest: float = field(default=0.0, init=False)
    _probing: bool = field(default=False, init=False)
    _reached: float = field(default=float("-inf"), init=False)

    def may_take(self, now: float) -> bool:
        """Tell whether a message may be handed to this lane: one at a time while it is only being probed."""
        return not self.trouble or (now >= self.rests_until and not self._probing)

    def take(self, now: float) -> None:
        """Note that a message is handed to this lane; `leave` follows, whatever becomes of it."""
        self.busy += 1
        self.taken_at = now
        self._probing = bool(self.trouble)

    def leave(self) -> None:
        """Note that a message has left this lane."""
        self.busy -= 1
        self._probing = False

    def turns_away(self) -> bool:
        """Tell whether a message that was handed to this lane must not begin, as its relay is known away."""
        return bool(self.trouble) and not self._probing

    def learn(self, outcome: Outcome, *, began: float, now: float) -> bool:
        """Note whether the relay could be reached; tells when only this connection failed."""
        if outcome.state != "unreachable":
            self.trouble = ""
            self._rest = 0.0
            self._reached = now
            self.sent += outcome.state == "sent"
            return False
        if self._reached >= began - ALONE_SECONDS:
            return True
        if not self.trouble or self._probing:
            self._rest = min(max(self._rest * 2, REST_FIRST), REST_LONGEST)
            self.rests_until = now + self._rest
            log.warning("relay unreachable", relay=self.name, reply=outcome.reply, rest_seconds=self._rest)
        self.trouble = outcome.reply or "The relay cannot be reached."
        return False
