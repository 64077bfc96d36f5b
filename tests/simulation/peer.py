"""Peer: a simulated relay, which speaks SMTP correctly except for the mishaps drawn from the seed.

The mishaps are a table: the kind, the moment, and the relay's reply or action. Whether a relay accepts a
message is decided when the final dot arrives, and recorded by the witness, which is the only source for the
checks.
"""

import re
from collections.abc import Mapping
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.wire import Wire
    from tests.simulation.world import World

SILENT, DROP, RESET, LATE, CLOSING = "silent", "drop", "reset", "late", "closing"
LATEST = 540.0  # seconds; a relay that answers after nine minutes is slow, not broken
THINKING = 0.02  # seconds that a prompt relay takes for an answer, at most

USUAL: Mapping[str, str] = {
    "greeting": "220 relay.example ESMTP",
    "EHLO": "250-relay.example\r\n250-SIZE 10000000\r\n250 8BITMIME",
    "EHLO pipelining": "250-relay.example\r\n250-PIPELINING\r\n250 SIZE 10000000",
    "HELO": "250 relay.example",
    "STARTTLS": "454 4.7.0 not now",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "dot": "250 2.0.0 taken",
    "RSET": "250 2.0.0 ok",
    "NOOP": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
}
REPLY_MOMENTS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "dot", "RSET", "NOOP")
EVERYWHERE = (*REPLY_MOMENTS, "text")
NOISE = ("hello", "25", "\xff\xfe\x00", "999 what", "250", "-", "354 go on", "220 again", "600 600 600")

# The mishaps: kind → moment → the reply instead of the usual one, or one of the actions above.
MISHAPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "deferred": {
        "greeting": ("421 4.3.2 too busy",),
        "MAIL": ("451 4.3.0 later", "452 4.3.1 no room"),
        "RCPT": ("450 4.2.1 greylisted", "452 4.5.3 too many"),
        "DATA": ("451 4.3.0 later",),
        "dot": ("451 4.3.0 later", "452 4.3.1 no room"),
    },
    "refused": {
        "RCPT": ("550 5.1.1 nobody here by that name", "554 5.2.1 closed"),
        "DATA": ("554 5.6.0 no",),
        "dot": ("550 5.6.0 not that", "552 5.3.4 too big"),
    },
    "policy": {
        "greeting": ("554 5.7.1 not from you",),
        "MAIL": ("550 5.7.1 not from you",),
        "RCPT": ("550 5.7.1 blocked",),
        "dot": ("554 5.7.1 looks like spam",),
    },
    "closing": dict.fromkeys(EVERYWHERE, (CLOSING,)),
    "silent": dict.fromkeys(EVERYWHERE, (SILENT,)),
    "late": dict.fromkeys(REPLY_MOMENTS, (LATE,)),
    "dropped": dict.fromkeys(EVERYWHERE, (DROP, RESET)),
    "garbled": {**dict.fromkeys(REPLY_MOMENTS, NOISE), "text": ("hello", "\xff\xfe\x00", "354 go on")},
    "endless": dict.fromkeys(EVERYWHERE, ("250-" + "x" * 1_000_000,)),
    "half tls": {
        "EHLO": ("250-relay.example\r\n250 STARTTLS",),
        "STARTTLS": ("220 2.0.0 go on", "454 4.7.0 not now", DROP, RESET, "hello"),
    },
}
_NUMBER = re.compile(rb"^Message-ID:\s*<(\d+)\.", re.MULTILINE | re.IGNORECASE)
_YES, _NO = re.compile(r"2\d\d( |$)"), re.compile(r"[45]\d\d ")
_RECIPIENT = re.compile(rb"TO:\s*<([^>]*)>", re.IGNORECASE)


class Relay:
    """One relay of a world: its latency, the kinds and frequency of its mishaps, its unknown recipients."""

    def __init__(
        self,
        world: "World",
        name: str,
        *,
        chance: Random,
        latency: float,
        kinds: tuple[str, ...],
        pipelining: bool,
    ) -> None:
        self.world, self.name, self.latency, self.kinds = world, name, latency, kinds
        self.pipelining = pipelining
        self.often = 0.0  # how likely a mishap is at each moment
        self.down = ""  # "refused" or "silent" while no client can connect
        self.stalled: frozenset[str] = frozenset()  # recipients for whom it never answers
        self.unknown_recipients: frozenset[str] = frozenset()
        self._chance = chance

    def connection_state(self) -> str:
        """Return the outcome of a connection now: "open", "refused" or "silent"."""
        return self.down or "open"

    def accept(self, wire: "Wire") -> "Session":
        """Begin a session with a client that connected."""
        session = Session(self, wire, chance=self._chance)
        session.say("greeting")
        return session

    def mishap(self, moment: str) -> str:
        """Return the mishap at this moment, or ""."""
        if self.often <= 0 or self._chance.random() >= self.often:
            return ""
        kind = MISHAPS[self._chance.choice(self.kinds)]
        return self._chance.choice(kind[moment]) if moment in kind else ""


