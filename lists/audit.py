"""Audit: append-only, who did what to what; it names fields and numbers, never what stood in them."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Moment, PrimaryKey

WORDS, SUBJECT = 40, 80  # characters; what is longer is cut, for an act must never fail for its own record


class AuditEntry(Base):
    """One act of staff or of the operator."""

    __tablename__ = "audit"

    id: Mapped[PrimaryKey]
    at: Mapped[Moment]
    actor: Mapped[str] = mapped_column(String(WORDS))
    action: Mapped[str] = mapped_column(String(WORDS))
    subject: Mapped[str] = mapped_column(String(SUBJECT), default="")


def note(session: Session, *, actor: str, action: str, now: datetime, subject: str = "") -> None:
    """Write down one act; `subject` is a kind and a number, such as `listing 7`."""
    entry = AuditEntry(at=now, actor=actor[:WORDS], action=action[:WORDS], subject=subject[:SUBJECT])
    session.add(entry)
