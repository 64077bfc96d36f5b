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

from lists.db import Base, Timestamp, count_changed
from mailer.coordination import counters
from mailer.coordination.counters import StoredCounter

KEEP = timedelta(days=1)
SIGNUPS_PER_NETWORK = 60  # in an hour: a whole church hall may sign up behind one address
SIGNUPS_TOTAL = 3_000  # in an hour
TOTAL_KEY = b"sign-ups, in all"  # 16 bytes, as a brake is known by
NETWORK_LIMIT_REACHED = "turned away/one network"  # what is counted when a brake closes
TOTAL_LIMIT_REACHED = "turned away/everywhere"

log = structlog.get_logger()


class ThrottleCount(Base):
    """How often one thing, known by a hash of 16 bytes, happened in one hour."""

    __tablename__ = "brakes"

    what: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    hour: Mapped[Timestamp] = mapped_column(primary_key=True)
    count: Mapped[int]


def admit_signup(session: Session, network: bytes, *, now: datetime) -> bool:
    """Count a sign-up from this network and tell whether it is taken; of the first that is not, staff hear.

    Which network it is stands nowhere but in the brake, as a keyed hash.
    """
    here = increment(session, network, now=now)
    if here == SIGNUPS_PER_NETWORK + 1:
        log.warning("sign-ups from one network are turned away for this hour", limit=SIGNUPS_PER_NETWORK)
        counters.add(session, {NETWORK_LIMIT_REACHED: 1}, slot=0, now=now)
    if here > SIGNUPS_PER_NETWORK:
        return False
    in_all = increment(session, TOTAL_KEY, now=now)
    if in_all == SIGNUPS_TOTAL + 1:
        log.warning("sign-ups from everywhere are turned away for this hour", limit=SIGNUPS_TOTAL)
        counters.add(session, {TOTAL_LIMIT_REACHED: 1}, slot=0, now=now)
    return in_all <= SIGNUPS_TOTAL


def increment(session: Session, key: bytes, *, now: datetime) -> int:
    """Count one more and return how many there were in this hour."""
    return int(session.execute(_INCREMENT, {"what": key, "hour": _start_of_hour(now)}).scalar_one())


def is_limit_reached(counter: str, *, now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition that a brake closed in this hour: SOMEWHERE or EVERYWHERE."""
    return exists().where(
        StoredCounter.what == counter, StoredCounter.since >= counters.floor_to_step(_start_of_hour(now))
    )


def delete_old(session: Session, *, now: datetime) -> int:
    """Delete the counts of past days; returns how many."""
    return count_changed(session, delete(ThrottleCount).where(ThrottleCount.hour < now - KEEP))


def _start_of_hour(now: datetime) -> datetime:
    return now.replace(minute=0, second=0, microsecond=0)


_TABLE = ThrottleCount.__table__
assert isinstance(_TABLE, Table)
_INCREMENT = (  # the dialect's name stands for both: SQLite speaks the same ON CONFLICT
    insert(_TABLE)
    .values(what=bindparam("what"), hour=bindparam("hour"), count=1)
    .on_conflict_do_update(index_elements=["what", "hour"], set_={"count": _TABLE.c.count + 1})
    .returning(_TABLE.c.count)
)
