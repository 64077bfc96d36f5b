"""Rude peer: an SMTP server that violates the protocol at a chosen moment: hangs, drops, replies twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANG = "hang"
DROP = "drop"
RESET = "reset"
USUAL = {
    "greeting": "220 rude.example ESMTP",
    "EHLO": "250-rude.example\r\n250 SIZE 10000000",
    "HELO": "250 rude.example",
    "AUTH": "535 5.7.8 no",
    "STARTTLS": "502 5.5.1 no",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    "body": "",
    "dot": "250 2.0.0 taken",
    "RSET": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
    "NOOP": "250 2.0.0 ok",
}


@dataclass
class Rude:
    """`moments` overrides the usual replies; `first` only those to the first connection, and `then` those
    to the first connection after it has sent a message.

    A moment is a reply, HANG (never replies), DROP (closes), RESET (closes with a TCP reset). At "body"
    the server reads a little of the text and then does so. `heard` lists the commands, `letters` the texts.
    """

    moments: Mapping[str, str] = field(default_factory=dict)
    first: Mapping[str, str] = field(default_factory=dict)
    then: Mapping[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    letters: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        script = {**USUAL, **self.moments, **(self.first if self.connections == 1 else {})}
        try:
            is_open = await self._say(script["greeting"], writer)
            while is_open:
                line = (await reader.readline()).decode("utf-8", "replace").strip()
                verb = line.partition(" ")[0].upper()
                if not verb:
                    break
                self.heard.append(line)
                is_open = await self._say(script.get(verb, "500 5.5.2 what?"), writer) and verb != "QUIT"
                if verb == "DATA" and is_open and script["DATA"].startswith("354"):
                    is_open = await self._take(script, reader, writer)
                    script.update(self.then if self.connections == 1 else {})
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _take(
        self, script: Mapping[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if script["body"]:
            await reader.read(100)
            return await self._say(script["body"], writer)
        message = await reader.readline()
        if message != b".\r\n":
            message += await reader.readuntil(b"\r\n.\r\n")
        self.letters.append(message)
        return await self._say(script["dot"], writer)

    async def _say(self, what: str, writer: asyncio.StreamWriter) -> bool:
        if what == HANG:
            await asyncio.sleep(3600)
        if what == RESET:
            writer.transport.abort()
        if what in (DROP, RESET):
            return False
        writer.write(what.encode("utf-8", "surrogateescape") + b"\r\n")
        await writer.drain()
        return True


@asynccontextmanager
async def rude(
    moments: Mapping[str, str] | None = None,
    *,
    first: Mapping[str, str] | None = None,
    then: Mapping[str, str] | None = None,
) -> AsyncIterator[Rude]:
    """Run a rude server on a free port of 127.0.0.1."""
    peer = Rude(moments=moments or {}, first=first or {}, then=then or {})
    tasks: set[asyncio.Task[None]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(peer.converse(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1_000_000)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
