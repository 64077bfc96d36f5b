"""Suppression: never write to this address, and the reason.

It stores a keyed hash and no address, so it remains after the contact is deleted: an erased person is not
written to again even when their address is typed into a form or a file.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, LargeBinary, String, UniqueConstraint, bindparam, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import departures
from lists.contacts import Contact
from lists.db import Base, PrimaryKey, Timestamp, insert_or_nothing

REASONS = ("forgotten", "complaint", "bounce", "staff")


class Suppression(Base):
    """One reason not to write to one address, which is stored only as its keyed hash (16 bytes)."""

    __tablename__ = "suppressions"
    __table_args__ = (UniqueConstraint("email_digest", "reason"),)

    id: Mapped[PrimaryKey]
    email_digest: Mapped[bytes] = mapped_column(LargeBinary(16))
    reason: Mapped[str] = mapped_column(String(12))
    at: Mapped[Timestamp]


def add(session: Session, digest: bytes, *, reason: str, now: datetime) -> bool:
    """Never write to this address again; the same reason twice is one row. Returns whether it is new."""
    assert reason in REASONS, reason
    row = {"email_digest": digest, "reason": reason, "at": now}
    if not insert_or_nothing(session, Suppression, [row]):
        return False
    departures.record_suppression(session, digest, reason=reason, now=now)
    return True


def find_reason(session: Session, digest: bytes) -> str | None:
    """Return why this address is never written to, or None."""
    return session.scalars(_OLDEST, {"digest": digest}).one_or_none()


def list_reasons(session: Session, digest: bytes) -> Sequence[str]:
    """Return every reason for which this address is never written to, oldest first."""
    return session.scalars(_REASONS, {"digest": digest}).all()


def find_reasons(session: Session, digests: Collection[bytes]) -> dict[bytes, str]:
    """Return the reasons of those of these addresses that are suppressed."""
    query = select(Suppression.email_digest, Suppression.reason)
    ordered_query = query.where(Suppression.email_digest.in_(digests)).order_by(Suppression.id.desc())
    rows = session.execute(ordered_query)  # so that the oldest reason replaces the others
    return {row.email_digest: row.reason for row in rows}


def is_suppressed() -> ColumnElement[bool]:
    """Return the SQL condition that the contact of the query is suppressed."""
    return exists().where(Suppression.email_digest == Contact.email_digest)


_REASONS = (
    select(Suppression.reason).where(Suppression.email_digest == bindparam("digest")).order_by(Suppression.id)
)
_OLDEST = _REASONS.limit(1)
