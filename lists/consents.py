"""Consent: append-only evidence of each yes and no, with the exact wording that was shown."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, PrimaryKey, Timestamp

ACTIONS = (
    "asked", "confirmed", "approved", "imported", "left",
    "paused", "resumed", "language", "topics", "merged", "readdressed", "undone",
)  # fmt: skip


class Consent(Base):
    """One yes or no: the list, the action, the wording and page, and the time; no network address."""

    __tablename__ = "consents"

    id: Mapped[PrimaryKey]
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    list: Mapped[str] = mapped_column(String(40))
    action: Mapped[str] = mapped_column(String(12))
    wording: Mapped[str] = mapped_column(Text, default="")
    page: Mapped[str] = mapped_column(String(200), default="")
    language: Mapped[str] = mapped_column(String(2), default="")
    at: Mapped[Timestamp]


def add(
    session: Session,
    *,
    contact_id: int,
    list: str,
    action: str,
    now: datetime,
    wording: str = "",
    page: str = "",
    language: str = "",
) -> None:
    """Record one yes or no. `page` is where it was given (a path, a command, a file); never an address."""
    assert action in ACTIONS, action
    session.add(
        Consent(
            contact_id=contact_id,
            list=list,
            action=action,
            wording=wording,
            page=page,
            language=language,
            at=now,
        )
    )


def list_for_contact(session: Session, contact_id: int) -> Sequence[Consent]:
    """Return every consent record of this contact, oldest first."""
    return session.scalars(select(Consent).where(Consent.contact_id == contact_id).order_by(Consent.id)).all()
