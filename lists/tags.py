"""Tag: a word that staff add to contacts to find them again."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ForeignKey, String, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base, Timestamp, count_changed, insert_or_nothing
from lists.errors import BadInput

MAX_LENGTH = 40
MAX_TAGS = 50  # on one contact
TAG = re.compile(r"[^\W_][\w-]*")
SEPARATOR = re.compile(r"[,;|]")


class Tag(Base):
    """One word on one contact."""

    __tablename__ = "tags"

    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(MAX_LENGTH), primary_key=True, index=True)
    at: Mapped[Timestamp]


def parse(text: str) -> str:
    """Return a tag in small letters with - between words; raises BadInput for a text that is not a tag."""
    tag = "-".join(text.casefold().split())
    if not TAG.fullmatch(tag) or len(tag) > MAX_LENGTH:
        raise BadInput(
            f"“{text[:MAX_LENGTH]}” cannot be a tag: use letters, digits and -, up to {MAX_LENGTH}."
        )
    return tag


def parse_all(cell: str) -> Sequence[str]:
    """Return the tags in a cell, separated by commas, semicolons or bars; raises BadInput."""
    if not cell:
        return ()
    tags = sorted({parse(part) for part in SEPARATOR.split(cell) if part.strip()})
    if len(tags) > MAX_TAGS:
        raise BadInput(f"These are more than {MAX_TAGS} tags.")
    return tags


def list_for_contact(session: Session, contact_id: int) -> Sequence[str]:
    """Return the tags of a contact, by name."""
    return list_for_contacts(session, [contact_id]).get(contact_id, [])


def list_for_contacts(session: Session, contact_ids: Sequence[int]) -> Mapping[int, Sequence[str]]:
    """Return the tags of each of these contacts that has any, by name."""
    tags_by_contact: dict[int, list[str]] = {}
    query = select(Tag.contact_id, Tag.tag).where(Tag.contact_id.in_(contact_ids))
    for row in session.execute(query.order_by(Tag.tag)):
        tags_by_contact.setdefault(row.contact_id, []).append(row.tag)
    return tags_by_contact


def add_all(session: Session, tags_by_contact: Sequence[tuple[int, Sequence[str]]], *, now: datetime) -> int:
    """Add parsed tags to contacts, except those that exist already. Returns how many are new."""
    rows = [
        {"contact_id": contact_id, "tag": tag, "at": now}
        for contact_id, tags in tags_by_contact
        for tag in tags
    ]
    return insert_or_nothing(session, Tag, rows)


def remove(session: Session, contact_id: int, tag: str) -> bool:
    """Remove a tag from a contact; returns False when the contact did not have it."""
    return count_changed(session, delete(Tag).where(Tag.contact_id == contact_id, Tag.tag == tag)) == 1


def list_contacts(session: Session, tag: str, *, limit: int) -> Sequence[Contact]:
    """Return up to `limit` contacts with this tag, by address."""
    query = select(Contact).join(Tag, Tag.contact_id == Contact.id).where(Tag.tag == tag)
    return session.scalars(query.order_by(Contact.email_key).limit(limit)).all()


def merge(session: Session, *, other: int, keep: int) -> None:
    """Move the tags of the other contact to the contact `keep`."""
    keep_tags = select(Tag.tag).where(Tag.contact_id == keep)
    statement = update(Tag).where(Tag.contact_id == other, Tag.tag.not_in(keep_tags)).values(contact_id=keep)
    session.execute(statement.execution_options(synchronize_session=False))
