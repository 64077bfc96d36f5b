"""Lease: one process at a time holds a named duty, by the machine's time, in the database."""

from datetime import datetime, timedelta

from sqlalchemy import CursorResult, String, or_, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Moment, insert_or_nothing

SCHEDULER = "scheduler"  # the duty of whoever ticks the jobs


class Lease(Base):
    """Who holds a duty, and until when."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(60))
    until: Mapped[Moment]


def hold(session: Session, name: str, *, owner: str, real: datetime, length: timedelta) -> bool:
    """Take or keep a duty for `length` from `real`; False while somebody else holds it."""
    until = real + length
    if insert_or_nothing(session, Lease, [{"name": name, "owner": owner, "until": until}]):
        return True
    mine_or_over = or_(Lease.owner == owner, Lease.until <= real)
    taken = session.execute(
        update(Lease).where(Lease.name == name, mine_or_over).values(owner=owner, until=until)
    )
    assert isinstance(taken, CursorResult)
    return taken.rowcount == 1


def held_by_another(session: Session, name: str, *, owner: str, real: datetime) -> bool:
    """Tell whether somebody else holds a duty at this moment."""
    lease = session.get(Lease, name)
    return lease is not None and lease.owner != owner and lease.until >= real


def release(session: Session, name: str, *, owner: str, real: datetime) -> None:
    """Give a duty up, so that the next process need not wait for the lease to end."""
    session.execute(update(Lease).where(Lease.name == name, Lease.owner == owner).values(until=real))
