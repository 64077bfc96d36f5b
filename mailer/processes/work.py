"""Work: one delivery process, alone on an embedded database, ended by a signal or by its parent's end."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lists.errors import Conflict
from mailer import file_lock
from mailer.coordination import clock_skew, heartbeat
from mailer.service import Service

LOCK = "delivery.lock"


def run(service: Service, *, attached: bool) -> None:
    """Deliver until the end: SIGTERM or SIGINT, or, when `attached`, the end of standard input.

    Raises Conflict when another process delivers from the same embedded database.
    """
    with (
        _lock_embedded_database(service, wait=attached),
        clock_skew.follow_database_clock(service.database, service.clock),
        service.relays() as relays,
        service.delivery(relays) as delivery,
    ):

        async def deliver() -> None:
            loop = asyncio.get_running_loop()
            if attached:
                loop.add_signal_handler(
                    signal.SIGINT, lambda: None
                )  # Ctrl-C reaches this process too; the parent decides
                _call_at_end_of_input(lambda: loop.call_soon_threadsafe(delivery.stop))
            else:
                loop.add_signal_handler(signal.SIGINT, delivery.stop)
            loop.add_signal_handler(signal.SIGTERM, delivery.stop)
            name, stalled = service.name, lambda: delivery.stalled
            async with heartbeat.keep_beating(service.database, service.clock, worker=name, stalled=stalled):
                await delivery.run()

        with asyncio.Runner(loop_factory=_find_loop_factory()) as runner:
            runner.run(deliver())


@contextmanager
def _lock_embedded_database(service: Service, *, wait: bool) -> Iterator[None]:
    """Hold the lock of an embedded database: one process at a time delivers from it."""
    if service.database.dialect != "sqlite":
        yield
        return
    with file_lock.holding(service.settings.home / LOCK, wait=wait) as is_locked:
        if not is_locked:
            raise Conflict(
                "Another process delivers from this data folder already, probably “mailer serve”."
                " Stop it first."
            )
        yield


def _call_at_end_of_input(action: Callable[[], object]) -> None:
    def wait_for_end() -> None:
        while os.read(0, 4096):
            pass
        action()

    threading.Thread(target=wait_for_end, name="parent", daemon=True).start()


def _find_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
