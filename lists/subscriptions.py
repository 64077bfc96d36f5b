"""Subscription: a contact on a list, pending → confirmed → left.

```
(none) ─ask→ pending ─confirm→ confirmed
               │                 │
               │ ↑               │
               │ └─ new address ─┤
               └────── leave ────┴→ left ─ask→ pending
```
`round` counts the times somebody left: a confirmation link carries the round it was made for, so an old
link can never bring back a person who has left since. Each change to confirmed or left is also written to a
small queue, which the sequences read: whoever changes a subscription need not know who follows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    Select,
    String,
    UniqueConstraint,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import departures, imports
from lists.contacts import Contact
from lists.db import Base, Id, PrimaryKey, Timestamp, UtcDateTime, insert_or_nothing, materialize
from lists.departures import DepartureRecord

PENDING: ColumnElement[str] = literal_column("'pending'")  # a constant, so that the partial index serves
REFRESH_OPTIONS = {
    "populate_existing": True
}  # as it stands in the database now, whatever this session saw before


class Subscription(Base):
    """One contact on one list; `mailed_at` is when we wrote to ask for their yes, None while nobody has.

    `arrival_id` is the import that brought it; until all of that is here, it counts for nothing.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        UniqueConstraint("contact_id", "list"),
        CheckConstraint("state IN ('pending', 'confirmed', 'left')", name="state"),
        Index(
            "ix_subscriptions_unmailed",
            "list",
            "asked_at",
            sqlite_where=literal_column("state = 'pending' AND mailed_at IS NULL"),
            postgresql_where=literal_column("state = 'pending' AND mailed_at IS NULL"),
        ),
        Index("ix_subscriptions_list", "list", "contact_id"),  # a list is walked by contact, batch by batch
        {"sqlite_autoincrement": True},
    )

    id: Mapped[PrimaryKey]
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"))
    list: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(9), default="pending")
    round: Mapped[int] = mapped_column(default=0)
    asked_at: Mapped[Timestamp]
    mailed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    confirmed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    left_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    paused_until: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    arrival_id: Mapped[int | None] = mapped_column(Id, default=None)


