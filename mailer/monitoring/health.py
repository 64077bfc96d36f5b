"""Health: whether everything that must go on by itself does, in sentences that anybody may read.

One statement to the database and one question to the disk, so that it can be asked every second. It tells no
numbers, no addresses and no versions; docs/operating.md says what to do about each trouble.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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
from mailer.library.resources import MISSING_LINK
from mailer.outbox import held_messages
from mailer.outbox.attempts import OUTCOMES
from mailer.outbox.outbox import HELD, PRIORITIES, QUEUED, SENDING, OutboxRow
from mailer.policy import POLICY
from mailer.tryout import time_machine

RENEWED = timedelta(seconds=30)  # who renewed its lease within three beats works
STILL = timedelta(seconds=90)  # how long something may be due while nobody takes or records anything
PATIENCE = timedelta(minutes=1)  # how long a person waits for a confirmation before something is wrong
STUCK = timedelta(minutes=1)  # how long after its lease a message may still be claimed
LATELY = timedelta(minutes=5)
SKEW = timedelta(minutes=2)  # more than any honest lease or beat is ahead
SKEW_MOST = SKEW // MICROSECOND
EARLIEST = 2026  # no machine that runs this can truly live before
LEAST_FREE = 200 * 1024 * 1024  # octets in the data folder
PERSONS_WAIT = POLICY["confirmation"].priority


Level = Literal["ok", "notice", "trouble"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one look found, and a sentence that says so.

    `notice`: the service works, and somebody should see to it; `trouble`: something does not go on by itself.
    """

    name: str
    level: Level
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that is looked at: what to say when all is well, and each fault by its label in the answer.

    The first fault that is there is told.
    """

    name: str
    well: str
    faults: Mapping[str, tuple[Level, str]]


CHECKS: Sequence[Check] = (
    Check(
        name="delivery",
        well="Delivery is running.",
        faults={
            "silent": ("trouble", "No delivery process is running."),
            "stuck": (
                "trouble",
                "Messages are held by a dead worker, or by one that stands still or is out of reach.",
            ),
            "still": ("trouble", "Messages are due, delivery is running, and yet nothing moves."),
        },
    ),
    Check(
        name="mail server",
        well="Nothing stands between us and the mail server.",
        faults={
            "unreachable": ("trouble", "The mail server has not answered lately."),
            "paused": (
                "trouble",
                "Servers refuse our mail, so all but what is urgent is paused and tried again by itself.",
            ),
            "stalled": ("trouble", "Mail servers let us wait, and all connections wait for their answers."),
        },
    ),
    Check(
        name="confirmations",
        well="Nobody waits long for a confirmation.",
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
    Check(
        name="sign-ups",
        well="Nobody who signs up is turned away.",
        faults={
            "turned_away_everywhere": (
                "trouble",
                "So many sign-ups came that all are turned away until the hour is over.",
            ),
            # A notice and no trouble: anybody could make trouble at will.
            "turned_away_somewhere": (
                "notice",
                "So many sign-ups came from one network that it is turned away until the hour is over.",
            ),
        },
    ),
    Check(
        name="schedule",
        well="The schedule is kept.",
        faults={
            "unscheduled": ("trouble", "Nobody holds the schedule, so nothing happens by itself."),
            "failing": ("trouble", "A scheduled job failed when it last ran; the log says which and where."),
        },
    ),
    Check(
        name="restore",
        well="No restored backup holds the mail back.",
        faults={"held": ("trouble", "A backup was restored, and nothing is sent until its gap is settled.")},
    ),
    Check(
        name="resources",
        well="No mail waits for a resource.",
        faults={"linkless": ("trouble", "Mails wait for a resource that nobody has given yet.")},
    ),
    Check(
        name="texts",
        well="No mail waits because of a fault of ours.",
        faults={
            "unwritten": (
                "trouble",
                "Mails wait because of a fault of ours; “mailer outbox retry” says which.",
            ),
            # A notice and no trouble: anybody could sign up with such an address.
            "uncarried": ("notice", "Mails wait for a mail server that can send them."),
        },
    ),
    Check(
        name="facts",
        well="Every card on present law was checked in time.",
        faults={"expired": ("notice", "A card on present law was not checked in time and is left out.")},
    ),
)


def look(database: Database, clock: Clock, *, home: Path) -> Sequence[Finding]:
    """Look at everything; what cannot be asked while the database is away is left out."""
    real = clock.real()
    try:
        now = clock.now()
        with database.read() as session:
            found = session.execute(_questions(now=now, real=real)).one()
    except (StorageError, SQLAlchemyError):
        return (
            Finding(name="database", level="trouble", sentence="The database cannot be used."),
            _disk(home),
        )
    return (
        Finding(name="database", level="ok", sentence="The database answers."),
        *(_checked(check, found) for check in CHECKS),
        _clock(found, real, clock.correction),
        _disk(home),
    )


def well(findings: Sequence[Finding]) -> bool:
    """Tell whether there is no trouble at all; a notice is none."""
    return all(finding.level != "trouble" for finding in findings)


def _questions(*, now: datetime, real: datetime) -> Any:
    """Return one SELECT that asks everything, each part by an index or of a table of a few rows."""

    def has_lease(name: str) -> ColumnElement[bool]:
        return exists().where(Lease.name == name, Lease.until >= real)

    def answered(*outcomes: str) -> ColumnElement[bool]:
        return exists().where(
            StoredCounter.what.in_(outcomes), StoredCounter.since >= counters.floor_to_step(now - LATELY)
        )

    waits = and_(
        OutboxRow.state == QUEUED, OutboxRow.priority == PERSONS_WAIT, OutboxRow.kind == "confirmation"
    )
    in_time = and_(OutboxRow.expires_at > now, OutboxRow.queued_at <= now - PATIENCE)
    untried = and_(OutboxRow.due_at <= now + PATIENCE, OutboxRow.tries == 0)
    due = and_(
        OutboxRow.priority.in_(PRIORITIES), OutboxRow.due_at <= now - STILL, OutboxRow.expires_at > now
    )
    for_slots = exists().where(RateLimit.scope.startswith(RELAY_SCOPE), RateLimit.free_at > real)
    paused = exists().where(Suspension.scope.startswith(RELAY_SCOPE))
    under_way = and_(OutboxRow.state == SENDING, OutboxRow.due_at <= now - PATIENCE)
    newest_beat = select(func.max(Heartbeat.at)).scalar_subquery()
    newest_lease = select(func.max(Lease.until)).where(Lease.name == leases.SCHEDULER).scalar_subquery()
    return select(
        signup_throttle.is_limit_reached(signup_throttle.NETWORK_LIMIT_REACHED, now=now).label(
            "turned_away_somewhere"
        ),
        signup_throttle.is_limit_reached(signup_throttle.TOTAL_LIMIT_REACHED, now=now).label(
            "turned_away_everywhere"
        ),
        (~exists().where(Heartbeat.at >= real - heartbeat.DEAD_AFTER)).label("silent"),
        exists().where(OutboxRow.state == SENDING, OutboxRow.lease_until < real - STUCK).label("stuck"),
        and_(
            exists().where(OutboxRow.state == QUEUED, due),
            ~exists().where(
                StoredCounter.what.in_(OUTCOMES), StoredCounter.since >= counters.floor_to_step(now - STILL)
            ),
            ~exists().where(OutboxRow.state == SENDING, OutboxRow.lease_until > real + LEASE - RENEWED),
            ~or_(for_slots, paused, send_hold.is_held()),
        ).label("still"),
        and_(answered("unreachable"), ~answered("sent", "deferred", "refused")).label("unreachable"),
        exists()
        .where(waits, in_time, (OutboxRow.due_at <= now - PATIENCE) | untried)
        .label("late_confirmation"),
        exists().where(under_way, OutboxRow.kind == "confirmation").label("unanswered_confirmation"),
        exists().where(Heartbeat.at >= real - heartbeat.DEAD_AFTER, Heartbeat.stalled).label("stalled"),
        (~or_(has_lease(leases.SCHEDULER), has_lease(time_machine.LEASE_NAME))).label("unscheduled"),
        exists().where(Suspension.try_at.is_not(None)).label("paused"),
        send_hold.is_held().label("held"),
        exists().where(OutboxRow.state == HELD, OutboxRow.why.startswith(MISSING_LINK)).label("linkless"),
        exists().where(OutboxRow.state == HELD, held_messages.is_stopped_by_fault()).label("unwritten"),
        exists().where(OutboxRow.state == HELD, held_messages.is_stopped_by_server()).label("uncarried"),
        exists().where(law_cards.is_expired(now)).label("expired"),
        exists().where(JobRun.fault != "").label("failing"),
        newest_beat.label("newest_beat"),
        newest_lease.label("newest_lease"),
        *(
            exists().where(Heartbeat.at >= real - heartbeat.DEAD_AFTER, wrong).label(label)
            for label, wrong in (("slow", Heartbeat.skew > SKEW_MOST), ("fast", Heartbeat.skew < -SKEW_MOST))
        ),
    )


def _checked(check: Check, found: Row[Any]) -> Finding:
    faults = (fault for label, fault in check.faults.items() if found._mapping[label])
    level, sentence = next(faults, ("ok", check.well))
    return Finding(name=check.name, level=level, sentence=sentence)


def _clock(found: Row[Any], real: datetime, correction: timedelta) -> Finding:
    """Look at this machine's clock, and with PostgreSQL at those of all machines against the database's."""
    newest = [moment for moment in (found.newest_beat, found.newest_lease) if moment is not None]
    if real.year < EARLIEST or any(moment > real + SKEW for moment in newest):
        sentence = "This machine's clock is behind what was already written down."
        return Finding(name="clock", level="trouble", sentence=sentence)
    for wrong, by in (
        (found.is_slow or correction > SKEW, "behind"),
        (found.fast or correction < -SKEW, "ahead of"),
    ):
        if wrong:
            sentence = f"A machine's clock is minutes {by} the database's; mail goes by the database's."
            return Finding(name="clock", level="notice", sentence=sentence)
    return Finding(name="clock", level="ok", sentence="The clock goes forward.")


def _disk(home: Path) -> Finding:
    try:
        free = shutil.disk_usage(home).free
    except OSError:
        return Finding(name="disk", level="trouble", sentence="The data folder cannot be reached.")
    if free < LEAST_FREE:
        return Finding(name="disk", level="trouble", sentence="The disk of the data folder is almost full.")
    return Finding(name="disk", level="ok", sentence="The disk has room.")
