"""Serve: the main process, with pages, schedule and post office; delivery in a child; all end together."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import structlog

from lists.errors import Conflict
from mailer.coordination import clock_skew, send_hold
from mailer.outbox import due_rows, held_messages
from mailer.processes.scheduler import Scheduler, take_over_lease
from mailer.processes.supervisor import Supervisor
from mailer.service import Service
from mailer.settings.loading import remember_port
from mailer.tryout import time_machine
from mailer.tryout.postoffice import PostOffice
from mailer.web import app
from mailer.web.server import Server, build_server

DRAIN_STILL_SECONDS = 30.0  # draining has no limit, but within this time a message must leave
DRAIN_POLL_SECONDS = 0.02

log = structlog.get_logger()


def serve(service: Service, *, environ: Mapping[str, str], host: str, ready: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT, then finish what was started; `ready` is called when the pages answer.

    The database is up to date already, and its keys are noted: mailer/processes/bootstrap.py.

    Raises BadInput for a template, or settings, that no message can be composed of, and Conflict when another
    process delivers from the same embedded database, or when the port is taken.
    """
    with service.database.write() as session:
        service.preflight.check_shipped(session, now=service.clock.now())
        session.rollback()  # an edition is frozen when it is first used
    with service.database.read() as session:
        if send_hold.find_unsettled(session) is not None:
            log.warning("nothing is sent until the gap of a restored backup is settled")
    with service.database.write() as session:
        held_messages.retry_held(session)  # an update of the program or the settings may help
    remember_port(service.settings)
    if not service.settings.tryout:
        with service.database.read() as session:
            time_machine.refuse_real_mail(session)
    pages = build_server(
        app.build(service, drain=lambda: wait_until_drained(service)), service.settings, host=host
    )
    with ExitStack() as running:
        if service.settings.tryout:
            post_office = PostOffice(service.database, service.clock, home=service.settings.home)
            post_office.start()
            running.callback(post_office.stop)
        running.enter_context(clock_skew.follow_database_clock(service.database, service.clock))
        child = Supervisor(environ=environ)
        child.start()
        running.callback(child.stop)
        running.enter_context(
            take_over_lease(service.database, service.clock, folder=service.settings.home, owner=service.name)
        )
        scheduler = Scheduler(
            service.jobs, database=service.database, clock=service.clock, owner=service.name
        )
        scheduler.start()
        running.callback(scheduler.stop)
        with _stop_on_signals(pages):
            asyncio.run(_serve_pages(pages, ready))


async def _serve_pages(server: Server, ready: Callable[[], None]) -> None:
    server.ready = ready
    try:
        await server.serve()
    except SystemExit:
        raise Conflict(
            f"Port {server.config.port} is taken by another program. Choose another one, such as:"
            " PORT=8001 scripts/serve"
        ) from None


@contextmanager
def _stop_on_signals(server: Server) -> Iterator[None]:
    previous = {
        number: signal.signal(number, lambda _number, _frame: server.stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def wait_until_drained(service: Service) -> None:
    """Return when nothing that is due waits in the outbox; another process delivers it.

    Raises Conflict when nothing leaves for half a minute.
    """
    previous, since = -1, service.clock.monotonic()
    while True:
        with service.database.read() as session:
            waiting = due_rows.count_waiting(session, now=service.clock.now())
        if not waiting:
            return
        if waiting != previous:
            previous, since = waiting, service.clock.monotonic()
        elif service.clock.monotonic() - since > DRAIN_STILL_SECONDS:
            raise Conflict(
                f"{waiting} messages wait, and none has left for half a minute. Is delivery running?"
            )
        service.clock.sleep(DRAIN_POLL_SECONDS)
