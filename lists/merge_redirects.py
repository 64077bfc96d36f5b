"""Merge redirect: a contact that became part of another one, kept as its number and the hash of its address.

Links in old mails hold the number that is gone; whoever presses one to leave must be able to leave. A file
or a backup may hold the address that is gone; nobody is written to there again because of it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base, Id, Timestamp


class MergeRedirect(Base):
    """One contact that is gone (`gone_id`, and the hash of its address), and the one it became part of."""

    __tablename__ = "mergers"

    gone_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    email_digest: Mapped[bytes] = mapped_column(LargeBinary(16), index=True)
    at: Mapped[Timestamp]


def record(session: Session, contact: Contact, *, target_id: int, now: datetime) -> None:
    """Note that a contact becomes part of another one, with all that became part of it before."""
    earlier = update(MergeRedirect).where(MergeRedirect.contact_id == contact.id)
    session.execute(earlier.values(contact_id=target_id).execution_options(synchronize_session=False))
    session.add(
        MergeRedirect(gone_id=contact.id, contact_id=target_id, email_digest=contact.email_digest, at=now)
    )
    session.flush()


def find_contact(session: Session, contact_id: int) -> Contact | None:
    """Return the contact of this number, or the one it became part of, or None."""
    contact = session.get(Contact, contact_id)
    if contact is not None:
        return contact
    became = select(Contact).join(MergeRedirect, MergeRedirect.contact_id == Contact.id)
    return session.scalars(became.where(MergeRedirect.gone_id == contact_id)).one_or_none()


def list_for_contact(session: Session, contact_id: int) -> Sequence[MergeRedirect]:
    """Return what became part of a contact, oldest first."""
    mine = select(MergeRedirect).where(MergeRedirect.contact_id == contact_id)
    return session.scalars(mine.order_by(MergeRedirect.at, MergeRedirect.gone_id)).all()


def find_targets(session: Session, digests: Collection[bytes]) -> Mapping[bytes, int]:
    """Return, for those of these addresses that became part of a contact, the number of that contact."""
    found = select(MergeRedirect.email_digest, MergeRedirect.contact_id).where(
        MergeRedirect.email_digest.in_(digests)
    )
    return {row.email_digest: row.contact_id for row in session.execute(found)}
