"""Counters: stored counts of events, in total and in steps of ten seconds.

To count the messages sent within the last hour, a query adds a few hundred small rows instead of counting
millions of large ones. The totals only grow, also when people are erased. A total is spread over a few slots,
so that several workers seldom wait for each other.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import BigInteger, String, delete, func, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import EPOCH, Base, Timestamp, count_changed

SLOTS = 8
STEP = timedelta(seconds=10)
KEEP = timedelta(days=1)
TOTAL_SINCE = EPOCH  # the total is stored as the step of this moment


class StoredCounter(Base):
    """How often `what` happened in the ten seconds from `since` on, in one slot."""

    __tablename__ = "tallies"

    what: Mapped[str] = mapped_column(String(300), primary_key=True)
    since: Mapped[Timestamp] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)


def add(session: Session, numbers: Mapping[str, int], *, slot: int, now: datetime) -> None:
    """Add the numbers of events at `now`, by name; `slot` is any whole number."""
    rows = [
        {"what": what, "since": since, "slot": slot % SLOTS, "number": number}
        for what, number in sorted(numbers.items())  # the same order in every process: no deadlock
        for since in (TOTAL_SINCE, floor_to_step(now))
    ]
    if rows:
        session.execute(_add_statement(), rows)


@cache
def _add_statement() -> Insert:
    insertion = insert(StoredCounter)
    increment = {"number": StoredCounter.number + insertion.excluded.number}
    return insertion.on_conflict_do_update(
        index_elements=[StoredCounter.what, StoredCounter.since, StoredCounter.slot], set_=increment
    )


def floor_to_step(moment: datetime) -> datetime:
    """Return the start of the ten-second step that contains this moment."""
    return moment - (moment - EPOCH) % STEP


def read_totals(session: Session) -> dict[str, int]:
    """Return the total of each counter, by name."""
    query = (
        select(StoredCounter.what, func.sum(StoredCounter.number))
        .where(StoredCounter.since == TOTAL_SINCE)
        .group_by(StoredCounter.what)
    )
    return {what: int(number) for what, number in session.execute(query)}


def count_since(session: Session, name: str, *, since: datetime) -> int:
    """Return how often something happened since the start of the step that contains `since`."""
    query = select(func.sum(StoredCounter.number)).where(
        StoredCounter.what == name, StoredCounter.since >= floor_to_step(since)
    )
    return int(session.scalar(query) or 0)


def delete_old(session: Session, *, now: datetime) -> int:
    """Delete the steps of past days and keep the totals; returns the number of deleted rows."""
    return count_changed(
        session,
        delete(StoredCounter).where(StoredCounter.since > TOTAL_SINCE, StoredCounter.since < now - KEEP),
    )
