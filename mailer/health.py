"""Health: whether everything that must go on by itself does, in sentences that anybody may read.

One statement to the database and one question to the disk, so that it can be asked every second. It tells no
numbers, no addresses and no versions; docs/operating.md says what to do about each trouble.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, exists, func, select
from sqlalchemy.exc import SQLAlchemyError

from lists.clock import Clock
from lists.db import Database
from lists.errors import StorageTrouble
from mailer import brakes, facts, leases, pulse, restores, tallies, tryout
from mailer.composer import MISSING_LINK
from mailer.leases import Lease
from mailer.outbox import HELD, QUEUED, SENDING, OutboxRow
from mailer.pauses import Pause
from mailer.policy import POLICY
from mailer.pulse import Pulse
from mailer.runs import Run
from mailer.tallies import Tally

PATIENCE = timedelta(minutes=1)  # how long a person waits for a confirmation before something is wrong
STUCK = timedelta(minutes=1)  # how long after its lease a message may still be claimed
LATELY = timedelta(minutes=5)
SKEW = timedelta(minutes=2)  # more than any honest lease or beat is ahead
EARLIEST = 2026  # no machine that runs this can truly live before
LEAST_FREE = 200 * 1024 * 1024  # octets in the data folder
PERSONS_WAIT = POLICY["confirmation"].priority


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one look found: whether all is well, and a sentence that says so or says what is wrong."""

    name: str
    ok: bool
    sentence: str


def look(database: Database, clock: Clock, *, home: Path) -> Sequence[Finding]:
    """Look at everything; what cannot be asked while the database is away is left out."""
    real = clock.real()
    try:
        now = clock.now()
        with database.read() as session:
            found = session.execute(_questions(now=now, real=real)).one()
    except (StorageTrouble, SQLAlchemyError):
        return (
            Finding(name="database", ok=False, sentence="The database cannot be used."),
            _disk(home),
        )
    return (
        Finding(name="database", ok=True, sentence="The database answers."),
        _delivery(found),
        _relay(found),
        _confirmations(found),
        _sign_ups(found),
        _schedule(found),
        _restore(found),
        _resources(found),
        _facts(found),
        _clock(found, real),
        _disk(home),
    )


def well(findings: Sequence[Finding]) -> bool:
    """Tell whether there is no trouble at all."""
    return all(finding.ok for finding in findings)


def _questions(*, now: datetime, real: datetime) -> Any:
    """Return one SELECT that asks everything, each part by an index or of a table of a few rows."""

    def holds(name: str) -> ColumnElement[bool]:
        return exists().where(Lease.name == name, Lease.until >= real)

    def answered(*outcomes: str) -> ColumnElement[bool]:
        return exists().where(Tally.what.in_(outcomes), Tally.since >= tallies.step(now - LATELY))

    waits = and_(
        OutboxRow.state == QUEUED, OutboxRow.priority == PERSONS_WAIT, OutboxRow.kind == "confirmation"
    )
    in_time = and_(OutboxRow.expires_at > now, OutboxRow.queued_at <= now - PATIENCE)
    untried = and_(OutboxRow.due_at <= now + PATIENCE, OutboxRow.tries == 0)
    newest_beat = select(func.max(Pulse.at)).scalar_subquery()
    newest_lease = select(func.max(Lease.until)).where(Lease.name == leases.SCHEDULER).scalar_subquery()
    return select(
        brakes.closed(brakes.SOMEWHERE, now=now).label("turned_away_somewhere"),
        brakes.closed(brakes.EVERYWHERE, now=now).label("turned_away_everywhere"),
        exists().where(Pulse.at >= real - pulse.DEAD).label("beats"),
        exists().where(OutboxRow.state == SENDING, OutboxRow.lease_until < real - STUCK).label("stuck"),
        answered("unreachable").label("unreachable"),
        answered("sent", "deferred", "refused").label("reached"),
        exists()
        .where(waits, in_time, (OutboxRow.due_at <= now - PATIENCE) | untried)
        .label("late_confirmation"),
        holds(leases.SCHEDULER).label("duty"),
        holds(tryout.MOVING).label("moving"),
        exists().where(Pause.try_at.is_not(None)).label("paused"),
        restores.is_held().label("held"),
        exists().where(OutboxRow.state == HELD, OutboxRow.why.startswith(MISSING_LINK)).label("linkless"),
        exists().where(facts.has_expired(now)).label("expired"),
        exists().where(Run.fault != "").label("failing"),
        newest_beat.label("newest_beat"),
        newest_lease.label("newest_lease"),
    )


