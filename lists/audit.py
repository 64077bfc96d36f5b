"""Audit: append-only, who did what to what; it names fields and numbers, never what stood in them."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, PrimaryKey, Timestamp

TEXT_LENGTH, SUBJECT_LENGTH = (
    40,
    80,
)  # characters; what is longer is cut, for an act must never fail for its own record


class AuditEntry(Base):
    """One act of staff or of the operator."""

    __tablename__ = "audit"

    id: Mapped[PrimaryKey]
    at: Mapped[Timestamp]
    actor: Mapped[str] = mapped_column(String(TEXT_LENGTH))
    action: Mapped[str] = mapped_column(String(TEXT_LENGTH))
    subject: Mapped[str] = mapped_column(String(SUBJECT_LENGTH), default="")


def record(session: Session, *, actor: str, action: str, now: datetime, subject: str = "") -> None:
    """Write down one act; `subject` is a kind and a number, such as `listing 7`."""
    entry = AuditEntry(
        at=now, actor=actor[:TEXT_LENGTH], action=action[:TEXT_LENGTH], subject=subject[:SUBJECT_LENGTH]
    )
    session.add(entry)
