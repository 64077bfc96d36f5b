"""Broadcasts: an update that staff wrote once, to every contact who may get it when it is filled.

The wording is frozen as an edition when a broadcast is created: staff's preview is exactly what is sent.
Filling continues from a cursor that moves in the same transaction as the rows, so a stop in the middle
neither loses nor repeats a recipient.

A recall changes one row, so it takes effect at once, however many messages wait: the recall is checked when a
message is composed, and no attempt begins later than a second after that. Waiting messages are cancelled in
batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    String,
    bindparam,
    cast,
    exists,
    func,
    literal,
    select,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import audit, catalog
from lists.catalog import MailingList
from lists.contacts import Contact
from lists.db import Base, Id, PrimaryKey, Timestamp, UtcDateTime
from lists.errors import BadInput, NotFound
from lists.permission import is_allowed, join_subscriptions, refusal_reason
from lists.subscriptions import Subscription
from mailer.compose.source import AddressedMessage, MessageContent, Refusal
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow, Result
from mailer.policy import LIST_MAIL_KINDS, POLICY
from mailer.reasons import Reason

DEAD_LINKS = "dead-links"  # of a list: the recipients of its mail while its links to leave were refused
SEGMENTS = (DEAD_LINKS,)
DELIVERED_STATES = (
    "sent",
    "unknown",
    "bounced",
    "complained",
)  # states of a message that its recipient may have read
WITHDRAW_BATCH = 2_000  # messages at once: a sign-up waits no longer for it than for a batch of `fill`


class Broadcast(Base):
    """One update: its frozen edition, its audience, the progress of filling, and when it was recalled.

    `segment` is the part of the audience that gets it, one of SEGMENTS, or "" for all of it.
    """

    __tablename__ = "broadcasts"
    __table_args__ = (
        CheckConstraint("state IN ('filling', 'filled', 'recalled')", name="state"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[PrimaryKey]
    subject: Mapped[str] = mapped_column(String(300))
    audience: Mapped[str] = mapped_column(String(40))
    segment: Mapped[str] = mapped_column(String(20), default="", server_default="")
    edition_id: Mapped[int] = mapped_column(ForeignKey("editions.id"))
    state: Mapped[str] = mapped_column(String(8), default="filling", index=True)
    cursor: Mapped[int] = mapped_column(Id, default=0)
    created_at: Mapped[Timestamp]
    filled_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    recalled_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


# Built once, because it runs for every few messages.
_SELECT_RECALLED = select(Broadcast.id).where(
    Broadcast.id.in_(bindparam("broadcast_ids", expanding=True)), Broadcast.state == "recalled"
)


@dataclass(frozen=True, kw_only=True)
class RecipientCount:
    """The number of contacts who would get an update now, by language, and who would not, by reason."""

    languages: Mapping[str, int]
    exclusions: Mapping[str, int]

    @property
    def total(self) -> int:
        """Return the number of contacts who would get it."""
        return sum(self.languages.values())


@dataclass(frozen=True, kw_only=True)
class Broadcasts:
    """The source of the kind `broadcast`."""

    kinds: tuple[str, ...] = field(default=("broadcast",), init=False)

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Insert the next batch of the oldest unfinished broadcast into the outbox."""
        unfinished = select(Broadcast).where(Broadcast.state == "filling").order_by(Broadcast.id).limit(1)
        broadcast = session.scalars(unfinished.with_for_update()).one_or_none()
        return 0 if broadcast is None else self.fill_batch(session, broadcast, now=now, limit=limit)

    def fill_batch(self, session: Session, broadcast: Broadcast, *, now: datetime, limit: int) -> int:
        """Insert messages for one batch of at most `limit` recipients and move the cursor past them."""
        purpose = POLICY["broadcast"].purpose(broadcast.audience)
        key = literal(f"broadcast/{broadcast.id}/contact/", String)
        remaining = (
            select(
                Subscription.contact_id.label("contact_id"),
                (key + cast(Subscription.contact_id, String)).label("key"),
                literal(broadcast.id, Id).label("ref"),
            )
            .select_from(join_subscriptions(purpose))
            .where(Subscription.contact_id > broadcast.cursor, is_allowed(purpose, now=now))
            .where(*_segment_conditions(broadcast.segment, broadcast.audience))
        )
        batch = remaining.order_by(Subscription.contact_id).limit(limit).subquery()
        last = session.scalar(select(func.max(batch.c.contact_id)))
        if last is None:
            broadcast.state = "filled"
            broadcast.filled_at = now
            session.flush()
            return 0
        new = outbox.fill(
            session,
            # Not by the same limit again: a contact who returned since would displace one of the batch.
            remaining.where(Subscription.contact_id <= last),
            kind="broadcast",
            list=broadcast.audience,
            edition_id=broadcast.edition_id,
            now=now,
        )
        broadcast.cursor = last
        session.flush()
        return new

    def compose(
        self, session: Session, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Add nothing, as the text is frozen in the edition; refuse messages of recalled broadcasts."""
        refs = {message.entry.ref for message in messages}
        recalled = set(session.scalars(_SELECT_RECALLED, {"broadcast_ids": sorted(refs)}))
        refusal, content = Refusal(state="cancelled", reason=Reason.RECALLED), MessageContent()
        return {
            message.entry.id: refusal if message.entry.ref in recalled else content for message in messages
        }

    def settle(self, session: Session, results: Sequence[Result], *, now: datetime) -> None:
        """Do nothing: the counts of the outbox are the broadcast's state."""

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Return `now` while a broadcast is being filled, else None."""
        filling = session.scalar(select(Broadcast.id).where(Broadcast.state == "filling").limit(1))
        return None if filling is None else now


def count_recipients(session: Session, *, audience: str, now: datetime, segment: str = "") -> RecipientCount:
    """Count the contacts who would get an update at `now`, by language, and the others, by reason."""
    purpose = POLICY["broadcast"].purpose(audience)
    reason_column = refusal_reason(purpose, now=now).label("reason")
    conditions = _segment_conditions(segment, audience)
    subscribers = (
        select(Contact.language, reason_column)
        .select_from(join_subscriptions(purpose))
        .where(*conditions)
        .subquery()
    )
    rows = session.execute(
        select(subscribers.c.language, subscribers.c.reason, func.count()).group_by(
            subscribers.c.language, subscribers.c.reason
        )
    )
    languages: dict[str, int] = {}
    exclusions: dict[str, int] = {}
    for language, reason, number in rows:
        if reason is None:
            languages[language] = number
        else:
            exclusions[reason] = exclusions.get(reason, 0) + number
    return RecipientCount(languages=languages, exclusions=exclusions)


def list_recipients(session: Session, *, audience: str, segment: str, now: datetime) -> Sequence[str]:
    """Return the addresses of the contacts who would get an update to this audience at `now`, in order."""
    purpose = POLICY["broadcast"].purpose(audience)
    addresses = (
        select(Contact.email).select_from(join_subscriptions(purpose)).where(is_allowed(purpose, now=now))
    )
    return session.scalars(
        addresses.where(*_segment_conditions(segment, audience)).order_by(Contact.email)
    ).all()


def check_segment(session: Session, *, audience: str, segment: str) -> None:
    """Raise BadInput for a segment that a list cannot have, because its links to leave always worked."""
    mailing_list = catalog.find(session, audience)
    if segment == DEAD_LINKS and (mailing_list is None or mailing_list.links_mended_at is None):
        raise BadInput(
            f"The links to leave the list {audience} have always worked, so nobody got one that did not."
        )


def _segment_conditions(segment: str, audience: str) -> Sequence[ColumnElement[bool]]:
    """Return the SQL conditions, over `join_subscriptions` of an audience, of membership in its segment."""
    if not segment:
        return ()
    assert segment == DEAD_LINKS, segment
    mended_at = select(MailingList.links_mended_at).where(MailingList.name == audience).scalar_subquery()
    has_received = exists().where(
        OutboxRow.contact_id == Contact.id,
        OutboxRow.list == audience,
        OutboxRow.kind.in_(LIST_MAIL_KINDS),
        OutboxRow.state.in_(DELIVERED_STATES),
        func.coalesce(OutboxRow.sent_at, OutboxRow.queued_at) < mended_at,
    )
    return (has_received.correlate(Contact),)


def create(
    session: Session,
    *,
    subject: str,
    audience: str,
    edition_id: int,
    now: datetime,
    actor: str,
    segment: str = "",
) -> Broadcast:
    """Create a broadcast, to be filled at once; lists of broadcasts show `subject`."""
    broadcast = Broadcast(
        subject=subject[:300],
        audience=audience,
        segment=segment,
        edition_id=edition_id,
        created_at=now,
        state="filling",
        cursor=0,
    )
    session.add(broadcast)
    session.flush()
    audit.record(session, actor=actor, action="broadcast send", subject=f"broadcast {broadcast.id}", now=now)
    return broadcast


def recall(session: Session, broadcast_id: int, *, now: datetime, actor: str) -> bool:
    """Stop an update for good; returns False where it was recalled before. Raises NotFound.

    No attempt of it begins later than a second after the commit; `withdraw` cancels waiting messages.
    """
    broadcast = get(session, broadcast_id)
    session.refresh(broadcast, with_for_update=True)  # waits for a batch that is being filled
    if broadcast.state == "recalled":
        return False
    broadcast.recalled_at = now
    broadcast.state = "recalled"
    session.flush()
    audit.record(
        session, actor=actor, action="broadcast recall", subject=f"broadcast {broadcast_id}", now=now
    )
    return True


def withdraw(session: Session, *, limit: int) -> int:
    """Cancel at most `limit` messages of recalled updates that wait in the outbox; returns how many."""
    # Few, and selected first: as a subquery they could make a database scan all waiting messages.
    recalled = session.scalars(select(Broadcast.id).where(Broadcast.state == "recalled")).all()
    if not recalled:
        return 0
    is_waiting = (OutboxRow.kind == "broadcast") & OutboxRow.ref.in_(recalled)
    return len(outbox.cancel(session, is_waiting, reason=Reason.RECALLED, limit=limit))


def get(session: Session, broadcast_id: int) -> Broadcast:
    """Return the broadcast of this number; raises NotFound."""
    broadcast = session.get(Broadcast, broadcast_id)
    if broadcast is None:
        raise NotFound(f"There is no broadcast number {broadcast_id}. “mailer broadcast list” shows them.")
    return broadcast


def list_all(session: Session) -> Sequence[Broadcast]:
    """Return every broadcast, the newest first."""
    return session.scalars(select(Broadcast).order_by(Broadcast.id.desc())).all()
