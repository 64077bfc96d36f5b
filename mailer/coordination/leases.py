"""Leases: the database rows by which one process at a time holds a named duty, in the machine's time."""

from datetime import datetime, timedelta

from sqlalchemy import String, case, or_, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Timestamp, count_changed, insert_or_nothing

SCHEDULER = "scheduler"  # the duty of the process that runs the jobs


class Lease(Base):
    """The holder of a duty, and until when it holds the duty."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    owner: Mapped[str] = mapped_column(String(60))
    until: Mapped[Timestamp]


def acquire(session: Session, name: str, *, owner: str, real: datetime, length: timedelta) -> bool:
    """Acquire or renew a duty for `length` from `real`; False while another owner holds it."""
    until = real + length
    if insert_or_nothing(session, Lease, [{"name": name, "owner": owner, "until": until}]):
        return True
    is_available = or_(Lease.owner == owner, Lease.until <= real)
    renewal = update(Lease).where(Lease.name == name, is_available).values(owner=owner, until=until)
    return count_changed(session, renewal) == 1


def acquire_places(
    session: Session, name: str, *, places: int, most: int, owner: str, real: datetime, length: timedelta
) -> int:
    """Acquire or renew up to `most` places of a duty for `length` from `real`; returns how many."""
    names = [f"{name}/{place}" for place in range(places)]
    existing = set(session.scalars(select(Lease.name).where(Lease.name.in_(names))))
    new_rows = [{"name": each, "owner": "", "until": real} for each in names if each not in existing]
    insert_or_nothing(session, Lease, new_rows)
    query = (
        select(Lease.name)
        .where(Lease.name.in_(names), or_(Lease.owner == owner, Lease.until <= real))
        .order_by(case((Lease.owner == owner, 0), else_=1), Lease.name)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    available = session.scalars(query).all()
    session.execute(update(Lease).where(Lease.name.in_(available)).values(owner=owner, until=real + length))
    return len(available)


def release_places(session: Session, *, owner: str, real: datetime) -> None:
    """Release all leases of this owner."""
    session.execute(update(Lease).where(Lease.owner == owner, Lease.until > real).values(until=real))


def is_held_by_another(session: Session, name: str, *, owner: str, real: datetime) -> bool:
    """Tell whether another owner holds a duty at this moment."""
    lease = session.get(Lease, name)
    return lease is not None and lease.owner != owner and lease.until >= real


def release(session: Session, name: str, *, owner: str, real: datetime) -> None:
    """Release a duty, so that the next process need not wait until the lease ends."""
    session.execute(update(Lease).where(Lease.name == name, Lease.owner == owner).values(until=real))
