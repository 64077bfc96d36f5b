"""Timeline: everything that happened to one person, in order, for staff.

It is read from the tables and stores nothing itself, so what they delete disappears here too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import audit, consents, merge_redirects, notes
from lists.contacts import Contact
from lists.directory import Listing
from lists.suppressions import Suppression
from lists.topic_optouts import TopicOptout
from mailer.events.events import Event
from mailer.people import message_events, messages
from mailer.sources.invitations import Rsvp
from mailer.sources.journeys import Journey

MAX_MESSAGES = 200

CONSENT_SENTENCES: Mapping[str, str] = {
    "asked": "Asked to join the list {list}.",
    "confirmed": "Confirmed the list {list}.",
    "approved": "Staff approved them for the list {list}.",
    "imported": "Came onto the list {list} with a file.",
    "left": "Left the list {list}.",
    "paused": "Paused the list {list}.",
    "resumed": "Ended the pause of the list {list}.",
    "language": "Chose the language of the list {list}.",
    "topics": "Chose what to get from the list {list}.",
    "merged": "Two addresses became one on the list {list}.",
    "readdressed": "Has a new address on the list {list}.",
    "undone": "Was taken off the list {list} again: the file had been a mistake.",
}
SUPPRESSION_SENTENCES: Mapping[str, str] = {
    "forgotten": "Asked to be forgotten.",
    "complaint": "Complained about a mail, so nothing is written to this address.",
    "bounce": "This address took no mail, so nothing is written to it.",
    "staff": "Staff decided to write nothing to this address.",
}


@dataclass(frozen=True, kw_only=True)
class TimelineEvent:
    """One event: when, what in a sentence, by whom or where, and the exact words."""

    at: datetime
    what: str
    by: str = ""
    words: str = ""


def list_events(
    session: Session, contact: Contact, *, now: datetime, limit: int = MAX_MESSAGES
) -> Sequence[TimelineEvent]:
    """Return every event of a contact, oldest first, with the newest `limit` messages."""
    rows = [
        TimelineEvent(at=contact.created_at, what="Became known here."),
        *_consent_events(session, contact),
        *_optout_events(session, contact),
        *_application_events(session, contact),
        *_answer_events(session, contact),
        *_journey_events(session, contact),
        *_suppression_events(session, contact),
        *_merge_events(session, contact),
        *_note_events(session, contact),
        *_audit_events(session, contact),
        *_message_events(session, contact, now=now, limit=limit),
    ]
    return sorted(rows, key=lambda each: each.at)  # events of one moment stay in this order


def _consent_events(session: Session, contact: Contact) -> Iterator[TimelineEvent]:
    for row in consents.list_for_contact(session, contact.id):
        what = CONSENT_SENTENCES[row.action].format(list=row.list)
        yield TimelineEvent(at=row.at, what=what, by=row.page, words=row.wording)


def _optout_events(session: Session, contact: Contact) -> Iterator[TimelineEvent]:
    for row in session.scalars(select(TopicOptout).where(TopicOptout.contact_id == contact.id)):
        yield TimelineEvent(at=row.at, what=f"Wants no more of this kind: {row.topic}.")


def _application_events(session: Session, contact: Contact) -> Iterator[TimelineEvent]:
    rows = select(Listing).where(Listing.contact_id == contact.id).order_by(Listing.id)
    for row in session.scalars(rows):
        yield TimelineEvent(
            at=row.asked_at, what=f"Asked to be on the map: {row.organization}.", words=row.offer
        )
        if row.decided_at is not None:
            yield TimelineEvent(at=row.decided_at, what=f"Application {row.id} was {row.state}.", by="staff")


def _answer_events(session: Session, contact: Contact) -> Iterator[TimelineEvent]:
    answers = select(Rsvp, Event).join(Event, Event.id == Rsvp.event_id).where(Rsvp.contact_id == contact.id)
    for row, event in session.execute(answers):
        call = f"call {event.id}, {event.title_in('en')}"
        yield TimelineEvent(at=row.answered_at, what=f"Answered “{row.answer}” to {call}.")


def _journey_events(session: Session, contact: Contact) -> Iterator[TimelineEvent]:
    for row in session.scalars(select(Journey).where(Journey.contact_id == contact.id)):
        yield TimelineEvent(at=row.started_at, what=f"Began the emails “{row.sequence}”; now: {row.state}.")


def _suppression_events(session: Session, contact: Contact) -> Iterator[TimelineEvent]:
    rows = select(Suppression).where(Suppression.email_digest == contact.email_digest)
    for row in session.scalars(rows):
        yield TimelineEvent(at=row.at, what=SUPPRESSION_SENTENCES[row.reason])


def _merge_events(session: Session, contact: Contact) -> Iterator[TimelineEvent]:
    for row in merge_redirects.list_for_contact(session, contact.id):
        yield TimelineEvent(at=row.at, what=f"Contact {row.gone_id} became part of this one.", by="staff")


def _note_events(session: Session, contact: Contact) -> Iterator[TimelineEvent]:
    for row in notes.list_for_contact(session, contact.id):
        yield TimelineEvent(at=row.at, what="A note was written.", by=row.by, words=row.text)


def _audit_events(session: Session, contact: Contact) -> Iterator[TimelineEvent]:
    """Yield what staff did to the contact: the names of fields, never their values."""
    for row in audit.list_about(session, f"contact {contact.id}"):
        fields = row.subject.partition(": ")[2]
        what = f"{row.action.capitalize()}: {fields}." if fields else f"{row.action.capitalize()}."
        yield TimelineEvent(at=row.at, what=what, by=row.actor)


def _message_events(
    session: Session, contact: Contact, *, now: datetime, limit: int
) -> Iterator[TimelineEvent]:
    rows = messages.list_newest(session, limit=limit, contact_id=contact.id)
    for message in messages.with_attempts(session, rows):
        attempts = message["attempts"]
        assert isinstance(attempts, Sequence)
        # Claims that were released without an attempt are no event of the person's, so they are left out.
        facts = {**message, "attempt": len(attempts)}
        has_undated_state = message["state"] in message_events.UNDATED_STATES
        last = attempts[-1]["at"] if attempts else message["queued_at"]
        for row in message_events.list_events(facts, now=now):
            at = last if has_undated_state and row["at"] == now else row["at"]
            assert isinstance(at, datetime)
            yield TimelineEvent(at=at, what=f"Message {message['id']} ({message['template']}): {row['what']}")
