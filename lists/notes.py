"""Note: a text of staff about a contact, kept for 90 days; only staff and the contact may read it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.audit import TEXT_LENGTH
from lists.db import Base, PrimaryKey, Timestamp
from lists.errors import BadInput

MAX_LENGTH = 2_000  # characters


class Note(Base):
    """One note: when, by which actor, and the text."""

    __tablename__ = "notes"

    id: Mapped[PrimaryKey]
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    at: Mapped[Timestamp] = mapped_column(index=True)
    by: Mapped[str] = mapped_column(String(TEXT_LENGTH))
    text: Mapped[str] = mapped_column(Text)


def add(session: Session, contact_id: int, text: str, *, actor: str, now: datetime) -> Note:
    """Add a note; raises BadInput for one that is empty, too long or contains hidden characters."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        raise BadInput("The note is empty.")
    if len(text) > MAX_LENGTH:
        raise BadInput(f"The note is longer than {MAX_LENGTH:,} characters. Please shorten it.")
    if any(not character.isprintable() and character != "\n" for character in text):
        raise BadInput("The note holds a hidden character. Please type it again.")
    note = Note(contact_id=contact_id, at=now, by=actor[:TEXT_LENGTH], text=text)
    session.add(note)
    session.flush()
    return note


def list_for_contact(session: Session, contact_id: int) -> Sequence[Note]:
    """Return the notes about a contact, oldest first."""
    return session.scalars(select(Note).where(Note.contact_id == contact_id).order_by(Note.id)).all()
