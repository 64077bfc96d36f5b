"""Disclosure: everything that is kept about one person, for the person who asks and for staff who answer.

A table that points at the contact is part of it by itself, with every column, so whoever adds one adds it
here too. Only the ledger is told in its own way, with each attempt to hand a message over.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from lists import catalog, permission, suppressions
from lists.contacts import Contact
from lists.permission import SENTENCES
from mailer.outbox.outbox import OutboxRow
from mailer.people import messages
from mailer.policy import POLICY
from mailer.tables import TABLES
from mailer.tryout import postoffice
from mailer.tryout.postoffice import CapturedMessage

ALL_MESSAGES = 1_000_000
OWNER_COLUMN = "contacts.id"
EXPORT_NAMES = {"listings": "applications", "rsvps": "answers"}  # what people call what a table holds
Facts = dict[str, object]


def collect(session: Session, contact: Contact, *, now: datetime, limit: int = ALL_MESSAGES) -> Facts:
    """Return all that is kept about a contact, by what it is; the newest `most` messages.

    A value is a text, a number, a moment, octets (keyed hashes), None, or a list or dictionary of these.
    """
    found = messages.list_newest(session, limit=limit, contact_id=contact.id)
    return {
        "contact": {column.key: getattr(contact, column.key) for column in Contact.__table__.columns},
        "suppressed": suppressions.find_reason(session, contact.email_digest),
        "lists": list_permissions(session, contact, now=now),
        **{
            EXPORT_NAMES.get(table.name, table.name): _list_rows(session, table, contact.id)
            for table in list_tables()
            if table is not OutboxRow.__table__
        },
        "messages": list(messages.with_attempts(session, found)),
        "posted": _list_tryout_messages(session, contact),
    }


def list_permissions(session: Session, contact: Contact, *, now: datetime) -> Sequence[Facts]:
    """Ask the permission rule, for each list, whether an update may go to this contact now, and why not."""
    suppressed = suppressions.find_reason(session, contact.email_digest)
    answers: list[Facts] = []
    for name in catalog.list_names(session):
        purpose = POLICY["broadcast"].purpose(name)
        reader = permission.find_recipients(session, [contact.id], purpose=purpose, now=now).get(contact.id)
        why = "never joined" if reader is None else reader.refusal
        sentence = "" if why is None else SENTENCES[why]
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
    """Return the rows of a table that point at this contact, the oldest first."""
    (pointer,) = (key.parent for key in table.foreign_keys if key.target_fullname == OWNER_COLUMN)
    wanted = [column for column in table.columns if column is not pointer]
    rows = session.execute(select(*wanted).where(pointer == contact_id).order_by(*table.primary_key.columns))
    return [dict(row) for row in rows.mappings()]


def _list_tryout_messages(session: Session, contact: Contact) -> Sequence[Facts]:
    """Return what the try-out's post office holds for this person, the oldest first."""
    mine = postoffice.is_sent_to({contact.email, contact.email_key})
    kept = session.scalars(select(CapturedMessage).where(mine).order_by(CapturedMessage.id))
    return [{"date": row.date, "to": row.to, "subject": row.subject} for row in kept]