class SubscriptionChange(Base):
    """A subscription that became confirmed or left, until the sequences have looked at it."""

    __tablename__ = "subscription_changes"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[PrimaryKey]
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    list: Mapped[str] = mapped_column(String(40))


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What confirming did: whose subscription to which list, and whether this call changed anything.

    `is_reconfirmation`: they were on the list before, and are again as they were, for what they confirmed is
    an address.
    """

    contact_id: int
    list: str
    changed: bool
    is_reconfirmation: bool = False


def find(session: Session, *, contact_id: int, list: str) -> Subscription | None:
    """Return the subscription of a contact to a list, or None."""
    named = {"contact": contact_id, "list_name": list}
    return session.scalars(_FIND, named, execution_options=REFRESH_OPTIONS).one_or_none()


def list_for_contact(session: Session, contact_id: int) -> Sequence[Subscription]:
    """Return every subscription of a contact, by list name."""
    wanted = select(Subscription).where(Subscription.contact_id == contact_id)
    return session.scalars(wanted.order_by(Subscription.list)).all()


def list_for_contacts(session: Session, contact_ids: Sequence[int]) -> Mapping[int, Sequence[Subscription]]:
    """Return the subscriptions of each of these contacts who has any, by list name."""
    found: dict[int, list[Subscription]] = {}
    wanted = select(Subscription).where(Subscription.contact_id.in_(contact_ids))
    for row in session.scalars(wanted.order_by(Subscription.list)):
        found.setdefault(row.contact_id, []).append(row)
    return found


def find_by_token(session: Session, *, subscription_id: int, round: int) -> Subscription | None:
    """Return the subscription that a confirmation link names, or None when its round is over."""
    subscription = session.get(Subscription, subscription_id, execution_options=REFRESH_OPTIONS)
    if subscription is None or subscription.round != round or subscription.state == "left":
        return None
    return subscription


def ask(session: Session, *, contact_id: int, list: str, now: datetime) -> Subscription:
    """Note that somebody asked to join: a confirmed subscription stays so, all else becomes pending.

    Whoever calls this writes to them at once.
    """
    asked = {"state": "pending", "asked_at": now, "mailed_at": now}
    insert_or_nothing(session, Subscription, [{"contact_id": contact_id, "list": list, "round": 0, **asked}])
    session.execute(_ASK_AGAIN, {"contact": contact_id, "list_name": list, "moment": now})
    subscription = find(session, contact_id=contact_id, list=list)
    assert subscription is not None
    return subscription


def confirm(session: Session, *, subscription_id: int, round: int, now: datetime) -> Confirmation | None:
    """Turn pending into confirmed; None when the link's round is over, so leaving always wins.

    Confirming twice is one confirmation: the second says `changed=False`.
    """
    changed = session.execute(
        update(Subscription)
        .where(
            Subscription.id == subscription_id, Subscription.round == round, Subscription.state == "pending"
        )
        .values(state="confirmed", confirmed_at=now, left_at=None)
        .returning(Subscription.contact_id, Subscription.list)
        .execution_options(synchronize_session="fetch")
    ).one_or_none()
    if changed is not None:
        _queue_change(session, contact_id=changed.contact_id, list=changed.list)
        return Confirmation(contact_id=changed.contact_id, list=changed.list, changed=True)
    standing = find_by_token(session, subscription_id=subscription_id, round=round)
    if standing is None:
        return None
    return Confirmation(contact_id=standing.contact_id, list=standing.list, changed=False)


def leave(session: Session, *, contact_id: int, now: datetime, list: str | None = None) -> Sequence[str]:
    """Leave one list, or every list when none is named; returns the names of those left just now."""
    gone = update(Subscription).where(Subscription.contact_id == contact_id, Subscription.state != "left")
    if list is not None:
        gone = gone.where(Subscription.list == list)
    names = session.scalars(
        gone.values(state="left", left_at=now, paused_until=None, round=Subscription.round + 1)
        .returning(Subscription.list)
        .execution_options(synchronize_session="fetch")
    ).all()
    for name in names:
        _queue_change(session, contact_id=contact_id, list=name)
        departures.record_leave(session, contact_id=contact_id, list=name, now=now)
    if list is not None and not names and find(session, contact_id=contact_id, list=list) is None:
        _exclude_from_imports(session, contact_id=contact_id, list=list, now=now)
    return sorted(names)


def _exclude_from_imports(session: Session, *, contact_id: int, list: str, now: datetime) -> None:
    """Remember that somebody left a list whose mail they got, while nothing says that they were on it.

    Their import was taken back after mail had left: no other file may bring them onto the list again.
    """
    digest = session.scalar(select(Contact.email_digest).where(Contact.id == contact_id))
    if digest is not None:
        departures.record_leave(session, contact_id=contact_id, list=list, now=now)
        departures.record_exclusions(
            session, [DepartureRecord(what=departures.LEFT, list=list, digest=digest, at=now)]
        )


def require_reconfirmation(session: Session, *, contact_id: int, now: datetime) -> None:
    """Let what is confirmed wait for a new yes, because the address of this contact is another one.

    Everything else of it stays, so `list_for_reconfirmation` lists it, and `confirm` brings it back as it
    was.
    """
    confirmed = update(Subscription).where(
        Subscription.contact_id == contact_id, Subscription.state == "confirmed"
    )
    session.execute(confirmed.values(state="pending", asked_at=now, mailed_at=None))


def list_for_reconfirmation(session: Session, contact_id: int) -> Sequence[Subscription]:
    """Return what was held back of a contact with a new address: confirmed before, and never left since."""
    was = select(Subscription).where(Subscription.contact_id == contact_id, Subscription.state == "pending")
    was = was.where(Subscription.confirmed_at.is_not(None), Subscription.left_at.is_(None))
    return session.scalars(was.order_by(Subscription.list), execution_options=REFRESH_OPTIONS).all()


def mark_mailed(session: Session, *, contact_id: int, now: datetime) -> None:
    """Note that this contact is written to now about every list that waits for a yes."""
    pending = update(Subscription).where(
        Subscription.contact_id == contact_id, Subscription.state == "pending"
    )
    session.execute(pending.values(mailed_at=now))


def pause(session: Session, *, contact_id: int, until: datetime | None) -> None:
    """Write nothing to this contact before `until` on any list; None ends a pause."""
    paused = update(Subscription).where(
        Subscription.contact_id == contact_id, Subscription.state == "confirmed"
    )
    session.execute(paused.values(paused_until=until))


def is_arriving() -> ColumnElement[bool]:
    """Return the SQL condition that a subscription came with an import that is not all here yet."""
    return imports.is_arriving(Subscription.arrival_id)


def add_all(
    session: Session,
    contact_ids: Sequence[int],
    *,
    list: str,
    now: datetime,
    confirmed: bool,
    import_id: int | None = None,
) -> int:
    """Subscribe many contacts at once, passing over all who ever had a subscription; returns how many.

    Those of an arrival count when all of it is here, and `queue_changes` then tells the sequences.
    """
    if not contact_ids:
        return 0
    state = {"state": "confirmed", "confirmed_at": now} if confirmed else {"state": "pending"}
    rows = [
        {
            "contact_id": contact,
            "list": list,
            "round": 0,
            "asked_at": now,
            "arrival_id": import_id,
            **state,
        }
        for contact in contact_ids
    ]
    added = insert_or_nothing(session, Subscription, rows)
    if confirmed and import_id is None:
        insert_or_nothing(
            session, SubscriptionChange, [{"contact_id": contact, "list": list} for contact in contact_ids]
        )
    return added


def queue_changes(session: Session, *, import_id: int, after: int, limit: int) -> int | None:
    """Let the sequences look at whom an arrival brought; returns where to go on, None at the end."""
    found = session.execute(
        select(Subscription.id, Subscription.contact_id, Subscription.list)
        .where(Subscription.id > after, Subscription.arrival_id == import_id)
        .where(Subscription.state == "confirmed")
        .order_by(Subscription.id)
        .limit(limit)
    ).all()
    changed = [{"contact_id": row.contact_id, "list": row.list} for row in found]
    insert_or_nothing(session, SubscriptionChange, changed)
    return found[-1].id if found else None


def claim_unmailed(
    session: Session, candidates: Select[int], *, list: str, since: datetime, now: datetime, limit: int
) -> Sequence[int]:
    """Note that we write now to those who were subscribed after `since` and whom nobody has asked for a yes.

    `candidates` selects contacts by number from what may be written to. Returns up to `limit` numbers of
    contacts.
    """
    unmailed = (
        candidates.where(Subscription.list == list, Subscription.state == PENDING)
        .where(Subscription.mailed_at.is_(None), Subscription.asked_at > since)
        .limit(limit)
    )
    taken = update(Subscription).where(
        Subscription.list == list, Subscription.contact_id.in_(materialize(unmailed))
    )
    return session.scalars(
        taken.where(Subscription.mailed_at.is_(None))
        .values(mailed_at=now)
        .returning(Subscription.contact_id)
        .execution_options(synchronize_session=False)
    ).all()


def count_by_state(session: Session) -> dict[tuple[str, str], int]:
    """Return how many subscriptions there are by (list, state)."""
    rows = session.execute(
        select(Subscription.list, Subscription.state, func.count())
        .where(~is_arriving())
        .group_by(Subscription.list, Subscription.state)
    )
    return {(list_name, state): number for list_name, state, number in rows}


def queue_contact(session: Session, *, contact_id: int) -> None:
    """Let the sequences look at this contact again, who wants mail they did not want before."""
    for subscription in list_for_contact(session, contact_id):
        if subscription.state == "confirmed":
            _queue_change(session, contact_id=contact_id, list=subscription.list)


def _queue_change(session: Session, *, contact_id: int, list: str) -> None:
    session.add(SubscriptionChange(contact_id=contact_id, list=list))
    session.flush()


# Made once: of a sign-up, making its statements anew is the larger part.
_BY_CONTACT_AND_LIST = (
    Subscription.contact_id == bindparam("contact"),
    Subscription.list == bindparam("list_name"),
)
_FIND = select(Subscription).where(*_BY_CONTACT_AND_LIST)
_ASK_AGAIN = (
    update(Subscription)
    .where(*_BY_CONTACT_AND_LIST, or_(Subscription.state != "confirmed", is_arriving()))
    .values(state="pending", asked_at=bindparam("moment"), mailed_at=bindparam("moment"), arrival_id=None)
    .execution_options(synchronize_session=False)  # whoever runs it reads the one row anew
)
