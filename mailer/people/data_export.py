"""Data export: everything stored about one person, for that person or for staff who answer them.

A table that references contacts is included automatically, with every column, so each new table is included
too. Only the outbox has a form of its own, with each delivery attempt.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from lists import catalog, permission, suppressions
from lists.contacts import Contact
from mailer import reasons
from mailer.outbox.outbox import OutboxRow
from mailer.people import messages
from mailer.policy import POLICY
from mailer.tables import TABLES
from mailer.tryout import postoffice
from mailer.tryout.postoffice import CapturedMessage

ALL_MESSAGES = 1_000_000
OWNER_COLUMN = "contacts.id"
EXPORT_NAMES = {
    "listings": "applications",
    "rsvps": "answers",
}  # the words that people use for the contents of a table
Facts = dict[str, object]


def collect(session: Session, contact: Contact, *, now: datetime, limit: int = ALL_MESSAGES) -> Facts:
    """Return all that is stored about a contact, by name; of messages, the newest `limit`.

    A value is a string, a number, a datetime, bytes (keyed hashes), None, or a list or dictionary of these.
    """
    rows = messages.list_newest(session, limit=limit, contact_id=contact.id)
    return {
        "contact": {column.key: getattr(contact, column.key) for column in Contact.__table__.columns},
        "suppressed": suppressions.find_reason(session, contact.email_digest),
        "lists": list_permissions(session, contact, now=now),
        **{
            EXPORT_NAMES.get(table.name, table.name): _list_rows(session, table, contact.id)
            for table in list_tables()
            if table is not OutboxRow.__table__
        },
        "messages": list(messages.with_attempts(session, rows)),
        "posted": _list_tryout_messages(session, contact),
    }


def list_permissions(session: Session, contact: Contact, *, now: datetime) -> Sequence[Facts]:
    """Return for each list whether a broadcast may be sent to this contact now, and if not, why not."""
    suppressed = suppressions.find_reason(session, contact.email_digest)
    answers: list[Facts] = []
    for name in catalog.list_names(session):
        purpose = POLICY["broadcast"].purpose(name)
        reader = permission.find_recipients(session, [contact.id], purpose=purpose, now=now).get(contact.id)
        why = "never joined" if reader is None else reader.refusal
        sentence = reasons.describe(why or "")
        if why == "suppressed" and suppressed is not None:
            sentence = f"{sentence} Here: {suppressed}."
        answers.append({"list": name, "may_write": why is None, "reason": why, "why_not": sentence})
    return answers


def list_tables() -> Sequence[Table]:
    """Return every table whose rows belong to a contact."""
    return [
        table for table in TABLES if any(key.target_fullname == OWNER_COLUMN for key in table.foreign_keys)
    ]


def _list_rows(session: Session, table: Table, contact_id: int) -> Sequence[Mapping[str, object]]:
    """Return the rows of a table that reference this contact, the oldest first."""
    (pointer,) = (key.parent for key in table.foreign_keys if key.target_fullname == OWNER_COLUMN)
    columns = [column for column in table.columns if column is not pointer]
    rows = session.execute(select(*columns).where(pointer == contact_id).order_by(*table.primary_key.columns))
    return [dict(row) for row in rows.mappings()]


def _list_tryout_messages(session: Session, contact: Contact) -> Sequence[Facts]:
    """Return what the try-out's post office holds for this person, the oldest first."""
    is_to_contact = postoffice.is_sent_to({contact.email, contact.email_key})
    rows = session.scalars(select(CapturedMessage).where(is_to_contact).order_by(CapturedMessage.id))
    return [{"date": row.date, "to": row.to, "subject": row.subject} for row in rows]
