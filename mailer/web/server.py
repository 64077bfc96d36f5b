"""The web server: uvicorn inside a process of ours, which keeps its signals to itself."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mailer.settings.loading import Settings

LOOPBACK = "127.0.0.1"
MOST_CONNECTIONS = 500
IDLE_SECONDS = 10
FAREWELL_SECONDS = 10
LONGEST_HEAD = 32 * 1024  # octets of a request before its body
SLOWEST_HEAD = 10.0  # seconds, also for a visitor who says nothing at all


class Patient(HttpToolsProtocol):
    """A connection whose visitor must say what it wants in 32 kB and ten seconds, else it is hung up."""

    _said: int | None = 0  # octets of the head so far; None while a body or an answer is under way
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._heard()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes until a head is whole."""
        super().data_received(data)
        if self._said is not None:
            self._said += len(data)
            if self._said > LONGEST_HEAD:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Wait for the head that begins here."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """Take the request in."""
        self._heard()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._heard()
        self._said = 0
        self._patience = self.loop.call_later(SLOWEST_HEAD, lambda: self.transport.close())

    def _heard(self) -> None:
        self._said = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class Server(uvicorn.Server):
    """A uvicorn that leaves signals to whoever runs it; `stop()` ends `serve()` after the visits begun."""

    ready: Callable[[], None] = staticmethod(lambda: None)  # called once, when the pages answer

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and then say so."""
        await super().startup(sockets)
        if self.started:
            self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none: uvicorn would end the process before its deliveries are recorded."""
        yield

    def stop(self) -> None:
        """Take no new visits and return from `serve()` once those begun are answered."""
        self.should_exit = True


def server(app: Starlette, settings: Settings, *, host: str = LOOPBACK, port: int | None = None) -> Server:
    """Return a server that listens on this machine; a proxy in front of it brings the world in.

    A visitor's address is taken from proxies that the settings trust, and from nobody else. Requests are
    not logged, because the paths of token pages are secrets.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=settings.port if port is None else port,
        http=Patient,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=FAREWELL_SECONDS,
    )
    return Server(config)
