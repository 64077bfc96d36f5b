"""Deliver everything that is due: here, or by waiting for the process that does it already.

On an embedded database only one process may deliver, and the lock of mailer/processes/work.py says who: two
of them would take each other's claims for those of the dead, and mail people twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from lists.errors import Conflict
from mailer import file_lock
from mailer.outbox import outbox, stats
from mailer.people import messages
from mailer.processes.serve import wait_until_drained
from mailer.processes.work import LOCK
from mailer.service import Service
from mailer.tryout import postoffice

MAX_ROUNDS = 100  # what is sent may let something else fall due


@dataclass(frozen=True, kw_only=True)
class DeliverySummary:
    """What a delivery did: how many it sent, how many wait still, and the trouble, if any."""

    sent: int
    waiting: int
    trouble: str
    next_due: datetime | None
    held: int


@contextmanager
def lead_delivery(service: Service) -> Iterator[bool]:
    """Tell whether this process is the one to deliver, and keep it so for as long as the block lasts."""
    if service.database.dialect != "sqlite":
        yield not (service.settings.tryout and postoffice.find_port(service.settings.home))
        return
    with file_lock.holding(service.settings.home / LOCK) as leads:
        yield leads


def drain(service: Service, *, is_leader: bool) -> str:
    """Deliver what is due, or wait until it is delivered; returns what stands in the way, "" for nothing."""
    with service.database.read() as session:
        if not outbox.count_waiting(session, now=service.clock.now()):
            return ""
    if is_leader:
        return service.deliver_until_empty().trouble
    try:
        wait_until_drained(service)
    except Conflict as standstill:
        return str(standstill)
    return ""


def deliver(service: Service) -> DeliverySummary:
    """Put what is due into the outbox and deliver it, until nothing is due any more or nothing can leave."""
    with lead_delivery(service) as leads:
        with service.database.read() as session:
            before = messages.count_sent(session)
        trouble = ""
        for _ in range(MAX_ROUNDS):
            moved = service.jobs.tick()
            trouble = drain(service, is_leader=leads)
            if trouble or not moved:
                break
        with service.database.read() as session:
            now = service.clock.now()
            counts = stats.count_by_kind_and_state(session)
            left = {"queued", "sending"}
            return DeliverySummary(
                sent=max(messages.count_sent(session) - before, 0),
                waiting=sum(number for (_, state), number in counts.items() if state in left),
                trouble=trouble,
                next_due=stats.find_next_due(session, after=now),
                held=sum(number for (_, state), number in counts.items() if state == "held"),
            )
