"""Merge redirect: the number of a contact that was merged into another one, and the hash of its address.

Links in old messages contain the number of the merged contact, and the link to leave must still work. A file
or a backup may contain the merged address; the redirect keeps it from being written to again.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base, Id, Timestamp


class MergeRedirect(Base):
    """One merged contact (`gone_id`, and the hash of its address), and the contact it was merged into."""

    __tablename__ = "mergers"

    gone_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    email_digest: Mapped[bytes] = mapped_column(LargeBinary(16), index=True)
    at: Mapped[Timestamp]


def record(session: Session, contact: Contact, *, target_id: int, now: datetime) -> None:
    """Record that a contact is merged into another one, with all contacts that were merged into it before."""
    earlier = update(MergeRedirect).where(MergeRedirect.contact_id == contact.id)
    session.execute(earlier.values(contact_id=target_id).execution_options(synchronize_session=False))
    session.add(
        MergeRedirect(gone_id=contact.id, contact_id=target_id, email_digest=contact.email_digest, at=now)
    )
    session.flush()


def find_contact(session: Session, contact_id: int) -> Contact | None:
    """Return the contact of this number, or the one it was merged into, or None."""
    contact = session.get(Contact, contact_id)
    if contact is not None:
        return contact
    query = select(Contact).join(MergeRedirect, MergeRedirect.contact_id == Contact.id)
    return session.scalars(query.where(MergeRedirect.gone_id == contact_id)).one_or_none()


def list_for_contact(session: Session, contact_id: int) -> Sequence[MergeRedirect]:
    """Return the redirects to a contact, oldest first."""
    query = select(MergeRedirect).where(MergeRedirect.contact_id == contact_id)
    return session.scalars(query.order_by(MergeRedirect.at, MergeRedirect.gone_id)).all()


def find_targets(session: Session, digests: Collection[bytes]) -> Mapping[bytes, int]:
    """Return the contact numbers that the merged ones of these addresses redirect to."""
    query = select(MergeRedirect.email_digest, MergeRedirect.contact_id).where(
        MergeRedirect.email_digest.in_(digests)
    )
    return {row.email_digest: row.contact_id for row in session.execute(query)}
