"""Lease: one process at a time holds a named duty, by the machine's time, in the database."""

from datetime import datetime, timedelta

from sqlalchemy import String, case, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Timestamp, count_changed, insert_or_nothing

SCHEDULER = "scheduler"  # the duty of whoever ticks the jobs


class Lease(Base):
    """Who holds a duty, and until when."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    owner: Mapped[str] = mapped_column(String(60))
    until: Mapped[Timestamp]


def acquire(session: Session, name: str, *, owner: str, real: datetime, length: timedelta) -> bool:
    """Take or keep a duty for `length` from `real`; False while somebody else holds it."""
    until = real + length
    if insert_or_nothing(session, Lease, [{"name": name, "owner": owner, "until": until}]):
        return True
    mine_or_over = or_(Lease.owner == owner, Lease.until <= real)
    taken = update(Lease).where(Lease.name == name, mine_or_over).values(owner=owner, until=until)
    return count_changed(session, taken) == 1


def acquire_places(
    session: Session, name: str, *, places: int, most: int, owner: str, real: datetime, length: timedelta
) -> int:
    """Take or keep up to `most` of the places of a duty for `length` from `real`; returns how many."""
    every = [f"{name}/{place}" for place in range(places)]
    there = set(session.scalars(select(Lease.name).where(Lease.name.in_(every))))
    free = [{"name": each, "owner": "", "until": real} for each in every if each not in there]
    insert_or_nothing(session, Lease, free)
    open_to_me = (
        select(Lease.name)
        .where(Lease.name.in_(every), or_(Lease.owner == owner, Lease.until <= real))
        .order_by(case((Lease.owner == owner, 0), else_=1), Lease.name)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    mine = session.scalars(open_to_me).all()
    session.execute(update(Lease).where(Lease.name.in_(mine)).values(owner=owner, until=real + length))
    return len(mine)


def release_places(session: Session, *, owner: str, real: datetime) -> None:
    """Give up everything that this owner holds."""
    session.execute(update(Lease).where(Lease.owner == owner, Lease.until > real).values(until=real))


def is_held_by_another(session: Session, name: str, *, owner: str, real: datetime) -> bool:
    """Tell whether somebody else holds a duty at this moment."""
    lease = session.get(Lease, name)
    return lease is not None and lease.owner != owner and lease.until >= real


def release(session: Session, name: str, *, owner: str, real: datetime) -> None:
    """Give a duty up, so that the next process need not wait for the lease to end."""
    session.execute(update(Lease).where(Lease.name == name, Lease.owner == owner).values(until=real))
