"""Decline: a kind of mail that somebody on a list does not want. A row is a no; without one it is a yes."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, ForeignKey, String, delete, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base, Moment, insert_or_nothing

TOPICS = ("follow-up", "calls", "updates", "webinars")


class Decline(Base):
    """One kind of mail that one contact does not want."""

    __tablename__ = "declines"

    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    topic: Mapped[str] = mapped_column(String(20), primary_key=True)
    at: Mapped[Moment]


def choose(session: Session, *, contact_id: int, declined: Collection[str], now: datetime) -> set[str]:
    """Keep exactly these topics as not wanted; returns those that are wanted again."""
    assert set(declined) <= set(TOPICS), declined
    before = of_contact(session, contact_id)
    again = before - set(declined)
    session.execute(delete(Decline).where(Decline.contact_id == contact_id, Decline.topic.in_(again)))
    new = [{"contact_id": contact_id, "topic": topic, "at": now} for topic in sorted(declined)]
    if new:
        insert_or_nothing(session, Decline, new)
    return again


def of_contact(session: Session, contact_id: int) -> set[str]:
    """Return the topics that this contact does not want."""
    return set(session.scalars(select(Decline.topic).where(Decline.contact_id == contact_id)))


def of_topic(topic: str, contact_id: ColumnElement[int] = Contact.id.expression) -> ColumnElement[bool]:
    """Return the SQL condition that the contact at hand, or of this column, does not want this topic."""
    return exists().where(Decline.contact_id == contact_id, Decline.topic == topic)
