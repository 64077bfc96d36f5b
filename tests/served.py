"""The pages on a real server on this machine, in a thread of its own."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.applications import Starlette

from mailer.settings.loading import Settings
from mailer.web.server import build_server


def free_port() -> int:
    """Return a port that no program uses now; the links in mails name it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(application: Starlette, settings: Settings) -> Iterator[str]:
    """Yield the address of a real server in a thread of its own."""
    pages, is_ready = build_server(application, settings), threading.Event()
    pages.ready = is_ready.set
    thread = threading.Thread(target=lambda: asyncio.run(pages.serve()))
    thread.start()
    assert is_ready.wait(10)
    yield settings.public_url
    pages.stop()
    thread.join(10)
