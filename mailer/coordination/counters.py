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

from lists.db import EPOCH, Base, Moment, count_changed

SLOTS = 8
STEP = timedelta(seconds=10)
KEEP = timedelta(days=1)
IN_ALL = EPOCH  # the sum in all stands beside the steps, as the step at the beginning of time


class Tally(Base):
    """How often `what` happened in the ten seconds from `since` on, in one of the slots."""

    __tablename__ = "tallies"

    what: Mapped[str] = mapped_column(String(300), primary_key=True)
    since: Mapped[Moment] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)


def add(session: Session, numbers: Mapping[str, int], *, slot: int, now: datetime) -> None:
    """Add what happened at `now`; any whole number will do for `slot`."""
    rows = [
        {"what": what, "since": since, "slot": slot % SLOTS, "number": number}
        for what, number in sorted(numbers.items())  # everybody in this order, so that nobody waits in a ring
        for since in (IN_ALL, step(now))
    ]
    if rows:
        session.execute(_adding(), rows)


@cache
def _adding() -> Insert:
    new = insert(Tally)
    more = {"number": Tally.number + new.excluded.number}
    return new.on_conflict_do_update(index_elements=[Tally.what, Tally.since, Tally.slot], set_=more)


def step(moment: datetime) -> datetime:
    """Return the beginning of the ten seconds that this moment is in."""
    return moment - (moment - EPOCH) % STEP


def in_all(session: Session) -> dict[str, int]:
    """Return how often each thing ever happened."""
    sums = select(Tally.what, func.sum(Tally.number)).where(Tally.since == IN_ALL).group_by(Tally.what)
    return {what: int(number) for what, number in session.execute(sums)}


def lately(session: Session, what: str, *, since: datetime) -> int:
    """Return how often something happened since the ten seconds that `since` is in began."""
    some = select(func.sum(Tally.number)).where(Tally.what == what, Tally.since >= step(since))
    return int(session.scalar(some) or 0)


def clear(session: Session, *, now: datetime) -> int:
    """Delete the steps of past days and keep the sums in all; returns how many rows went."""
    return count_changed(session, delete(Tally).where(Tally.since > IN_ALL, Tally.since < now - KEEP))
