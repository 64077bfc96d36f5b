"""Sink: a mail server in a process of its own that is never killed: it records what it took in its file.

`python -m tests.crash.sink FILE SECONDS [HOST]` prints its port. After each final dot it appends one line,
without a buffer, and only then answers 250. Before the line and after it, it waits, by chance, for up to
SECONDS: most kills then fall between a dot and its answer, where SMTP can promise least (RFC 1047). SIGUSR1
ends the wait.

For some recipients it never answers: those whose address begins with `stalled-rcpt`, `stalled-data` or
`stalled-dot`, at that moment, until SIGUSR1. SIGUSR2 drops every connection, as a server does after a long
silence.
"""

import asyncio
import os
import random
import re
import signal
import sys
import time

MESSAGE_ID = re.compile(rb"^Message-ID:\s*(\S+)", re.MULTILINE | re.IGNORECASE)


class Sink:
    """Takes every message, records it in `file`, a descriptor, and waits a little before and after."""

    def __init__(self, file: int, *, wait_seconds: float) -> None:
        self.file = file
        self.wait_seconds = wait_seconds
        self._stalling = True
        self._healed = asyncio.Event()
        self._clients: set[asyncio.StreamWriter] = set()

    def hurry(self) -> None:
        """Wait no more, and answer for every recipient."""
        self.wait_seconds = 0.0
        self._stalling = False
        self._healed.set()

    def drop_all(self) -> None:
        """End every connection."""
        for client in self._clients:
            client.transport.abort()

    async def stall(self, recipient: bytes, moment: bytes) -> None:
        """Wait without an answer, where this recipient is one that stalls at this moment."""
        if self._stalling and recipient.startswith(b"stalled-" + moment):
            await self._healed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak SMTP with one client, until it ends."""
        accepted = time.monotonic()
        writer.write(b"220 sink ESMTP\r\n")
        recipient = b""
        self._clients.add(writer)
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    await self.stall(recipient, b"data")
                    writer.write(b"354 go on\r\n")
                    await self.take(await reader.readuntil(b"\r\n.\r\n"), recipient, accepted=accepted)
                elif verb == b"RCPT":
                    recipient = line.partition(b"<")[2].partition(b">")[0]
                    await self.stall(recipient, b"rcpt")
                elif verb == b"EHLO":
                    writer.write(b"250-sink\r\n250-8BITMIME\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                writer.write(b"250 2.0.0 Ok\r\n")
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client was killed
        finally:
            self._clients.discard(writer)
            writer.close()

    async def take(self, message: bytes, recipient: bytes, *, accepted: float) -> None:
        """Record who got what and when, even if the client has ended by now."""
        await self.dawdle()
        match = MESSAGE_ID.search(message)
        message_id = match.group(1) if match else b"-"
        line = b"%.6f %.6f %s %s\n" % (accepted, time.monotonic(), recipient, message_id)
        assert os.write(self.file, line) == len(line)
        await self.stall(recipient, b"dot")
        await self.dawdle()

    async def dawdle(self) -> None:
        """Wait for a random time."""
        if self.wait_seconds:
            await asyncio.sleep(random.uniform(0, self.wait_seconds))


async def main(path: str, *, wait_seconds: float, host: str) -> None:
    """Serve until the end of standard input, which the parent closes."""
    sink = Sink(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), wait_seconds=wait_seconds)
    server = await asyncio.start_server(sink.serve, host, 0, limit=2**22, backlog=1_000)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, sink.hurry)
    loop.add_signal_handler(signal.SIGUSR2, sink.drop_all)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    where = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
    asyncio.run(main(sys.argv[1], wait_seconds=float(sys.argv[2]), host=where))
