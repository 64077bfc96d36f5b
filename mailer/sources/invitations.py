"""Invitations: everyone of a call's audience is asked privately, and their answers are kept.

The audience of a call whose invitations are open is walked through by contact number, a batch at a time, so
that no web write waits long. The end of a walk is followed by another, which finds whoever joined, came back
or ended a pause meanwhile; the ledger's key passes over all who are invited already.
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
from mailer.outbox import held_messages, outbox
from mailer.outbox.outbox import Entry, OutboxRow, Result
from mailer.policy import POLICY
from mailer.templates import local_time
from mailer.templates.discreet import DiscreetWording

KIND = "invitation"
TEMPLATE = "invitation"
ANSWERS = ("yes", "maybe", "no")
REST_BETWEEN_PASSES = timedelta(
    minutes=15
)  # after a walk of more than one batch; a short one costs a few milliseconds

OWN_ADDRESS = "This is the address the invitations come from."
ALREADY_INVITED = "This contact is invited already."
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
    """What one contact answered to one call: the latest answer, however it came."""

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
    """How many gave one answer to one call, of those whose own answers are deleted by now."""

    __tablename__ = "heard_from"

    event_id: Mapped[int] = mapped_column(ForeignKey("events.id", ondelete="CASCADE"), primary_key=True)
    answer: Mapped[str] = mapped_column(String(5), primary_key=True)
    number: Mapped[int]


@dataclass(frozen=True, kw_only=True)
class InviteeCount:
    """Who would be invited now: by language, and how many would not, by reason."""

    languages: Mapping[str, int]
    exclusions: Mapping[str, int]

    @property
    def total(self) -> int:
        """Return how many people would be invited."""
        return sum(self.languages.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class Invitations:
    """The source of the kind `invitation`.

    `organizer` is (name, address) of From; `neutral` is what discreet readers see of a call, per language;
    `secret` keys the UIDs in calendars.
    """

    editions: Editions
    links: Links
    secret: bytes = field(repr=False)
    organizer: tuple[str, str]
    discreet_wordings: Mapping[str, DiscreetWording]
    kinds: tuple[str, ...] = field(default=(KIND,), init=False)

    def invite(self, session: Session, event_id: int, *, now: datetime, actor: str) -> Event:
        """Let everyone of the call's audience be invited, those who join later too, until it is over.

        Asking twice is asking once. Raises NotFound, and Conflict for a call that is over or cancelled.
        """
        domain = domain_of(self.organizer[1])
        return events.open_invitations(session, event_id, domain=domain, now=now, actor=actor)

    def count_invitees(self, session: Session, event: Event, *, now: datetime) -> InviteeCount:
        """Count who would be invited at `now` by language, and who would not by reason; changes nothing."""
        purpose = _purpose(event)
        why = case(
            (self._is_own_address(), literal(OWN_ADDRESS, String)),
            (_is_invited(event), literal(ALREADY_INVITED, String)),
            else_=refusal_reason(purpose, now=now),
        ).label("why")
        asked = select(Contact.language, why).select_from(join_subscriptions(purpose)).subquery()
        counted = select(asked.c.language, asked.c.why, func.count())
        languages: dict[str, int] = {}
        left_out: dict[str, int] = {}
        for language, reason, number in session.execute(counted.group_by(asked.c.language, asked.c.why)):
            if reason is None:
                languages[language] = number
            else:
                left_out[reason] = left_out.get(reason, 0) + number
        return InviteeCount(languages=languages, exclusions=left_out)

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Invite the next batch of each open call's audience."""
        new = 0
        for event in _list_open_events(session, now):
            if new < limit and not _is_resting(event, now):
                new += self._invite_batch(session, event, now=now, limit=limit, room=limit - new)
        return new

    def compose(
        self, session: Session, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Give each invitation its time in words, its links and its calendar entry, or say why it is late."""
        found = events.find_by_ids(session, [letter.entry.ref for letter in messages])
        return {
            letter.entry.id: self._build_content(found.get(letter.entry.ref), letter, now=now)
            for letter in messages
        }

    def build_content(
        self, event: Event, message: AddressedMessage, *, now: datetime
    ) -> MessageContent | Refusal:
        """Return what an invitation to this call says to one reader, or why there is none."""
        return self._build_content(event, message, now=now)

    def build_key(self, event: Event, contact_id: int) -> str:
        """Return the key of the invitation of one contact to this call."""
        return f"{_key_prefix(event)}{contact_id}"

    def settle(self, session: Session, results: Sequence[Result], *, now: datetime) -> None:
        """Nothing follows: what matters is the answer, or that none comes."""

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Now while somebody waits to be invited, else when the next pause of an invitee ends."""
        pauses: list[datetime] = []
        for event in _list_open_events(session, now):
            if _is_resting(event, now):
                continue
            long_walk = event.walked_to or event.rest_until is not None
            if long_walk or session.scalar(self._select_uninvited(event, now=now).limit(1)) is not None:
                return now
            ends = select(func.min(Subscription.paused_until)).where(
                Subscription.list == event.audience,
                Subscription.state == "confirmed",
                Subscription.paused_until > now,
                Subscription.paused_until < event.ends_at,
            )
            first = session.scalar(ends)
            pauses += [first] if first is not None else []
        return min(pauses, default=None)

    def _invite_batch(self, session: Session, event: Event, *, now: datetime, limit: int, room: int) -> int:
        """Look at the next `limit` people, invite at most `room`, move on; after a long walk, rest."""
        batch = (
            self._select_audience(event, now=now).order_by(Subscription.contact_id).limit(limit).subquery()
        )
        size, last = session.execute(select(func.count(), func.max(batch.c.contact_id))).one()
        new = 0
        if size:
            wanted = self._select_uninvited(event, now=now).where(Subscription.contact_id <= last)
            new = self._enqueue(session, event, wanted.limit(room), now=now)
        if new == room < limit:
            return new  # another call took most of the room: go on from the same place
        if size == limit:
            event.walked_to = last
        elif event.walked_to:
            event.walked_to = 0
            event.rest_until = now + REST_BETWEEN_PASSES
        session.flush()
        return new

    def _enqueue(
        self, session: Session, event: Event, recipients: Select[*tuple[Any, ...]], *, now: datetime
    ) -> int:
        if session.execute(recipients.limit(1)).first() is None:
            return 0  # nearly always: most ticks find nobody new
        return outbox.fill(
            session,
            recipients,
            kind=KIND,
            list=event.audience,
            edition_id=self.editions.get_current_id(session, TEMPLATE, KIND, now=now),
            now=now,
            expires_at=min(event.ends_at, now + POLICY[KIND].expires_after),
        )

    def _select_audience(self, event: Event, *, now: datetime) -> Select[*tuple[Any, ...]]:
        """Select, of those whom this walk has not passed yet, everyone who may be written to.

        The subscription's own contact number lets an index over (list, contact) give a batch in order.
        """
        purpose = _purpose(event)
        columns = (
            Contact.id.label("contact_id"),
            _key(event).label("key"),
            literal(event.id, Id).label("ref"),
        )
        may = (
            Subscription.contact_id > event.walked_to,
            is_allowed(purpose, now=now),
            ~self._is_own_address(),
        )
        selected: Select[*tuple[Any, ...]] = (
            select(*columns).select_from(join_subscriptions(purpose)).where(*may)
        )
        return selected

    def _select_uninvited(self, event: Event, *, now: datetime) -> Select[*tuple[Any, ...]]:
        return self._select_audience(event, now=now).where(~_is_invited(event))

    def _is_own_address(self) -> ColumnElement[bool]:
        return Contact.email_key == self.organizer[1].casefold()

    def _build_content(
        self, event: Event | None, message: AddressedMessage, *, now: datetime
    ) -> MessageContent | Refusal:
        entry, reader = message.entry, message.recipient
        if event is None or event.is_over(now):
            return Refusal(state="cancelled", why="the call is over or cancelled")
        if entry.key != f"{_key_prefix(event)}{entry.contact_id}":
            return Refusal(state="cancelled", why="a newer invitation to this call takes its place")
        language = reader.language
        when = {"zone": event.zone, "language": language, "reader_zone": reader.zone, "city": reader.city}
        in_words = local_time.format_for_reader(event.starts_at, **when)
        rsvp = {
            f"rsvp_{answer}_url": self.links.rsvp(event.id, reader.id, answer=answer) for answer in ANSWERS
        }
        if reader.email.casefold() == self.organizer[1].casefold():
            return Refusal(state="cancelled", why=OWN_ADDRESS)
        try:
            calendar = icalendar.build_request(self._calendar_invitation(event, entry, reader, in_words))
        except BadInput as trouble:
            return Refusal(state="held", why=f"{held_messages.OUR_FAULT}it cannot be written: {trouble}")
        fields = {
            "event_title": event.title_in(language),
            "event_when": in_words,
            "event_note": local_time.describe_clock_change(event.starts_at, sent_at=entry.queued_at, **when),
            "event_minutes": str(event.minutes),
            "join_url": event.join_url,
            **rsvp,
        }
        return MessageContent(fields=fields, calendar=calendar)

    def _calendar_invitation(
        self, event: Event, entry: Entry, recipient: Recipient, in_words: str
    ) -> icalendar.CalendarInvitation:
        to_join = f"{JOIN_LABEL.get(recipient.language, JOIN_LABEL['en'])}: {event.join_url}"
        neutral = self.discreet_wordings[recipient.language] if recipient.discreet else None
        parts = ["" if neutral else event.description_in(recipient.language), in_words, to_join]
        return icalendar.CalendarInvitation(
            uid=icalendar.build_uid(event.id, recipient.id, secret=self.secret, domain=event.uid_domain),
            sequence=event.sequence,
            stamp=entry.queued_at,  # of the row, so a resend is the same entry
            modified=event.changed_at,
            starts=event.starts_at,
            ends=event.ends_at,
            title=neutral.event_title if neutral else event.title_in(recipient.language),
            description="\n\n".join(part for part in parts if part),
            url=event.join_url,
            organizer=(neutral.sender, self.organizer[1]) if neutral else self.organizer,
            attendee=(recipient.name, recipient.email),
        )


def record_answer(session: Session, *, event_id: int, contact_id: int, answer: str, now: datetime) -> Rsvp:
    """Keep what somebody answered: "yes", "maybe" or "no"; the latest answer is the one that counts.

    The same answer twice is one answer. Raises BadInput for any other word, NotFound when the call or the
    contact is gone, and Conflict, in the contact's language, when the call is over or cancelled.
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
    mine = (Rsvp.event_id == event_id) & (Rsvp.contact_id == contact_id)
    first = {"event_id": event_id, "contact_id": contact_id, "answer": answer, "answered_at": now}
    if not insert_or_nothing(session, Rsvp, [first]):
        session.execute(
            update(Rsvp)
            .where(mine, Rsvp.answered_at <= now)
            .values(answer=answer, answered_at=now)
            .execution_options(synchronize_session=False)
        )
    return session.scalars(select(Rsvp).where(mine).execution_options(populate_existing=True)).one()


def get_answer(session: Session, *, event_id: int, contact_id: int) -> str | None:
    """Return what this contact answered to this call so far, or None."""
    asked = select(Rsvp.answer).where(Rsvp.event_id == event_id, Rsvp.contact_id == contact_id)
    return session.scalar(asked)


def count_answers(session: Session, event_id: int) -> dict[str, int]:
    """Return how many answered yes, maybe and no to this call."""
    counted = select(Rsvp.answer, func.count()).where(Rsvp.event_id == event_id).group_by(Rsvp.answer)
    earlier = select(RsvpCount.answer, RsvpCount.number).where(RsvpCount.event_id == event_id)
    found = dict.fromkeys(ANSWERS, 0)
    for answer, number in [*session.execute(counted), *session.execute(earlier)]:
        found[answer] += number
    return found


def _list_open_events(session: Session, now: datetime) -> Sequence[Event]:
    return [event for event in events.list_upcoming(session, now=now) if event.invited_at is not None]


def _is_resting(event: Event, now: datetime) -> bool:
    return event.rest_until is not None and now < event.rest_until


def _purpose(event: Event) -> Purpose:
    return POLICY[KIND].purpose(event.audience)


def _key_prefix(event: Event) -> str:
    return f"invitation/{event.id}/{event.sequence}/contact/"


def _key(event: Event) -> ColumnElement[str]:
    return literal(_key_prefix(event), String) + cast(Contact.id, String)


def _is_invited(event: Event) -> ColumnElement[bool]:
    return exists().where(OutboxRow.key == _key(event)).correlate(Contact)
