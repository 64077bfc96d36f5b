"""Sign-up throttle: limits sign-ups in an hour, counted in the database for all processes.

There are two limits, one for each network of visitors and one in total. A robot that signs up other people is
stopped, and a church hall whose visitors sign up at once is not. A visitor over a limit is asked to come back
later. Staff are informed once in the hour, by the log and by `mailer/monitoring/health.py`.
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
SIGNUPS_PER_NETWORK = 60  # in an hour: a whole church hall may share one address
SIGNUPS_TOTAL = 3_000  # in an hour
TOTAL_KEY = b"sign-ups, in all"  # 16 bytes, as every key
NETWORK_LIMIT_REACHED = "turned away/one network"  # the counter of limits that were reached
TOTAL_LIMIT_REACHED = "turned away/everywhere"

log = structlog.get_logger()


class ThrottleCount(Base):
    """How often one thing, identified by a hash of 16 bytes, happened in one hour."""

    __tablename__ = "brakes"

    what: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    hour: Mapped[Timestamp] = mapped_column(primary_key=True)
    count: Mapped[int]


def admit_signup(session: Session, network: bytes, *, now: datetime) -> bool:
    """Count a sign-up from this network and tell whether it is admitted; log the first that is not.

    The network is stored nowhere except in the throttle, as a keyed hash.
    """
    network_count = increment(session, network, now=now)
    if network_count == SIGNUPS_PER_NETWORK + 1:
        log.warning("sign-ups from one network are turned away for this hour", limit=SIGNUPS_PER_NETWORK)
        counters.add(session, {NETWORK_LIMIT_REACHED: 1}, slot=0, now=now)
    if network_count > SIGNUPS_PER_NETWORK:
        return False
    total_count = increment(session, TOTAL_KEY, now=now)
    if total_count == SIGNUPS_TOTAL + 1:
        log.warning("sign-ups from everywhere are turned away for this hour", limit=SIGNUPS_TOTAL)
        counters.add(session, {TOTAL_LIMIT_REACHED: 1}, slot=0, now=now)
    return total_count <= SIGNUPS_TOTAL


def increment(session: Session, key: bytes, *, now: datetime) -> int:
    """Add one to a key's count of this hour, and return the count."""
    return int(session.execute(_INCREMENT, {"what": key, "hour": _start_of_hour(now)}).scalar_one())


def is_limit_reached(counter: str, *, now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition that NETWORK_LIMIT_REACHED or TOTAL_LIMIT_REACHED was counted in this hour."""
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
_INCREMENT = (  # for both databases: SQLite has the same ON CONFLICT
    insert(_TABLE)
    .values(what=bindparam("what"), hour=bindparam("hour"), count=1)
    .on_conflict_do_update(index_elements=["what", "hour"], set_={"count": _TABLE.c.count + 1})
    .returning(_TABLE.c.count)
)
