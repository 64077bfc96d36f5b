"""Invitations: every contact of a call's audience is invited privately, and their answers are stored.

The audience of a call whose invitations are open is processed in passes by contact number, a batch at a time,
so that no web write waits long. After one pass another begins, which finds contacts who joined, returned or
ended a pause meanwhile; the key of the outbox row skips contacts who are invited already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Select,
    String,
    UniqueConstraint,
    case,
    cast,
    exists,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.addresses import domain_of
from lists.contacts import Contact
from lists.db import Base, Id, PrimaryKey, Timestamp, insert_or_nothing
from lists.errors import BadInput, Conflict, NotFound
from lists.permission import Purpose, Recipient, is_allowed, join_subscriptions, refusal_reason
from lists.subscriptions import Subscription
from mailer.compose.editions import Editions
from mailer.compose.source import AddressedMessage, MessageContent, Refusal
from mailer.compose.tokens import Links
from mailer.events import events, icalendar
from mailer.events.events import Event
from mailer.outbox import outbox
from mailer.outbox.outbox import Entry, OutboxRow, Result
from mailer.policy import POLICY
from mailer.reasons import Reason
from mailer.templates import clock_change, local_time
from mailer.templates.discreet import DiscreetWording

KIND = "invitation"
TEMPLATE = "invitation"
ANSWERS = ("yes", "maybe", "no")
REST_BETWEEN_PASSES = timedelta(
    minutes=15
)  # after a pass of more than one batch; a short one costs a few milliseconds

JOIN_LABEL = {"en": "To join", "es": "Para entrar"}
CALL_IS_OVER = {
    "en": "This call is over, so answers are no longer counted. Thank you all the same.",
    "es": "Esta llamada ya pasó y las respuestas ya no se cuentan. Gracias de todos modos.",
}
CALL_IS_CANCELLED = {
    "en": "This call was cancelled, so there is nothing to answer.",
    "es": "Esta llamada se canceló, así que no hay nada que responder.",
}


class Rsvp(Base):
    """The latest answer of one contact to one call, however it came."""

    __tablename__ = "rsvps"
    __table_args__ = (
        UniqueConstraint("event_id", "contact_id"),
        CheckConstraint(f"answer IN {ANSWERS}", name="answer"),
    )

    id: Mapped[PrimaryKey]
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"))
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    answer: Mapped[str] = mapped_column(String(5))
    answered_at: Mapped[Timestamp]


class RsvpCount(Base):
    """The number of one answer to one call, among contacts whose own answers are deleted by now."""

    __tablename__ = "heard_from"

    event_id: Mapped[int] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), primary_key=True)
    answer: Mapped[str] = mapped_column(String(5), primary_key=True)
    number: Mapped[int]


@dataclass(frozen=True, kw_only=True)
class InviteeCount:
    """The number of contacts who would be invited now, by language, and who would not, by reason."""

    languages: Mapping[str, int]
    exclusions: Mapping[str, int]

    @property
    def total(self) -> int:
        """Return the number of contacts who would be invited."""
        return sum(self.languages.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class Invitations:
    """The source of the kind `invitation`.

    `organizer` is (name, address) of From; `discreet_wordings` is what discreet readers see of a call, per
    language; `secret` keys the UIDs in calendars.
    """

    editions: Editions
    links: Links
    secret: bytes = field(repr=False)
    organizer: tuple[str, str]
    discreet_wordings: Mapping[str, DiscreetWording]
    kinds: tuple[str, ...] = field(default=(KIND,), init=False)

    def invite(self, session: Session, event_id: int, *, now: datetime, actor: str) -> Event:
        """Open the invitations of a call to its whole audience, later members too, until it is over.

        A second call of this changes nothing. Raises NotFound, and Conflict for a call that is over or
        cancelled.
        """
        domain = domain_of(self.organizer[1])
        return events.open_invitations(session, event_id, domain=domain, now=now, actor=actor)

    def count_invitees(self, session: Session, event: Event, *, now: datetime) -> InviteeCount:
        """Count the contacts who would be invited at `now`, by language, and the others, by reason."""
        purpose = _purpose(event)
        reason_column = case(
            (self._is_own_address(), literal(Reason.OWN_ADDRESS.value, String)),
            (_is_invited(event), literal(Reason.ALREADY_INVITED.value, String)),
            else_=refusal_reason(purpose, now=now),
        ).label("reason")
        invitees = select(Contact.language, reason_column).select_from(join_subscriptions(purpose)).subquery()
        query = select(invitees.c.language, invitees.c.reason, func.count())
        languages: dict[str, int] = {}
        exclusions: dict[str, int] = {}
        for language, reason, number in session.execute(
            query.group_by(invitees.c.language, invitees.c.reason)
        ):
            if reason is None:
                languages[language] = number
            else:
                exclusions[reason] = exclusions.get(reason, 0) + number
        return InviteeCount(languages=languages, exclusions=exclusions)

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Invite the next batch of each open call's audience."""
        new = 0
        for event in _list_open_events(session, now):
            if new < limit and not _is_resting(event, now):
                new += self._invite_batch(session, event, now=now, limit=limit, quota=limit - new)
        return new

    def compose(
        self, session: Session, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Return each invitation's time in words, links and calendar entry, or the reason to refuse it."""
        calls = events.find_by_ids(session, [message.entry.ref for message in messages])
        return {
            message.entry.id: self._build_content(calls.get(message.entry.ref), message, now=now)
            for message in messages
        }

    def build_content(
        self, event: Event, message: AddressedMessage, *, now: datetime
    ) -> MessageContent | Refusal:
        """Return the content of an invitation to this call for one reader, or the reason to refuse it."""
        return self._build_content(event, message, now=now)

    def build_key(self, event: Event, contact_id: int) -> str:
        """Return the key of the invitation of one contact to this call."""
        return f"{_key_prefix(event)}{contact_id}"

    def settle(self, session: Session, results: Sequence[Result], *, now: datetime) -> None:
        """Do nothing: only a reader's answer changes anything."""

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Return `now` while a contact waits to be invited, else when the next pause of an invitee ends."""
        moments: list[datetime] = []
        for event in _list_open_events(session, now):
            if _is_resting(event, now):
                continue
            is_long_pass = event.invited_up_to or event.next_pass_at is not None
            if is_long_pass or session.scalar(self._select_uninvited(event, now=now).limit(1)) is not None:
                return now
            pause_ends = select(func.min(Subscription.paused_until)).where(
                Subscription.list == event.audience,
                Subscription.state == "confirmed",
                Subscription.paused_until > now,
                Subscription.paused_until < event.ends_at,
            )
            next_pause_end = session.scalar(pause_ends)
            moments += [next_pause_end] if next_pause_end is not None else []
        return min(moments, default=None)

    def _invite_batch(self, session: Session, event: Event, *, now: datetime, limit: int, quota: int) -> int:
        """Process the next `limit` contacts, invite at most `quota` of them; after a long pass, rest."""
        batch = (
            self._select_audience(event, now=now).order_by(Subscription.contact_id).limit(limit).subquery()
        )
        size, last = session.execute(select(func.count(), func.max(batch.c.contact_id))).one()
        new = 0
        if size:
            uninvited = self._select_uninvited(event, now=now).where(Subscription.contact_id <= last)
            new = self._enqueue(session, event, uninvited.limit(quota), now=now)
        if new == quota < limit:
            return new  # another call used most of the limit: continue from the same position
        if size == limit:
            event.invited_up_to = last
        elif event.invited_up_to:
            event.invited_up_to = 0
            event.next_pass_at = now + REST_BETWEEN_PASSES
        session.flush()
        return new

    def _enqueue(
        self, session: Session, event: Event, recipients: Select[*tuple[Any, ...]], *, now: datetime
    ) -> int:
        if session.execute(recipients.limit(1)).first() is None:
            return 0  # nearly always: most ticks find no new contact
        return outbox.fill(
            session,
            recipients,
            kind=KIND,
            list=event.audience,
            edition_id=self.editions.freeze_current(session, TEMPLATE, KIND, now=now),
            now=now,
            expires_at=min(event.ends_at, now + POLICY[KIND].expires_after),
        )

    def _select_audience(self, event: Event, *, now: datetime) -> Select[*tuple[Any, ...]]:
        """Select the contacts ahead of this pass who may be written to.

        The subscription's own contact number lets an index over (list, contact) return a batch in order.
        """
        purpose = _purpose(event)
        columns = (
            Contact.id.label("contact_id"),
            _key(event).label("key"),
            literal(event.id, Id).label("ref"),
        )
        conditions = (
            Subscription.contact_id > event.invited_up_to,
            is_allowed(purpose, now=now),
            ~self._is_own_address(),
        )
        selection: Select[*tuple[Any, ...]] = (
            select(*columns).select_from(join_subscriptions(purpose)).where(*conditions)
        )
        return selection

    def _select_uninvited(self, event: Event, *, now: datetime) -> Select[*tuple[Any, ...]]:
        return self._select_audience(event, now=now).where(~_is_invited(event))

    def _is_own_address(self) -> ColumnElement[bool]:
        return Contact.email_key == self.organizer[1].casefold()

    def _build_content(
        self, event: Event | None, message: AddressedMessage, *, now: datetime
    ) -> MessageContent | Refusal:
        entry, recipient = message.entry, message.recipient
        if event is None or event.is_over(now):
            return Refusal(state="cancelled", reason=Reason.CALL_OVER)
        if entry.key != f"{_key_prefix(event)}{entry.contact_id}":
            return Refusal(state="cancelled", reason=Reason.NEWER_INVITATION)
        language = recipient.language
        time_options = {
            "zone": event.zone,
            "language": language,
            "reader_zone": recipient.zone,
            "city": recipient.city,
        }
        in_words = local_time.format_for_reader(event.starts_at, **time_options)
        rsvp_links = {
            f"rsvp_{answer}_url": self.links.rsvp_url(event.id, recipient.id, answer=answer)
            for answer in ANSWERS
        }
        if recipient.email.casefold() == self.organizer[1].casefold():
            return Refusal(state="cancelled", reason=Reason.OWN_ADDRESS)
        try:
            calendar = icalendar.build_request(self._calendar_invitation(event, entry, recipient, in_words))
        except BadInput as error:
            return Refusal(state="held", reason=Reason.OUR_FAULT, detail=f"it cannot be written: {error}")
        fields = {
            "event_title": event.title_in(language),
            "event_when": in_words,
            "event_note": clock_change.describe_clock_change(
                event.starts_at, sent_at=entry.queued_at, **time_options
            ),
            "event_minutes": str(event.minutes),
            "join_url": event.join_url,
            **rsvp_links,
        }
        return MessageContent(fields=fields, calendar=calendar)

    def _calendar_invitation(
        self, event: Event, entry: Entry, recipient: Recipient, in_words: str
    ) -> icalendar.CalendarInvitation:
        join_line = f"{JOIN_LABEL.get(recipient.language, JOIN_LABEL['en'])}: {event.join_url}"
        wording = self.discreet_wordings[recipient.language] if recipient.discreet else None
        parts = ["" if wording else event.description_in(recipient.language), in_words, join_line]
        return icalendar.CalendarInvitation(
            uid=icalendar.build_uid(event.id, recipient.id, secret=self.secret, domain=event.uid_domain),
            sequence=event.sequence,
            stamp=entry.queued_at,  # of the row, so a resend is the same entry
            modified=event.changed_at,
            starts=event.starts_at,
            ends=event.ends_at,
            title=wording.event_title if wording else event.title_in(recipient.language),
            description="\n\n".join(part for part in parts if part),
            url=event.join_url,
            organizer=(wording.sender, self.organizer[1]) if wording else self.organizer,
            attendee=(recipient.name, recipient.email),
        )


def record_answer(session: Session, *, event_id: int, contact_id: int, answer: str, now: datetime) -> Rsvp:
    """Store a contact's answer: "yes", "maybe" or "no"; the latest answer is the one that counts.

    The same answer twice is one answer. Raises BadInput for any other word, NotFound when the call or the
    contact does not exist, and Conflict, in the contact's language, when the call is over or cancelled.
    """
    if answer not in ANSWERS:
        raise BadInput("An answer is yes, maybe or no.")
    event = events.find(session, event_id)
    contact = session.get(Contact, contact_id)
    if event is None or contact is None:
        raise NotFound("This invitation is no longer here, so it cannot be answered.")
    if event.is_over(now):
        sentences = CALL_IS_CANCELLED if event.status == "cancelled" else CALL_IS_OVER
        raise Conflict(sentences.get(contact.language, sentences["en"]))
    is_answer = (Rsvp.event_id == event_id) & (Rsvp.contact_id == contact_id)
    values = {"event_id": event_id, "contact_id": contact_id, "answer": answer, "answered_at": now}
    if not insert_or_nothing(session, Rsvp, [values]):
        session.execute(
            update(Rsvp)
            .where(is_answer, Rsvp.answered_at <= now)
            .values(answer=answer, answered_at=now)
            .execution_options(synchronize_session=False)
        )
    return session.scalars(select(Rsvp).where(is_answer).execution_options(populate_existing=True)).one()


def get_answer(session: Session, *, event_id: int, contact_id: int) -> str | None:
    """Return this contact's latest answer to this call, or None."""
    query = select(Rsvp.answer).where(Rsvp.event_id == event_id, Rsvp.contact_id == contact_id)
    return session.scalar(query)


def count_answers(session: Session, event_id: int) -> dict[str, int]:
    """Return the number of answers yes, maybe and no to this call."""
    stored = select(Rsvp.answer, func.count()).where(Rsvp.event_id == event_id).group_by(Rsvp.answer)
    deleted = select(RsvpCount.answer, RsvpCount.number).where(RsvpCount.event_id == event_id)
    counts = dict.fromkeys(ANSWERS, 0)
    for answer, number in [*session.execute(stored), *session.execute(deleted)]:
        counts[answer] += number
    return counts


def _list_open_events(session: Session, now: datetime) -> Sequence[Event]:
    return [event for event in events.list_upcoming(session, now=now) if event.invited_at is not None]


def _is_resting(event: Event, now: datetime) -> bool:
    return event.next_pass_at is not None and now < event.next_pass_at


def _purpose(event: Event) -> Purpose:
    return POLICY[KIND].purpose(event.audience)


def _key_prefix(event: Event) -> str:
    return f"invitation/{event.id}/{event.sequence}/contact/"


def _key(event: Event) -> ColumnElement[str]:
    return literal(_key_prefix(event), String) + cast(Contact.id, String)


def _is_invited(event: Event) -> ColumnElement[bool]:
    return exists().where(OutboxRow.key == _key(event)).correlate(Contact)