class Session:
    """One SMTP session, from the relay's side."""

    def __init__(self, relay: Relay, wire: "Wire", *, chance: Random) -> None:
        self.relay, self.wire, self._chance = relay, wire, chance
        self._received = bytearray()
        self._reads_text = False
        self._over = False
        self._mailed = self._accepted = False  # whether MAIL was accepted, and RCPT
        self._began = 0  # when the client wrote MAIL, in ticks
        self._recipient = ""

    def receive(self, data: bytes, sent_at: int) -> None:
        """Process octets that the client wrote at `sent_at`, in ticks."""
        if self._over:
            return
        self._received += data
        while not self._over and (self._text() if self._reads_text else self._command(sent_at)):
            pass

    def note_close(self) -> None:
        """Note that the client closed the connection."""
        self._over = True

    def _command(self, sent_at: int) -> bool:
        end = self._received.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        verb = line[:4].upper().decode("ascii", "replace")
        if verb == "MAIL":
            self._began = sent_at
            self._accepted = False
            self._mailed = self._is_positive(self.say("MAIL"))
        elif verb == "RCPT":
            self._accepted = self._mailed and self._accepts_recipient(line)
        elif verb == "DATA":
            self._reads_text = self._accepts_data()
        else:
            self.say("STARTTLS" if verb == "STAR" else verb)
            if verb == "QUIT":
                self._end(reset=False)
        return True

    def _accepts_recipient(self, line: bytes) -> bool:
        match = _RECIPIENT.search(line)
        self._recipient = match.group(1).decode("utf-8", "replace") if match else ""
        self.relay.world.witness.record_recipient(self._recipient, self._began)
        if self._stalls("RCPT"):
            return False
        if self._recipient in self.relay.unknown_recipients:
            self._reply("550 5.1.1 nobody here by that name")
            return False
        return self._is_positive(self.say("RCPT"))

    def _accepts_data(self) -> bool:
        """Answer DATA; without a recipient some servers accept the text all the same (RFC 2920, 3.1)."""
        if not self._mailed:
            self._reply("503 5.5.1 MAIL first")
            return False
        if not self._accepted:
            accepts = self._chance.random() < 0.5
            self._reply(USUAL["DATA"] if accepts else "554 5.5.1 no valid recipients")
            return accepts
        if self._stalls("DATA"):
            return False
        return self.say("DATA").startswith("354")

    def _stalls(self, moment: str) -> bool:
        """Stop answering where the server behind this relay has stalled; returns whether it has."""
        stalls = self._recipient in self.relay.stalled and self.relay.world.plan.stalled_at == moment
        self._over = self._over or stalls
        return stalls

    @staticmethod
    def _is_positive(reply: str) -> bool:
        return _YES.match(reply) is not None

    def _text(self) -> bool:
        mishap = self.relay.mishap("text") if self._received else ""
        if mishap:
            self._answer(mishap, usual="text")
            return not self._over
        end = 0 if self._received.startswith(b".\r\n") else self._received.find(b"\r\n.\r\n") + 2
        if end == 1:
            return False
        text = bytes(self._received[:end])
        del self._received[: end + 3]
        self._reads_text = False
        if not self._accepted:
            self._reply("554 5.5.1 no valid recipients")
            return True
        self._mailed = self._accepted = False
        match = _NUMBER.search(text)
        number = int(match.group(1)) if match else 0
        witness = self.relay.world.witness
        witness.record_arrival(number, self._recipient, relay=self.relay.name, began=self._began)
        if self._stalls("dot"):
            if self._chance.random() < 0.5:
                witness.record_acceptance(number, self._recipient, text)
            return False
        mishap = self.relay.mishap("dot")
        if self._accepts_message(mishap):
            witness.record_acceptance(number, self._recipient, text)
        self._answer(mishap, usual=USUAL["dot"])
        return True

    def _accepts_message(self, mishap: str) -> bool:
        """Decide whether a message is accepted: as the answer states, and at random where there is none."""
        if mishap in ("", LATE) or _YES.match(mishap):
            return True
        if mishap == CLOSING or _NO.match(mishap):
            return False
        return self._chance.random() < 0.5

    def say(self, moment: str) -> str:
        """Answer at this moment as usual, or with a mishap; returns the reply."""
        mishap = self.relay.mishap(moment)
        usual = "EHLO pipelining" if moment == "EHLO" and self.relay.pipelining else moment
        return self._answer(mishap, usual=USUAL.get(usual, "500 5.5.2 what?"))

    def _answer(self, mishap: str, *, usual: str) -> str:
        if mishap:
            self.relay.world.tell(self.relay.name, f"mishap instead of {usual[:3]}: {mishap[:20]!r}")
        if mishap == SILENT:
            self._over = True
        elif mishap in (DROP, RESET):
            self._end(reset=mishap == RESET)
        elif mishap == CLOSING:
            self._reply("421 4.3.2 closing")
            self._end(reset=False)
        elif mishap == LATE:
            self._reply(usual, delay=1 + self._chance.random() * (LATEST - 1))
            return usual
        else:
            self._reply(mishap or usual)
        return mishap or usual

    def _reply(self, words: str, *, delay: float = 0.0) -> None:
        line = words.encode("latin-1") + b"\r\n"
        self.wire.answer(line, delay=delay + self._chance.random() * THINKING)

    def _end(self, *, reset: bool) -> None:
        self._over = True
        self.wire.drop(reset=reset)
