"""Brake: how often something may happen in an hour, counted in the database and so by all processes.

Sign-ups have two, one for each network of visitors and one for everybody: a robot that signs up strangers is
stopped, and a church hall that signs up at once is not. Whoever is over the limit is told to come back; staff
are told once in the hour, by the log and by `mailer/monitoring/health.py`.
"""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, LargeBinary, Table, bindparam, delete, exists
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Moment, count_changed
from mailer.coordination import counters
from mailer.coordination.counters import Tally

KEEP = timedelta(days=1)
SIGN_UPS_PER_SOURCE = 60  # in an hour: a whole church hall may sign up behind one address
SIGN_UPS_ALTOGETHER = 3_000  # in an hour
EVERYBODY = b"sign-ups, in all"  # 16 bytes, as a brake is known by
SOMEWHERE = "turned away/one network"  # what is counted when a brake closes
EVERYWHERE = "turned away/everywhere"

log = structlog.get_logger()


class Brake(Base):
    """How often one thing, known by a hash of 16 bytes, happened in one hour."""

    __tablename__ = "brakes"

    what: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    hour: Mapped[Moment] = mapped_column(primary_key=True)
    count: Mapped[int]


def sign_up(session: Session, source: bytes, *, now: datetime) -> bool:
    """Count a sign-up from this network and tell whether it is taken; of the first that is not, staff hear.

    Which network it is stands nowhere but in the brake, as a keyed hash.
    """
    here = press(session, source, now=now)
    if here == SIGN_UPS_PER_SOURCE + 1:
        log.warning("sign-ups from one network are turned away for this hour", limit=SIGN_UPS_PER_SOURCE)
        counters.add(session, {SOMEWHERE: 1}, slot=0, now=now)
    if here > SIGN_UPS_PER_SOURCE:
        return False
    in_all = press(session, EVERYBODY, now=now)
    if in_all == SIGN_UPS_ALTOGETHER + 1:
        log.warning("sign-ups from everywhere are turned away for this hour", limit=SIGN_UPS_ALTOGETHER)
        counters.add(session, {EVERYWHERE: 1}, slot=0, now=now)
    return in_all <= SIGN_UPS_ALTOGETHER


def press(session: Session, what: bytes, *, now: datetime) -> int:
    """Count one more and return how many there were in this hour."""
    return int(session.execute(_PRESSED, {"what": what, "hour": _hour(now)}).scalar_one())


def closed(what: str, *, now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition that a brake closed in this hour: SOMEWHERE or EVERYWHERE."""
    return exists().where(Tally.what == what, Tally.since >= counters.step(_hour(now)))


def clear(session: Session, *, now: datetime) -> int:
    """Delete the counts of past days; returns how many."""
    return count_changed(session, delete(Brake).where(Brake.hour < now - KEEP))


def _hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)


_TABLE = Brake.__table__
assert isinstance(_TABLE, Table)
_PRESSED = (  # the dialect's name stands for both: SQLite speaks the same ON CONFLICT
    insert(_TABLE)
    .values(what=bindparam("what"), hour=bindparam("hour"), count=1)
    .on_conflict_do_update(index_elements=["what", "hour"], set_={"count": _TABLE.c.count + 1})
    .returning(_TABLE.c.count)
)
