"""Dialogue: our words and a server's replies, on a connection that is open, secured and logged in.

Several commands may leave in one write, their replies are read in order (PIPELINING, RFC 2920). Whatever
could pair a reply with the wrong question ends the connection at once: a reply nobody asked for, one that
is no reply, one that is too long, one that is late.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mailer.smtp.outcome import Outcome, State

REPLY_CHARACTERS = 500
MOST_REPLY = 65_536  # octets that may wait without being a whole reply
DRAIN_PAUSE = 0.005  # seconds between two looks at the write buffer


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long each answer is waited for, in seconds; the defaults follow RFC 5321, 4.5.3.2."""

    connect: float = 60.0  # until the machine answers, and again until its greeting
    greeting: float = 60.0  # EHLO, STARTTLS and login, each
    command: float = 300.0
    data: float = 120.0
    block: float = 180.0  # without one octet of the message leaving
    final: float = 600.0
    quit: float = 5.0


@dataclass(frozen=True)
class Answer:
    """A server's reply; `code` is None when there was none, or none that could be understood."""

    code: int | None
    words: str
    late: bool = False  # none came in time

    @property
    def kind(self) -> int:
        """First digit of the code: 2, 3, 4, 5, or 0 for everything else."""
        return self.code // 100 if self.code is not None else 0

    def outcome(self, state: State) -> Outcome:
        """Return this reply as what became of a message."""
        return Outcome(state=state, code=self.code, reply=self.words)


class Dialogue(asyncio.Protocol):
    """Takes over a connection from whoever opened it; one question at a time."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Take the connection over; what its former owner had not read yet is not ours to see."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._buffer = bytearray()
        self._lines: list[bytes] = []
        self._answers: list[Answer] = []
        self._patience: Sequence[float] = ()
        self._due = 0.0
        self._asked: asyncio.Future[None] | None = None
        self._lost = ""
        self._late = False
        transport.set_protocol(self)

    @property
    def open(self) -> bool:
        """Whether something can be said and heard."""
        return not self._lost and not self._transport.is_closing()

    async def ask(self, words: bytes, *patience: float) -> list[Answer]:
        """Write `words` at once, and return one reply for each patience: seconds since the reply before it.

        Where the connection ends first, the replies that never came have no code and say why.
        """
        assert self._asked is None, "one question at a time"
        self._answers = []
        if self.open:
            self._patience = patience
            self._asked = self._loop.create_future()
            self._due = self._loop.time() + patience[0]
            self._timer = self._loop.call_at(self._due, self._look)
            try:
                self._transport.write(words)
                await self._asked
            finally:
                self._asked = None
                self._timer.cancel()
        missing = len(patience) - len(self._answers)
        return self._answers + [Answer(None, self._lost or "The connection was lost.", self._late)] * missing

    def write(self, text: bytes) -> None:
        """Write without asking anything."""
        self._transport.write(text)

    async def drained(self, patience: float) -> bool:
        """Wait until all has left for the network; False when the connection, or for so long all, stood."""
        waiting, since = None, self._loop.time()
        while self.open:
            size = self._transport.get_write_buffer_size()
            if size == 0:
                return True
            if size != waiting:
                waiting, since = size, self._loop.time()
            elif self._loop.time() - since > patience:
                return False
            await asyncio.sleep(DRAIN_PAUSE)
        return False

    def abort(self) -> None:
        """Drop the connection at once; nothing that waits to be written leaves any more."""
        self._end("The connection was given up.")

    def data_received(self, data: bytes) -> None:
        """Take the replies there are."""
        self._buffer += data
        while not self._lost and (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            self._line(line)
        if len(self._buffer) + sum(map(len, self._lines)) > MOST_REPLY:
            self._end("Response too long")

    def eof_received(self) -> None:
        """Let the connection be closed."""
        self._end("The server closed the connection.")

    def connection_lost(self, exc: Exception | None) -> None:
        """Let whoever waits for a reply know."""
        self._end(str(exc) if exc else "The connection was lost.")

    def _line(self, line: bytes) -> None:
        code, then = line[:3], line[3:4]
        if self._asked is None:
            return self._end("The server spoke without being asked.")
        if not (code.isdigit() and b"200" <= code < b"600" and then in (b" ", b"-", b"")):
            return self._end(f"Malformed SMTP response line: {line[:100].decode(errors='replace')}")
        self._lines.append(line[4:])
        if then != b"-":
            words = b" ".join(self._lines).decode(errors="replace")
            self._lines = []
            self._answered(Answer(int(code), clean(words)))
        return None

    def _answered(self, answer: Answer) -> None:
        self._answers.append(answer)
        if len(self._answers) < len(self._patience):
            self._due = self._loop.time() + self._patience[len(self._answers)]
        elif self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
            self._asked = None

    def _look(self) -> None:
        """Once a reply is late the connection is given up; while they come, one timer does for all."""
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._look)
        else:
            self._late = not self._lost
            self._end("Timed out waiting for server response")

    def _end(self, why: str) -> None:
        self._lost = self._lost or clean(why)
        self._transport.abort()
        if self._asked is not None and not self._asked.done():
            self._asked.set_result(None)


def clean(words: str) -> str:
    """A server's words on one line: nothing unprintable, no bidi override, at most 500 characters."""
    if not words.isprintable():
        words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words[:REPLY_CHARACTERS]
