"""Topic opt-out: a kind of mail that a subscriber does not want. A row is a no; no row is a yes."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, ForeignKey, String, delete, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base, Timestamp, insert_or_nothing

TOPICS = ("follow-up", "calls", "updates", "webinars")


class TopicOptout(Base):
    """One kind of mail that one contact does not want."""

    __tablename__ = "declines"

    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    topic: Mapped[str] = mapped_column(String(20), primary_key=True)
    at: Mapped[Timestamp]


def set_optouts(session: Session, *, contact_id: int, topics: Collection[str], now: datetime) -> set[str]:
    """Replace the opted-out topics of a contact by these; returns the topics that are wanted again."""
    assert set(topics) <= set(TOPICS), topics
    old_topics = list_for_contact(session, contact_id)
    wanted_topics = old_topics - set(topics)
    session.execute(
        delete(TopicOptout).where(TopicOptout.contact_id == contact_id, TopicOptout.topic.in_(wanted_topics))
    )
    rows = [{"contact_id": contact_id, "topic": topic, "at": now} for topic in sorted(topics)]
    if rows:
        insert_or_nothing(session, TopicOptout, rows)
    return wanted_topics


def list_for_contact(session: Session, contact_id: int) -> set[str]:
    """Return the topics that this contact does not want."""
    return set(session.scalars(select(TopicOptout.topic).where(TopicOptout.contact_id == contact_id)))


def is_opted_out(topic: str, contact_id: ColumnElement[int] = Contact.id.expression) -> ColumnElement[bool]:
    """Return the SQL condition that the contact of this column does not want this topic."""
    return exists().where(TopicOptout.contact_id == contact_id, TopicOptout.topic == topic)
