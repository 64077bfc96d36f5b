"""Retention: what is deleted automatically, and after how long; the privacy page says the same to people.

Each rule selects rows by number, a batch at a time and without a lock, and then deletes or empties them in
a short transaction that checks again whether the rule still applies. What stays of a message for “did she get
it?” is the outcome and time of each attempt; the address it went to and the server's words are deleted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from lists.consents import Consent
from lists.contacts import Contact
from lists.db import insert_or_nothing
from lists.directory import Listing
from lists.fields import Field, FieldValue
from lists.notes import Note
from lists.subscriptions import Subscription
from mailer.events.events import Event
from mailer.outbox.attempts import Attempt
from mailer.sources.invitations import Rsvp, RsvpCount

UNCONFIRMED_LIFETIME = timedelta(days=14)
TEXT_LIFETIME = timedelta(days=90)  # free text, attendance, what servers said
CONFIRMING_ACTIONS = ("confirmed", "approved")


@dataclass(frozen=True, kw_only=True)
class RetentionRule:
    """What is deleted after how long: `find` selects rows by number, `erase` processes some of them."""

    name: str
    about: str
    find: Callable[[datetime], Select[int]]
    erase: Callable[[Session, Sequence[int], datetime], None]


def _is_unconfirmed(now: datetime) -> ColumnElement[bool]:
    """Select sign-ups that were never confirmed; those that wait for staff were confirmed by the person.

    A confirmation from an earlier address does not count.
    """
    was_confirmed = exists().where(
        Consent.contact_id == Subscription.contact_id,
        Consent.list == Subscription.list,
        Consent.action.in_(CONFIRMING_ACTIONS),
    )
    is_old_pending = and_(Subscription.state == "pending", Subscription.asked_at < now - UNCONFIRMED_LIFETIME)
    has_changed_address = exists().where(
        Contact.id == Subscription.contact_id, Contact.readdressed_at.is_not(None)
    )
    return and_(is_old_pending, or_(Subscription.round > 0, ~was_confirmed, has_changed_address))


def _erase_unconfirmed(session: Session, ids: Sequence[int], now: datetime) -> None:
    """Set returning people back to `left`; delete the sign-ups of the others with what belongs to them."""
    is_selected = and_(Subscription.id.in_(ids), _is_unconfirmed(now))
    _execute(session, update(Subscription).where(is_selected, Subscription.round > 0).values(state="left"))
    rows = session.execute(
        delete(Subscription)
        .where(is_selected)
        .returning(Subscription.contact_id, Subscription.list)
        .execution_options(synchronize_session=False)
    ).all()
    for name in sorted({row.list for row in rows}):
        contact_ids = [row.contact_id for row in rows if row.list == name]
        _execute(session, delete(Consent).where(Consent.contact_id.in_(contact_ids), Consent.list == name))
        if name == "organizers":
            _execute(
                session, delete(Listing).where(Listing.contact_id.in_(contact_ids), Listing.state == "asked")
            )
    has_no_list = ~exists().where(Subscription.contact_id == Contact.id)
    has_no_listing = ~exists().where(Listing.contact_id == Contact.id)
    is_affected = Contact.id.in_({row.contact_id for row in rows})
    _execute(session, delete(Contact).where(is_affected, has_no_list, has_no_listing))


def _erase_offers(session: Session, ids: Sequence[int], _now: datetime) -> None:
    _execute(session, update(Listing).where(Listing.id.in_(ids)).values(offer=""))


def _erase_attempt_texts(session: Session, ids: Sequence[int], _now: datetime) -> None:
    _execute(session, update(Attempt).where(Attempt.id.in_(ids)).values(address="", reply=""))


def _replace_answers_by_counts(session: Session, ids: Sequence[int], _now: datetime) -> None:
    """Replace answers by counts: how many said yes, maybe and no is kept, and by whom is deleted."""
    rows = session.execute(
        delete(Rsvp)
        .where(Rsvp.id.in_(ids))
        .returning(Rsvp.event_id, Rsvp.answer)
        .execution_options(synchronize_session=False)
    ).all()
    pairs = [(row.event_id, row.answer) for row in rows]
    for event_id, answer in sorted(set(pairs)):
        insert_or_nothing(session, RsvpCount, [{"event_id": event_id, "answer": answer, "number": 0}])
        is_counter = (RsvpCount.event_id == event_id) & (RsvpCount.answer == answer)
        total = RsvpCount.number + pairs.count((event_id, answer))
        _execute(session, update(RsvpCount).where(is_counter).values(number=total))


def _erase_notes(session: Session, ids: Sequence[int], _now: datetime) -> None:
    _execute(session, delete(Note).where(Note.id.in_(ids)))


def _select_retired_fields(now: datetime) -> Select[str]:
    return select(Field.name).where(Field.retired_at < now - TEXT_LIFETIME)


def _select_contacts_with_retired_fields(now: datetime) -> Select[int]:
    """Select contacts, by number, that have a value in a field that was retired long ago."""
    return (
        select(FieldValue.contact_id.label("id"))
        .where(FieldValue.field.in_(_select_retired_fields(now)))
        .distinct()
    )


def _erase_retired_values(session: Session, ids: Sequence[int], now: datetime) -> None:
    conditions = (FieldValue.contact_id.in_(ids), FieldValue.field.in_(_select_retired_fields(now)))
    _execute(session, delete(FieldValue).where(*conditions))


RULES = (
    RetentionRule(
        name="forget-unconfirmed",
        about="delete sign-ups that nobody confirmed within 14 days",
        find=lambda now: select(Subscription.id).where(_is_unconfirmed(now)),
        erase=_erase_unconfirmed,
    ),
    RetentionRule(
        name="forget-offers",
        about="delete what applicants wrote in their own words more than 90 days ago",
        find=lambda now: select(Listing.id).where(
            Listing.offer != "", Listing.asked_at < now - TEXT_LIFETIME
        ),
        erase=_erase_offers,
    ),
    RetentionRule(
        name="forget-answers",
        about="keep of calls more than 90 days ago how many answered, and not who",
        find=lambda now: select(Rsvp.id).join(Event).where(Event.starts_at < now - TEXT_LIFETIME),
        erase=_replace_answers_by_counts,
    ),
    RetentionRule(
        name="forget-notes",
        about="delete notes that staff wrote more than 90 days ago",
        find=lambda now: select(Note.id).where(Note.at < now - TEXT_LIFETIME),
        erase=_erase_notes,
    ),
    RetentionRule(
        name="forget-retired",
        about="delete what people had in fields that were retired more than 90 days ago",
        find=_select_contacts_with_retired_fields,
        erase=_erase_retired_values,
    ),
    RetentionRule(
        name="forget-words",
        about="delete the addresses and the servers' words of attempts more than 90 days ago",
        find=lambda now: select(Attempt.id).where(
            Attempt.at < now - TEXT_LIFETIME, or_(Attempt.address != "", Attempt.reply != "")
        ),
        erase=_erase_attempt_texts,
    ),
)


def list_due(
    session: Session, rule: RetentionRule, *, now: datetime, after: int, limit: int
) -> Sequence[int]:
    """Return the numbers of up to `limit` rows after `after` that a rule selects."""
    selected = rule.find(now).subquery()
    return session.scalars(
        select(selected.c.id).where(selected.c.id > after).order_by(selected.c.id).limit(limit)
    ).all()


def _execute(session: Session, statement: Any) -> None:
    session.execute(statement.execution_options(synchronize_session=False))
