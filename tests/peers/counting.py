"""Counting peer: a fast SMTP server in a separate thread that counts the messages of each recipient."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Counting:
    """`taken` counts the messages with a reply 250 after the final dot, by recipient.

    `begun` and `at` hold when the last message to each recipient began and was accepted (`time.monotonic`).
    """

    taken: Counter[str] = field(default_factory=Counter)
    begun: dict[str, float] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)
    port: int = 0

    @property
    def total(self) -> int:
        return self.taken.total()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 counting ESMTP\r\n")
        recipient = ""
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    self.at[recipient] = time.monotonic()
                    self.taken[recipient] += 1
                elif verb == b"RCPT":
                    recipient = line.split(b"<")[1].split(b">")[0].decode()
                    self.begun[recipient] = time.monotonic()
                elif verb == b"EHLO":
                    writer.write(b"250-counting\r\n250-PIPELINING\r\n250-8BITMIME\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                writer.write(b"250 2.0.0 Ok\r\n")
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@contextmanager
def counting(peer: Counting | None = None) -> Iterator[Counting]:
    """Run a server on a free port of 127.0.0.1."""
    peer = peer or Counting()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(peer.serve, "127.0.0.1", 0, limit=2**22)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
