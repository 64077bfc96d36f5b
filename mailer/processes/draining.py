"""Draining: delivers everything that is due, or waits for the process that delivers already.

On an embedded database only one process may deliver, and the lock of mailer/processes/work.py decides which:
two of them would take each other's claims for those of an ended process, and send messages twice.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from lists.errors import Conflict
from mailer import file_lock
from mailer.outbox import due_rows, stats
from mailer.people import messages
from mailer.processes.serve import wait_until_drained
from mailer.processes.work import LOCK
from mailer.service import Service
from mailer.tryout import postoffice

MAX_ROUNDS = 100  # a sent message may make another one due


@dataclass(frozen=True, kw_only=True)
class DeliverySummary:
    """What a delivery did: how many messages it sent, how many still wait, and the trouble, if any."""

    sent: int
    waiting: int
    trouble: str
    next_due: datetime | None
    held: int


@contextmanager
def lead_delivery(service: Service) -> Iterator[bool]:
    """Tell whether this process is the one that delivers; it stays so while the block lasts."""
    if service.database.dialect != "sqlite":
        yield not (service.settings.tryout and postoffice.find_port(service.settings.home))
        return
    with file_lock.holding(service.settings.home / LOCK) as is_leader:
        yield is_leader


def drain(service: Service, *, is_leader: bool) -> str:
    """Deliver what is due, or wait until it is delivered; returns what prevents it, "" for nothing."""
    with service.database.read() as session:
        if not due_rows.count_waiting(session, now=service.clock.now()):
            return ""
    if is_leader:
        return service.deliver_until_empty().trouble
    try:
        wait_until_drained(service)
    except Conflict as conflict:
        return str(conflict)
    return ""


def deliver(service: Service) -> DeliverySummary:
    """Queue what is due and deliver it, until nothing is due any more or nothing can be sent."""
    with lead_delivery(service) as is_leader:
        with service.database.read() as session:
            sent_before = messages.count_sent(session)
        trouble = ""
        for _ in range(MAX_ROUNDS):
            rows = service.jobs.tick()
            trouble = drain(service, is_leader=is_leader)
            if trouble or not rows:
                break
        with service.database.read() as session:
            now = service.clock.now()
            counts = stats.count_by_kind_and_state(session)
            waiting_states = {"queued", "sending"}
            return DeliverySummary(
                sent=max(messages.count_sent(session) - sent_before, 0),
                waiting=sum(number for (_, state), number in counts.items() if state in waiting_states),
                trouble=trouble,
                next_due=stats.find_next_due(session, after=now),
                held=sum(number for (_, state), number in counts.items() if state == "held"),
            )
