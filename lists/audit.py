"""Audit: append-only record of who did what to what.

It contains names of fields and numbers, never their values.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import String, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, PrimaryKey, Timestamp

# Characters; a longer text is cut, because an action must not fail on its own audit entry.
TEXT_LENGTH, SUBJECT_LENGTH = 40, 80


class AuditEntry(Base):
    """One action of staff or of the operator."""

    __tablename__ = "audit"

    id: Mapped[PrimaryKey]
    at: Mapped[Timestamp]
    actor: Mapped[str] = mapped_column(String(TEXT_LENGTH))
    action: Mapped[str] = mapped_column(String(TEXT_LENGTH))
    subject: Mapped[str] = mapped_column(String(SUBJECT_LENGTH), default="")


def record(session: Session, *, actor: str, action: str, now: datetime, subject: str = "") -> None:
    """Add an entry for one action; `subject` is a kind and a number, such as `listing 7`."""
    entry = AuditEntry(
        at=now, actor=actor[:TEXT_LENGTH], action=action[:TEXT_LENGTH], subject=subject[:SUBJECT_LENGTH]
    )
    session.add(entry)


def list_about(session: Session, subject: str) -> Sequence[AuditEntry]:
    """Return the entries about a subject, such as `contact 7`, and about its fields, oldest first."""
    is_about_field = AuditEntry.subject.startswith(f"{subject}:", autoescape=True)
    is_about = or_(AuditEntry.subject == subject, is_about_field)
    return session.scalars(select(AuditEntry).where(is_about).order_by(AuditEntry.id)).all()
