"""Brake: how often something may happen in an hour, counted in the database and so by all processes."""

from datetime import datetime, timedelta

from sqlalchemy import LargeBinary, delete, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Moment, insert_or_nothing

KEEP = timedelta(days=1)


class Brake(Base):
    """How often one thing, known by a hash of 16 bytes, happened in one hour."""

    __tablename__ = "brakes"

    what: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    hour: Mapped[Moment] = mapped_column(primary_key=True)
    count: Mapped[int]


def press(session: Session, what: bytes, *, limit: int, now: datetime) -> bool:
    """Count one more and tell whether it is still within `limit` for this hour."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    insert_or_nothing(session, Brake, [{"what": what, "hour": hour, "count": 0}])
    counted = session.scalar(
        update(Brake)
        .where(Brake.what == what, Brake.hour == hour)
        .values(count=Brake.count + 1)
        .returning(Brake.count)
        .execution_options(synchronize_session=False)
    )
    return counted is not None and counted <= limit


def clear(session: Session, *, now: datetime) -> int:
    """Delete the counts of past days; returns how many."""
    gone = session.execute(delete(Brake).where(Brake.hour < now - KEEP))
    return int(gone.rowcount)  # type: ignore[attr-defined]
