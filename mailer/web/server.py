"""Web server: uvicorn inside a process of ours, which handles the signals itself."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mailer.settings.loading import Settings

LOOPBACK = "127.0.0.1"
MAX_CONNECTIONS = 500
IDLE_SECONDS = 10
SHUTDOWN_SECONDS = 10
MAX_HEAD_OCTETS = 32 * 1024  # octets of a request before its body
HEAD_TIMEOUT_SECONDS = 10.0  # seconds, also for a client that sends nothing at all


class HeadTimeoutProtocol(HttpToolsProtocol):
    """A connection whose client must send the head in 32 kB and ten seconds, else it is closed."""

    _head_octets: int | None = 0  # octets of the head so far; None while a body or a response is in progress
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first head."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count octets until a head is complete."""
        super().data_received(data)
        if self._head_octets is not None:
            self._head_octets += len(data)
            if self._head_octets > MAX_HEAD_OCTETS:
                self.transport.close()

    def on_message_begin(self) -> None:
        """Start the timer for the head that begins."""
        super().on_message_begin()
        self._start_head_timer()

    def on_headers_complete(self) -> None:
        """Stop the timer and pass the request on."""
        self._stop_head_timer()
        super().on_headers_complete()

    def _start_head_timer(self) -> None:
        self._stop_head_timer()
        self._head_octets = 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, lambda: self.transport.close())

    def _stop_head_timer(self) -> None:
        self._head_octets = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """A uvicorn that leaves signals to its caller; `stop()` ends `serve()` after the requests in progress."""

    ready: Callable[[], None] = staticmethod(lambda: None)  # called once, when the pages answer

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and then call `ready`."""
        await super().startup(sockets)
        if self.started:
            self.ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals: uvicorn would end the process before its deliveries are recorded."""
        yield

    def stop(self) -> None:
        """Accept no new requests and return from `serve()` once those in progress are answered."""
        self.should_exit = True


def build_server(
    app: Starlette, settings: Settings, *, host: str = LOOPBACK, port: int | None = None
) -> Server:
    """Return a server that listens on this machine; a proxy in front of it makes it public.

    A client's address is taken only from proxies that the settings trust. Requests are not logged, because
    the paths of token pages are secrets.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=settings.port if port is None else port,
        http=HeadTimeoutProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return Server(config)