def _delivery(found: Row[Any]) -> Finding:
    if not found.beats:
        return Finding(name="delivery", ok=False, sentence="No delivery process is running.")
    if found.stuck:
        return Finding(
            name="delivery", ok=False, sentence="Messages that a dead worker claimed have not been put back."
        )
    return Finding(name="delivery", ok=True, sentence="Delivery is running.")


def _relay(found: Row[Any]) -> Finding:
    if found.unreachable and not found.reached:
        return Finding(name="mail server", ok=False, sentence="The mail server has not answered lately.")
    if found.paused:
        sentence = "Servers refuse our mail, so it is paused for a while and tried again by itself."
        return Finding(name="mail server", ok=False, sentence=sentence)
    return Finding(name="mail server", ok=True, sentence="Nothing stands between us and the mail server.")


def _restore(found: Row[Any]) -> Finding:
    if found.held:
        sentence = "A backup was restored, and nothing is sent until its gap is settled."
        return Finding(name="restore", ok=False, sentence=sentence)
    return Finding(name="restore", ok=True, sentence="No restored backup holds the mail back.")


def _resources(found: Row[Any]) -> Finding:
    if found.linkless:
        sentence = "Mails wait for a resource that nobody has given yet."
        return Finding(name="resources", ok=False, sentence=sentence)
    return Finding(name="resources", ok=True, sentence="No mail waits for a resource.")


def _facts(found: Row[Any]) -> Finding:
    if found.expired:
        sentence = "A card on present law was not checked in time and is left out."
        return Finding(name="facts", ok=False, sentence=sentence)
    return Finding(name="facts", ok=True, sentence="Every card on present law was checked in time.")


def _confirmations(found: Row[Any]) -> Finding:
    if found.late_confirmation:
        sentence = "Somebody has been waiting for a confirmation for more than a minute."
        return Finding(name="confirmations", ok=False, sentence=sentence)
    return Finding(name="confirmations", ok=True, sentence="Nobody waits long for a confirmation.")


def _sign_ups(found: Row[Any]) -> Finding:
    """A network that sends too many is told of and is no trouble: anybody could then make trouble at will."""
    if found.turned_away_everywhere:
        sentence = "So many sign-ups came that all are turned away until the hour is over."
        return Finding(name="sign-ups", ok=False, sentence=sentence)
    if found.turned_away_somewhere:
        sentence = "So many sign-ups came from one network that it is turned away until the hour is over."
        return Finding(name="sign-ups", ok=True, sentence=sentence)
    return Finding(name="sign-ups", ok=True, sentence="Nobody who signs up is turned away.")


def _schedule(found: Row[Any]) -> Finding:
    if not (found.duty or found.moving):
        sentence = "Nobody holds the schedule, so nothing happens by itself."
    elif found.failing:
        sentence = "A scheduled job failed when it last ran; the log says which and where."
    else:
        return Finding(name="schedule", ok=True, sentence="The schedule is kept.")
    return Finding(name="schedule", ok=False, sentence=sentence)


def _clock(found: Row[Any], real: datetime) -> Finding:
    newest = [moment for moment in (found.newest_beat, found.newest_lease) if moment is not None]
    if real.year < EARLIEST or any(moment > real + SKEW for moment in newest):
        sentence = "This machine's clock is behind what was already written down."
        return Finding(name="clock", ok=False, sentence=sentence)
    return Finding(name="clock", ok=True, sentence="The clock goes forward.")


def _disk(home: Path) -> Finding:
    try:
        free = shutil.disk_usage(home).free
    except OSError:
        return Finding(name="disk", ok=False, sentence="The data folder cannot be reached.")
    if free < LEAST_FREE:
        return Finding(name="disk", ok=False, sentence="The disk of the data folder is almost full.")
    return Finding(name="disk", ok=True, sentence="The disk has room.")
