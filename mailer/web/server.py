"""The web server: uvicorn inside a process of ours, which keeps its signals to itself."""

import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette

from mailer.settings import Settings

LOOPBACK = "127.0.0.1"
MOST_CONNECTIONS = 500
IDLE_SECONDS = 10
FAREWELL_SECONDS = 10


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
        http="httptools",
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
