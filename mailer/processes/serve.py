"""The life of the main process: pages, schedule, post office; delivery in a child; all end together."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import structlog

from lists.errors import Conflict
from mailer.coordination import clock_skew, send_hold
from mailer.outbox import held_messages, outbox
from mailer.processes.scheduler import Scheduler, take_over_lease
from mailer.processes.supervisor import Supervisor
from mailer.service import Service
from mailer.settings.loading import remember_port
from mailer.tryout import time_machine
from mailer.tryout.postoffice import PostOffice
from mailer.web import app
from mailer.web.server import Server, build_server

DRAIN_STILL_SECONDS = 30.0  # the outbox may take as long as it likes, but something must leave within this
DRAIN_POLL_SECONDS = 0.02

log = structlog.get_logger()


def serve(service: Service, *, environ: Mapping[str, str], host: str, ready: Callable[[], None]) -> None:
    """Run everything until SIGTERM or SIGINT, then finish what was begun; `ready` says that pages answer.

    The database is up to date by now, and its keys are noted: mailer/processes/bootstrap.py.

    Raises BadInput for a template, or settings, of which no message can be made, and Conflict when another
    process delivers from the same embedded database, or when the port is taken.
    """
    with service.database.write() as session:
        service.preflight.check_shipped(session, now=service.clock.now())
        session.rollback()  # an edition is frozen when it is first used
    with service.database.read() as session:
        if send_hold.find_unsettled(session) is not None:
            log.warning("nothing is sent until the gap of a restored backup is settled")
    with service.database.write() as session:
        held_messages.retry_held(session)  # another program, or other settings, may be what it waited for
    remember_port(service.settings)
    if not service.settings.tryout:
        with service.database.read() as session:
            time_machine.refuse_real_mail(session)
    pages = build_server(
        app.build(service, drain=lambda: wait_until_drained(service)), service.settings, host=host
    )
    with ExitStack() as running:
        if service.settings.tryout:
            office = PostOffice(service.database, service.clock, home=service.settings.home)
            office.start()
            running.callback(office.stop)
        running.enter_context(clock_skew.follow_database_clock(service.database, service.clock))
        child = Supervisor(environ=environ)
        child.start()
        running.callback(child.stop)
        running.enter_context(
            take_over_lease(service.database, service.clock, folder=service.settings.home, owner=service.name)
        )
        metronome = Scheduler(
            service.jobs, database=service.database, clock=service.clock, owner=service.name
        )
        metronome.start()
        running.callback(metronome.stop)
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
    before = {
        number: signal.signal(number, lambda _number, _frame: server.stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_until_drained(service: Service) -> None:
    """Return when nothing that is due is left in the outbox; another process delivers it.

    Raises Conflict when nothing leaves for half a minute.
    """
    left, since = -1, service.clock.monotonic()
    while True:
        with service.database.read() as session:
            waiting = outbox.count_waiting(session, now=service.clock.now())
        if not waiting:
            return
        if waiting != left:
            left, since = waiting, service.clock.monotonic()
        elif service.clock.monotonic() - since > DRAIN_STILL_SECONDS:
            raise Conflict(
                f"{waiting} messages wait, and none has left for half a minute. Is delivery running?"
            )
        service.clock.sleep(DRAIN_POLL_SECONDS)
