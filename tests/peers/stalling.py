"""Stalling peer: a relay in a separate thread that stalls for configured recipients.

It replies at once for all others, accepts pipelined commands, and counts as tests/peers/counting.py does.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from tests.peers.counting import Counting, counting

Moment = Literal["RCPT", "DATA", "dot"]


@dataclass
class Stalling(Counting):
    """`stalls` holds the command of a recipient that never gets a reply; `answers` are other replies to RCPT,
    by recipient. `open` counts the open connections, `most_open` is the maximum of this count.
    """

    stalls: Mapping[str, Moment] = field(default_factory=dict)
    answers: Mapping[str, str] = field(default_factory=dict)
    stalled: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    open: int = 0
    most_open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 stalling ESMTP\r\n")
        recipient, accepted = "", False
        while line := await reader.readline():
            verb = line[:4].upper().decode("ascii", "replace")
            reply = "250 2.0.0 Ok"
            if verb == "EHLO":
                reply = "250-stalling\r\n250-PIPELINING\r\n250 8BITMIME"
            elif verb == "RCPT":
                recipient = line.split(b"<")[1].split(b">")[0].decode()
                self.begun[recipient] = time.monotonic()
                await self._stall(recipient, "RCPT", reader)
                reply = self.answers.get(recipient, "250 2.1.5 Ok")
                accepted = reply.startswith("2")
            elif verb == "DATA" and accepted:
                await self._stall(recipient, "DATA", reader)
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                await self._stall(recipient, "dot", reader)
                self.at[recipient] = time.monotonic()
                self.times.append(self.at[recipient])
                self.taken[recipient] += 1
                accepted = False
            elif verb == "DATA":
                reply = "554 5.5.1 no valid recipients"
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                return
            writer.write(reply.encode() + b"\r\n")

    async def _stall(self, recipient: str, moment: Moment, reader: asyncio.StreamReader) -> None:
        if self.stalls.get(recipient) == moment:
            self.stalled.append(recipient)
            while await reader.read(65_536):  # until the client gives up
                pass
            raise ConnectionResetError


@contextmanager
def stalling(
    stalls: Mapping[str, Moment] | None = None, answers: Mapping[str, str] | None = None
) -> Iterator[Stalling]:
    """Run a relay on a free port of 127.0.0.1."""
    peer = Stalling(stalls=stalls or {}, answers=answers or {})
    with counting(peer):
        yield peer
