"""Retention: what is deleted by itself, and after how long; the privacy page says the same to people.

Each rule finds rows by number, a batch at a time and without a lock, and then deletes or empties them in
a short transaction that asks again whether the rule still holds. What stays of a message for “did she get
it?” is what became of each attempt and when; the address it went to and the server's words go.
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
    """What goes after how long: `find` selects rows by number, `erase` deals with some of them."""

    name: str
    about: str
    find: Callable[[datetime], Select[int]]
    erase: Callable[[Session, Sequence[int], datetime], None]


def _is_unconfirmed(now: datetime) -> ColumnElement[bool]:
    """Whoever asked to join long ago and never pressed the button; who waits for staff had pressed it.

    What was pressed at an earlier address counts no more.
    """
    proved = exists().where(
        Consent.contact_id == Subscription.contact_id,
        Consent.list == Subscription.list,
        Consent.action.in_(CONFIRMING_ACTIONS),
    )
    pending = and_(Subscription.state == "pending", Subscription.asked_at < now - UNCONFIRMED_LIFETIME)
    readdressed = exists().where(Contact.id == Subscription.contact_id, Contact.readdressed_at.is_not(None))
    return and_(pending, or_(Subscription.round > 0, ~proved, readdressed))


def _erase_unconfirmed(session: Session, ids: Sequence[int], now: datetime) -> None:
    """Who had left before and did not confirm the return has left again; of the others the sign-up goes."""
    these = and_(Subscription.id.in_(ids), _is_unconfirmed(now))
    _execute(session, update(Subscription).where(these, Subscription.round > 0).values(state="left"))
    gone = session.execute(
        delete(Subscription)
        .where(these)
        .returning(Subscription.contact_id, Subscription.list)
        .execution_options(synchronize_session=False)
    ).all()
    for name in sorted({row.list for row in gone}):
        who = [row.contact_id for row in gone if row.list == name]
        _execute(session, delete(Consent).where(Consent.contact_id.in_(who), Consent.list == name))
        if name == "organizers":
            _execute(session, delete(Listing).where(Listing.contact_id.in_(who), Listing.state == "asked"))
    nothing_else = ~exists().where(Subscription.contact_id == Contact.id)
    unlisted = ~exists().where(Listing.contact_id == Contact.id)
    everybody = Contact.id.in_({row.contact_id for row in gone})
    _execute(session, delete(Contact).where(everybody, nothing_else, unlisted))


def _erase_offers(session: Session, ids: Sequence[int], _now: datetime) -> None:
    _execute(session, update(Listing).where(Listing.id.in_(ids)).values(offer=""))


def _erase_attempt_texts(session: Session, ids: Sequence[int], _now: datetime) -> None:
    _execute(session, update(Attempt).where(Attempt.id.in_(ids)).values(address="", reply=""))


def _replace_answers_by_counts(session: Session, ids: Sequence[int], _now: datetime) -> None:
    """Make numbers of answers: how many said yes, maybe and no stays, who did does not."""
    gone = session.execute(
        delete(Rsvp)
        .where(Rsvp.id.in_(ids))
        .returning(Rsvp.event_id, Rsvp.answer)
        .execution_options(synchronize_session=False)
    ).all()
    pairs = [(row.event_id, row.answer) for row in gone]
    for event_id, answer in sorted(set(pairs)):
        insert_or_nothing(session, RsvpCount, [{"event_id": event_id, "answer": answer, "number": 0}])
        mine = (RsvpCount.event_id == event_id) & (RsvpCount.answer == answer)
        more = RsvpCount.number + pairs.count((event_id, answer))
        _execute(session, update(RsvpCount).where(mine).values(number=more))


def _erase_notes(session: Session, ids: Sequence[int], _now: datetime) -> None:
    _execute(session, delete(Note).where(Note.id.in_(ids)))


def _select_retired_fields(now: datetime) -> Select[str]:
    return select(Field.name).where(Field.retired_at < now - TEXT_LIFETIME)


def _select_contacts_with_retired_fields(now: datetime) -> Select[int]:
    """Select contacts, by number, who have something in a field that was retired long ago."""
    return (
        select(FieldValue.contact_id.label("id"))
        .where(FieldValue.field.in_(_select_retired_fields(now)))
        .distinct()
    )


def _erase_retired_values(session: Session, ids: Sequence[int], now: datetime) -> None:
    these = (FieldValue.contact_id.in_(ids), FieldValue.field.in_(_select_retired_fields(now)))
    _execute(session, delete(FieldValue).where(*these))


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
    """Return the numbers of up to `limit` rows behind `after` that a rule is about."""
    found = rule.find(now).subquery()
    return session.scalars(
        select(found.c.id).where(found.c.id > after).order_by(found.c.id).limit(limit)
    ).all()


def _execute(session: Session, statement: Any) -> None:
    session.execute(statement.execution_options(synchronize_session=False))
