"""Topic opt-out: a kind of mail that somebody on a list does not want. A row is a no; no row is a yes."""

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
    """Keep exactly these topics as not wanted; returns those that are wanted again."""
    assert set(topics) <= set(TOPICS), topics
    before = list_for_contact(session, contact_id)
    again = before - set(topics)
    session.execute(
        delete(TopicOptout).where(TopicOptout.contact_id == contact_id, TopicOptout.topic.in_(again))
    )
    new = [{"contact_id": contact_id, "topic": topic, "at": now} for topic in sorted(topics)]
    if new:
        insert_or_nothing(session, TopicOptout, new)
    return again


def list_for_contact(session: Session, contact_id: int) -> set[str]:
    """Return the topics that this contact does not want."""
    return set(session.scalars(select(TopicOptout.topic).where(TopicOptout.contact_id == contact_id)))


def is_opted_out(topic: str, contact_id: ColumnElement[int] = Contact.id.expression) -> ColumnElement[bool]:
    """Return the SQL condition that the contact at hand, or of this column, does not want this topic."""
    return exists().where(TopicOptout.contact_id == contact_id, TopicOptout.topic == topic)
