"""Health: checks whether everything automatic works, and reports it in sentences that are public.

It needs one database statement and one check of the disk, so that it can run every second. The sentences
contain no numbers, addresses or versions; docs/operating.md explains what to do about each trouble.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import ColumnElement, Row, and_, exists, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from lists.clock import Clock
from lists.db import MICROSECOND, Database
from lists.errors import StorageError
from mailer.coordination import counters, heartbeat, leases, send_hold, signup_throttle
from mailer.coordination.counters import StoredCounter
from mailer.coordination.heartbeat import Heartbeat
from mailer.coordination.job_runs import JobRun
from mailer.coordination.leases import Lease
from mailer.coordination.rate_limits import RateLimit
from mailer.coordination.suspensions import RELAY_SCOPE, Suspension
from mailer.delivery.worker_lease import LEASE
from mailer.library import law_cards
from mailer.outbox import held_messages
from mailer.outbox.attempts import OUTCOMES
from mailer.outbox.outbox import HELD, PRIORITIES, QUEUED, SENDING, OutboxRow
from mailer.policy import POLICY
from mailer.tryout import time_machine

RENEWAL_WINDOW = timedelta(seconds=30)  # a lease that was renewed within three beats is of a working process
STANDSTILL_AFTER = timedelta(seconds=90)  # how long a row may be due while no row is claimed or recorded
LATE_AFTER = timedelta(minutes=1)  # how long a person waits for a confirmation before something is wrong
STUCK_AFTER = timedelta(minutes=1)  # how long after its lease a message may still be claimed
RECENTLY = timedelta(minutes=5)
ALLOWED_SKEW = timedelta(minutes=2)  # more than any lease or beat of correct clocks is ahead
ALLOWED_SKEW_MICROSECONDS = ALLOWED_SKEW // MICROSECOND
EARLIEST_YEAR = 2026  # the year of the first version: an earlier clock is wrong
MIN_FREE_OCTETS = 200 * 1024 * 1024  # octets in the data folder
CONFIRMATION_PRIORITY = POLICY["confirmation"].priority


HealthLevel = Literal["ok", "notice", "trouble"]


@dataclass(frozen=True, kw_only=True)
class HealthStatus:
    """The result of one check, with a sentence for people.

    `notice`: the service works, and staff should look into it; `trouble`: something automatic does not work.
    """

    name: str
    level: HealthLevel
    sentence: str


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """One check: the sentence when all is well, and each fault by its label in the query's row.

    The first fault that is present is reported.
    """

    name: str
    ok_sentence: str
    faults: Mapping[str, tuple[HealthLevel, str]]


CHECKS: Sequence[HealthCheck] = (
    HealthCheck(
        name="delivery",
        ok_sentence="Delivery is running.",
        faults={
            "silent": ("trouble", "No delivery process is running."),
            "stuck": (
                "trouble",
                "Messages are held by a dead worker, or by one that stands still or is out of reach.",
            ),
            "still": ("trouble", "Messages are due, delivery is running, and yet nothing moves."),
        },
    ),
    HealthCheck(
        name="mail server",
        ok_sentence="Nothing stands between us and the mail server.",
        faults={
            "unreachable": ("trouble", "The mail server has not answered lately."),
            "paused": (
                "trouble",
                "Servers refuse our mail, so all but what is urgent is paused and tried again by itself.",
            ),
            "stalled": ("trouble", "Mail servers let us wait, and all connections wait for their answers."),
        },
    ),
    HealthCheck(
        name="confirmations",
        ok_sentence="Nobody waits long for a confirmation.",
        faults={
            "unanswered_confirmation": (
                "trouble",
                "A confirmation has been on its way for more than a minute: a mail server does not answer.",
            ),
            "late_confirmation": (
                "trouble",
                "Somebody has been waiting for a confirmation for more than a minute.",
            ),
        },
    ),
    HealthCheck(
        name="sign-ups",
        ok_sentence="Nobody who signs up is turned away.",
        faults={
            "turned_away_everywhere": (
                "trouble",
                "So many sign-ups came that all are turned away until the hour is over.",
            ),
            # A notice and no trouble: anyone could cause it at will.
            "turned_away_somewhere": (
                "notice",
                "So many sign-ups came from one network that it is turned away until the hour is over.",
            ),
        },
    ),
    HealthCheck(
        name="schedule",
        ok_sentence="The schedule is kept.",
        faults={
            "unscheduled": ("trouble", "Nobody holds the schedule, so nothing happens by itself."),
            "failing": ("trouble", "A scheduled job failed when it last ran; the log says which and where."),
        },
    ),
    HealthCheck(
        name="restore",
        ok_sentence="No restored backup holds the mail back.",
        faults={"held": ("trouble", "A backup was restored, and nothing is sent until its gap is settled.")},
    ),
    HealthCheck(
        name="resources",
        ok_sentence="No mail waits for a resource.",
        faults={"linkless": ("trouble", "Mails wait for a resource that nobody has given yet.")},
    ),
    HealthCheck(
        name="texts",
        ok_sentence="No mail waits because of a fault of ours.",
        faults={
            "unwritten": (
                "trouble",
                "Mails wait because of a fault of ours; “mailer outbox retry” says which.",
            ),
            # A notice and no trouble: anyone could sign up with such an address.
            "uncarried": ("notice", "Mails wait for a mail server that can send them."),
        },
    ),
    HealthCheck(
        name="facts",
        ok_sentence="Every card on present law was checked in time.",
        faults={"expired": ("notice", "A card on present law was not checked in time and is left out.")},
    ),
)


def run_checks(database: Database, clock: Clock, *, home: Path) -> Sequence[HealthStatus]:
    """Run every check; without the checks of the database while it is unreachable."""
    real = clock.real()
    try:
        now = clock.now()
        with database.read() as session:
            row = session.execute(_build_query(now=now, real=real)).one()
    except (StorageError, SQLAlchemyError):
        return (
            HealthStatus(name="database", level="trouble", sentence="The database cannot be used."),
            _check_disk(home),
        )
    return (
        HealthStatus(name="database", level="ok", sentence="The database answers."),
        *(_evaluate(check, row) for check in CHECKS),
        _check_clock(row, real, clock.correction),
        _check_disk(home),
    )


def is_healthy(statuses: Sequence[HealthStatus]) -> bool:
    """Tell whether no check has the level `trouble`."""
    return all(status.level != "trouble" for status in statuses)


def _build_query(*, now: datetime, real: datetime) -> Any:
    """Return one SELECT for all checks; each part uses an index or a table of a few rows."""

    def has_lease(name: str) -> ColumnElement[bool]:
        return exists().where(Lease.name == name, Lease.until >= real)

    def had_outcome(*outcomes: str) -> ColumnElement[bool]:
        return exists().where(
            StoredCounter.what.in_(outcomes), StoredCounter.since >= counters.floor_to_step(now - RECENTLY)
        )

    is_waiting_confirmation = and_(
        OutboxRow.state == QUEUED,
        OutboxRow.priority == CONFIRMATION_PRIORITY,
        OutboxRow.kind == "confirmation",
    )
    is_timely = and_(OutboxRow.expires_at > now, OutboxRow.queued_at <= now - LATE_AFTER)
    is_untried = and_(OutboxRow.due_at <= now + LATE_AFTER, OutboxRow.tries == 0)
    is_overdue = and_(
        OutboxRow.priority.in_(PRIORITIES),
        OutboxRow.due_at <= now - STANDSTILL_AFTER,
        OutboxRow.expires_at > now,
    )
    waits_for_slot = exists().where(RateLimit.scope.startswith(RELAY_SCOPE), RateLimit.free_at > real)
    is_suspended = exists().where(Suspension.scope.startswith(RELAY_SCOPE))
    is_under_way = and_(OutboxRow.state == SENDING, OutboxRow.due_at <= now - LATE_AFTER)
    newest_beat = select(func.max(Heartbeat.at)).scalar_subquery()
    newest_lease = select(func.max(Lease.until)).where(Lease.name == leases.SCHEDULER).scalar_subquery()
    is_limit_reached = partial(signup_throttle.is_limit_reached, now=now)
    return select(
        is_limit_reached(signup_throttle.NETWORK_LIMIT_REACHED).label("turned_away_somewhere"),
        is_limit_reached(signup_throttle.TOTAL_LIMIT_REACHED).label("turned_away_everywhere"),
        (~exists().where(Heartbeat.at >= real - heartbeat.DEAD_AFTER)).label("silent"),
        exists().where(OutboxRow.state == SENDING, OutboxRow.lease_until < real - STUCK_AFTER).label("stuck"),
        and_(
            exists().where(OutboxRow.state == QUEUED, is_overdue),
            ~exists().where(
                StoredCounter.what.in_(OUTCOMES),
                StoredCounter.since >= counters.floor_to_step(now - STANDSTILL_AFTER),
            ),
            ~exists().where(
                OutboxRow.state == SENDING, OutboxRow.lease_until > real + LEASE - RENEWAL_WINDOW
            ),
            ~or_(waits_for_slot, is_suspended, send_hold.is_active()),
        ).label("still"),
        and_(had_outcome("unreachable"), ~had_outcome("sent", "deferred", "refused")).label("unreachable"),
        exists()
        .where(is_waiting_confirmation, is_timely, (OutboxRow.due_at <= now - LATE_AFTER) | is_untried)
        .label("late_confirmation"),
        exists().where(is_under_way, OutboxRow.kind == "confirmation").label("unanswered_confirmation"),
        exists().where(Heartbeat.at >= real - heartbeat.DEAD_AFTER, Heartbeat.stalled).label("stalled"),
        (~or_(has_lease(leases.SCHEDULER), has_lease(time_machine.LEASE_NAME))).label("unscheduled"),
        exists().where(Suspension.try_at.is_not(None)).label("paused"),
        send_hold.is_active().label("held"),
        exists().where(OutboxRow.state == HELD, held_messages.lacks_link()).label("linkless"),
        exists().where(OutboxRow.state == HELD, held_messages.is_stopped_by_fault()).label("unwritten"),
        exists().where(OutboxRow.state == HELD, held_messages.is_stopped_by_server()).label("uncarried"),
        exists().where(law_cards.is_expired(now)).label("expired"),
        exists().where(JobRun.fault != "").label("failing"),
        newest_beat.label("newest_beat"),
        newest_lease.label("newest_lease"),
        *(
            exists().where(Heartbeat.at >= real - heartbeat.DEAD_AFTER, condition).label(label)
            for label, condition in (
                ("slow", Heartbeat.skew > ALLOWED_SKEW_MICROSECONDS),
                ("fast", Heartbeat.skew < -ALLOWED_SKEW_MICROSECONDS),
            )
        ),
    )


def _evaluate(check: HealthCheck, row: Row[Any]) -> HealthStatus:
    faults = (fault for label, fault in check.faults.items() if row._mapping[label])
    level, sentence = next(faults, ("ok", check.ok_sentence))
    return HealthStatus(name=check.name, level=level, sentence=sentence)


def _check_clock(row: Row[Any], real: datetime, correction: timedelta) -> HealthStatus:
    """Check this machine's clock, and with PostgreSQL all machines' clocks against the database's."""
    newest = [moment for moment in (row.newest_beat, row.newest_lease) if moment is not None]
    if real.year < EARLIEST_YEAR or any(moment > real + ALLOWED_SKEW for moment in newest):
        sentence = "This machine's clock is behind what was already written down."
        return HealthStatus(name="clock", level="trouble", sentence=sentence)
    for is_wrong, direction in (
        (row.slow or correction > ALLOWED_SKEW, "behind"),
        (row.fast or correction < -ALLOWED_SKEW, "ahead of"),
    ):
        if is_wrong:
            sentence = (
                f"A machine's clock is minutes {direction} the database's; mail goes by the database's."
            )
            return HealthStatus(name="clock", level="notice", sentence=sentence)
    return HealthStatus(name="clock", level="ok", sentence="The clock goes forward.")


def _check_disk(home: Path) -> HealthStatus:
    try:
        free_octets = shutil.disk_usage(home).free
    except OSError:
        return HealthStatus(name="disk", level="trouble", sentence="The data folder cannot be reached.")
    if free_octets < MIN_FREE_OCTETS:
        return HealthStatus(
            name="disk", level="trouble", sentence="The disk of the data folder is almost full."
        )
    return HealthStatus(name="disk", level="ok", sentence="The disk has room.")
