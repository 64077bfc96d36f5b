"""Pipeline: sends commands and reads replies on a connection that is open, secured and logged in.

Several commands may be sent in one write; their replies are read in order (PIPELINING, RFC 2920). The
connection ends at once when a reply could be paired with the wrong command: after an unexpected reply, a
malformed one, one that is too long, or one that is late.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mailer.smtp.outcome import Outcome, State

REPLY_CHARACTERS = 500
MAX_REPLY_OCTETS = 65_536  # octets that may be buffered without a complete reply
DRAIN_POLL_SECONDS = 0.005  # between two checks of the write buffer


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long to wait for each reply, in seconds; the defaults follow RFC 5321, 4.5.3.2."""

    connect: float = 60.0  # until the TCP connection, and again until the greeting
    greeting: float = 60.0  # EHLO, STARTTLS and login, each
    command: float = 300.0
    data: float = 120.0
    block: float = 180.0  # without sending one octet of the message
    final: float = 600.0
    quit: float = 5.0


@dataclass(frozen=True)
class Reply:
    """A server's reply; `code` is None when there was none, or a malformed one."""

    code: int | None
    words: str
    timed_out: bool = False  # none came in time

    @property
    def first_digit(self) -> int:
        """First digit of the code: 2, 3, 4, 5, or 0 for everything else."""
        return self.code // 100 if self.code is not None else 0

    def to_outcome(self, state: State) -> Outcome:
        """Return this reply as the outcome of a message."""
        return Outcome(state=state, code=self.code, reply=self.words)


class Pipeline(asyncio.Protocol):
    """Takes over an open connection from another protocol; one group of commands at a time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take the connection over; octets that the former protocol has buffered are not visible here."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._replies: list[Reply] = []
        self._timeouts: Sequence[float] = ()
        self._deadline = 0.0
        self._pending: asyncio.Future[None] | None = None
        self._lost_reason = ""
        self._timed_out = False
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether commands can be sent and replies read."""
        return not self._lost_reason and not self._transport.is_closing()

    async def ask(self, words: bytes, *timeouts: float) -> list[Reply]:
        """Write `words` at once, and return one reply for each timeout: seconds since the previous reply.

        Where the connection ends first, the missing replies have no code, and the reason as their words.
        """
        assert self._pending is None, "one question at a time"
        self._replies = []
        if self.is_open:
            self._timeouts = timeouts
            self._pending = self._loop.create_future()
            self._deadline = self._loop.time() + timeouts[0]
            self._timer = self._loop.call_at(self._deadline, self._check_timeout)
            try:
                self._transport.write(words)
                await self._pending
            finally:
                self._pending = None
                self._timer.cancel()
        missing_count = len(timeouts) - len(self._replies)
        return (
            self._replies
            + [Reply(None, self._lost_reason or "The connection was lost.", self._timed_out)] * missing_count
        )

    def write(self, text: bytes) -> None:
        """Write text that gets no reply."""
        self._transport.write(text)

    async def drain(self, seconds: float) -> bool:
        """Wait until all octets are sent; False when the connection ends, or stalls for `seconds`."""
        pending_size, since = None, self._loop.time()
        while self.is_open:
            size = self._transport.get_write_buffer_size()
            if size == 0:
                return True
            if size != pending_size:
                pending_size, since = size, self._loop.time()
            elif self._loop.time() - since > seconds:
                return False
            await asyncio.sleep(DRAIN_POLL_SECONDS)
        return False

    def abort(self) -> None:
        """Drop the connection at once; octets that wait to be written are discarded."""
        self._end("The connection was given up.")

    def data_received(self, data: bytes) -> None:
        """Parse the complete replies."""
        self._buffer += data
        while not self._lost_reason and (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            self._parse_line(line)
        if len(self._buffer) + sum(map(len, self._lines)) > MAX_REPLY_OCTETS:
            self._end("Response too long")

    def eof_received(self) -> None:
        """Let the connection be closed."""
        self._end("The server closed the connection.")

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait for replies."""
        self._end(str(exc) if exc else "The connection was lost.")

    def _parse_line(self, line: bytes) -> None:
        code, separator = line[:3], line[3:4]
        if self._pending is None:
            return self._end("The server spoke without being asked.")
        if not (code.isdigit() and b"200" <= code < b"600" and separator in (b" ", b"-", b"")):
            return self._end(f"Malformed SMTP response line: {line[:100].decode(errors='replace')}")
        self._lines.append(line[4:])
        if separator != b"-":
            words = b" ".join(self._lines).decode(errors="replace")
            self._lines = []
            self._add_reply(Reply(int(code), clean(words)))
        return None

    def _add_reply(self, reply: Reply) -> None:
        self._replies.append(reply)
        if len(self._replies) < len(self._timeouts):
            self._deadline = self._loop.time() + self._timeouts[len(self._replies)]
        elif self._pending is not None and not self._pending.done():
            self._pending.set_result(None)
            self._pending = None

    def _check_timeout(self) -> None:
        """End the connection once a reply is late; one timer serves all replies."""
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check_timeout)
        else:
            self._timed_out = not self._lost_reason
            self._end("Timed out waiting for server response")

    def _end(self, trouble: str) -> None:
        self._lost_reason = self._lost_reason or clean(trouble)
        self._transport.abort()
        if self._pending is not None and not self._pending.done():
            self._pending.set_result(None)


def clean(words: str) -> str:
    """Return a server's text on one line: printable, without bidi overrides, at most 500 characters."""
    if not words.isprintable():
        words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words[:REPLY_CHARACTERS]
