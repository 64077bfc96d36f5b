"""Tally: how often something happened, in all and within ten seconds at a time, counted as it happens.

Whoever wants to know how many messages left within the last hour adds a few hundred small rows instead of
counting millions of large ones. The sums in all only grow, also when people are forgotten. A sum is spread
over a few slots, so that several workers seldom wait for each other.
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
TOTAL_SINCE = EPOCH  # the sum in all stands beside the steps, as the step at the beginning of time


class StoredCounter(Base):
    """How often `what` happened in the ten seconds from `since` on, in one of the slots."""

    __tablename__ = "tallies"

    what: Mapped[str] = mapped_column(String(300), primary_key=True)
    since: Mapped[Timestamp] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)


def add(session: Session, numbers: Mapping[str, int], *, slot: int, now: datetime) -> None:
    """Add what happened at `now`; any whole number will do for `slot`."""
    rows = [
        {"what": what, "since": since, "slot": slot % SLOTS, "number": number}
        for what, number in sorted(numbers.items())  # everybody in this order, so that nobody waits in a ring
        for since in (TOTAL_SINCE, floor_to_step(now))
    ]
    if rows:
        session.execute(_add_statement(), rows)


@cache
def _add_statement() -> Insert:
    new = insert(StoredCounter)
    more = {"number": StoredCounter.number + new.excluded.number}
    return new.on_conflict_do_update(
        index_elements=[StoredCounter.what, StoredCounter.since, StoredCounter.slot], set_=more
    )


def floor_to_step(moment: datetime) -> datetime:
    """Return the beginning of the ten seconds that this moment is in."""
    return moment - (moment - EPOCH) % STEP


def read_totals(session: Session) -> dict[str, int]:
    """Return how often each thing ever happened."""
    sums = (
        select(StoredCounter.what, func.sum(StoredCounter.number))
        .where(StoredCounter.since == TOTAL_SINCE)
        .group_by(StoredCounter.what)
    )
    return {what: int(number) for what, number in session.execute(sums)}


def count_since(session: Session, name: str, *, since: datetime) -> int:
    """Return how often something happened since the ten seconds that `since` is in began."""
    some = select(func.sum(StoredCounter.number)).where(
        StoredCounter.what == name, StoredCounter.since >= floor_to_step(since)
    )
    return int(session.scalar(some) or 0)


def delete_old(session: Session, *, now: datetime) -> int:
    """Delete the steps of past days and keep the sums in all; returns how many rows went."""
    return count_changed(
        session,
        delete(StoredCounter).where(StoredCounter.since > TOTAL_SINCE, StoredCounter.since < now - KEEP),
    )
