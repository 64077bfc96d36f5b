"""Subscription: a contact on a list, pending → confirmed → left.

```
(none) ─ask→ pending ─confirm→ confirmed
               │                 │
               │ ↑               │
               │ └─ new address ─┤
               └────── leave ────┴→ left ─ask→ pending
```
`round` counts how often the contact left: a confirmation link contains the round it was made for, so an old
link cannot confirm a subscription that was left since. Each change to confirmed or left is also written to a
small queue, which the sequences read, so that code that changes a subscription does not depend on them.
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

from lists import departures, imports, list_exclusions
from lists.contacts import Contact
from lists.db import Base, Id, PrimaryKey, Timestamp, UtcDateTime, insert_or_nothing, materialize
from lists.departures import DepartureRecord

PENDING: ColumnElement[str] = literal_column("'pending'")  # a constant, so that the partial index is used
REFRESH_OPTIONS = {"populate_existing": True}  # read the row again, even when the session has it


class Subscription(Base):
    """One contact on one list; `mailed_at` is when the request to confirm was sent, None before.

    `arrival_id` is the import that added it; it does not count until that import is finished.
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
        Index("ix_subscriptions_list", "list", "contact_id"),  # jobs read a list by contact, batch by batch
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
    """A subscription that became confirmed or left and that the sequences have not processed yet."""

    __tablename__ = "subscription_changes"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[PrimaryKey]
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    list: Mapped[str] = mapped_column(String(40))


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The result of confirming: the contact, the list, and whether this call changed anything.

    `is_reconfirmation`: the subscription was confirmed before, and this call confirmed a new address.
    """

    contact_id: int
    list: str
    changed: bool
    is_reconfirmation: bool = False


def find(session: Session, *, contact_id: int, list: str) -> Subscription | None:
    """Return the subscription of a contact to a list, or None."""
    parameters = {"contact": contact_id, "list_name": list}
    return session.scalars(_FIND, parameters, execution_options=REFRESH_OPTIONS).one_or_none()


def list_for_contact(session: Session, contact_id: int) -> Sequence[Subscription]:
    """Return every subscription of a contact, by list name."""
    query = select(Subscription).where(Subscription.contact_id == contact_id)
    return session.scalars(query.order_by(Subscription.list)).all()


def list_for_contacts(session: Session, contact_ids: Sequence[int]) -> Mapping[int, Sequence[Subscription]]:
    """Return the subscriptions of each of these contacts that has any, by list name."""
    subscriptions_by_contact: dict[int, list[Subscription]] = {}
    query = select(Subscription).where(Subscription.contact_id.in_(contact_ids))
    for row in session.scalars(query.order_by(Subscription.list)):
        subscriptions_by_contact.setdefault(row.contact_id, []).append(row)
    return subscriptions_by_contact


def find_by_token(session: Session, *, subscription_id: int, round: int) -> Subscription | None:
    """Return the subscription of a confirmation link, or None when its round is over."""
    subscription = session.get(Subscription, subscription_id, execution_options=REFRESH_OPTIONS)
    if subscription is None or subscription.round != round or subscription.state == "left":
        return None
    return subscription


def ask(session: Session, *, contact_id: int, list: str, now: datetime) -> Subscription:
    """Record a request to join: a confirmed subscription stays confirmed, every other becomes pending.

    The caller sends the request to confirm at once.
    """
    request = {"state": "pending", "asked_at": now, "mailed_at": now}
    insert_or_nothing(
        session, Subscription, [{"contact_id": contact_id, "list": list, "round": 0, **request}]
    )
    session.execute(_ASK_AGAIN, {"contact": contact_id, "list_name": list, "moment": now})
    subscription = find(session, contact_id=contact_id, list=list)
    assert subscription is not None
    return subscription


def confirm(session: Session, *, subscription_id: int, round: int, now: datetime) -> Confirmation | None:
    """Change pending to confirmed; returns None when the link's round is over, so leaving always wins.

    Confirming twice is one confirmation: the second has `changed=False`.
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
    subscription = find_by_token(session, subscription_id=subscription_id, round=round)
    if subscription is None:
        return None
    return Confirmation(contact_id=subscription.contact_id, list=subscription.list, changed=False)


def leave(session: Session, *, contact_id: int, now: datetime, list: str | None = None) -> Sequence[str]:
    """Leave one list, or every list when none is named; returns the names of the lists left by this call."""
    statement = update(Subscription).where(
        Subscription.contact_id == contact_id, Subscription.state != "left"
    )
    if list is not None:
        statement = statement.where(Subscription.list == list)
    names = session.scalars(
        statement.values(state="left", left_at=now, paused_until=None, round=Subscription.round + 1)
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
    """Record that a contact without a subscription left a list whose mail they got.

    Their import was undone after mail had been sent: no other file may subscribe them to the list again.
    """
    digest = session.scalar(select(Contact.email_digest).where(Contact.id == contact_id))
    if digest is not None:
        departures.record_leave(session, contact_id=contact_id, list=list, now=now)
        list_exclusions.record(
            session, [DepartureRecord(what=departures.LEFT, list=list, digest=digest, at=now)]
        )


def require_reconfirmation(session: Session, *, contact_id: int, now: datetime) -> None:
    """Move confirmed subscriptions to pending, because the contact has a new address.

    All other columns stay, so `list_for_reconfirmation` lists them, and `confirm` restores them as they were.
    """
    statement = update(Subscription).where(
        Subscription.contact_id == contact_id, Subscription.state == "confirmed"
    )
    session.execute(statement.values(state="pending", asked_at=now, mailed_at=None))


def list_for_reconfirmation(session: Session, contact_id: int) -> Sequence[Subscription]:
    """Return the pending subscriptions of a contact with a new address: confirmed before, not left since."""
    query = select(Subscription).where(Subscription.contact_id == contact_id, Subscription.state == "pending")
    query = query.where(Subscription.confirmed_at.is_not(None), Subscription.left_at.is_(None))
    return session.scalars(query.order_by(Subscription.list), execution_options=REFRESH_OPTIONS).all()


def mark_mailed(session: Session, *, contact_id: int, now: datetime) -> None:
    """Record that the request to confirm is sent now for every pending subscription of this contact."""
    statement = update(Subscription).where(
        Subscription.contact_id == contact_id, Subscription.state == "pending"
    )
    session.execute(statement.values(mailed_at=now))


def pause(session: Session, *, contact_id: int, until: datetime | None) -> None:
    """Pause the mail of every list to this contact until `until`; None ends a pause."""
    statement = update(Subscription).where(
        Subscription.contact_id == contact_id, Subscription.state == "confirmed"
    )
    session.execute(statement.values(paused_until=until))


def is_arriving() -> ColumnElement[bool]:
    """Return the SQL condition that a subscription belongs to an unfinished import."""
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
    """Subscribe many contacts at once, except those who ever had a subscription; returns how many.

    Those of an import count when it is finished; then `queue_changes` adds them to the queue of the
    sequences.
    """
    if not contact_ids:
        return 0
    state = {"state": "confirmed", "confirmed_at": now} if confirmed else {"state": "pending"}
    rows = [
        {
            "contact_id": contact_id,
            "list": list,
            "round": 0,
            "asked_at": now,
            "arrival_id": import_id,
            **state,
        }
        for contact_id in contact_ids
    ]
    number = insert_or_nothing(session, Subscription, rows)
    if confirmed and import_id is None:
        insert_or_nothing(
            session,
            SubscriptionChange,
            [{"contact_id": contact_id, "list": list} for contact_id in contact_ids],
        )
    return number


def queue_changes(session: Session, *, import_id: int, after: int, limit: int) -> int | None:
    """Queue a batch of an import's subscriptions for the sequences; returns the next `after`, or None."""
    rows = session.execute(
        select(Subscription.id, Subscription.contact_id, Subscription.list)
        .where(Subscription.id > after, Subscription.arrival_id == import_id)
        .where(Subscription.state == "confirmed")
        .order_by(Subscription.id)
        .limit(limit)
    ).all()
    changes = [{"contact_id": row.contact_id, "list": row.list} for row in rows]
    insert_or_nothing(session, SubscriptionChange, changes)
    return rows[-1].id if rows else None


def claim_unmailed(
    session: Session, candidates: Select[int], *, list: str, since: datetime, now: datetime, limit: int
) -> Sequence[int]:
    """Record the request to confirm as sent now for those subscribed after `since` who have none yet.

    `candidates` selects the numbers of contacts who may be written to. Returns up to `limit` numbers of
    contacts.
    """
    unmailed = (
        candidates.where(Subscription.list == list, Subscription.state == PENDING)
        .where(Subscription.mailed_at.is_(None), Subscription.asked_at > since)
        .limit(limit)
    )
    statement = update(Subscription).where(
        Subscription.list == list, Subscription.contact_id.in_(materialize(unmailed))
    )
    return session.scalars(
        statement.where(Subscription.mailed_at.is_(None))
        .values(mailed_at=now)
        .returning(Subscription.contact_id)
        .execution_options(synchronize_session=False)
    ).all()


def count_by_state(session: Session) -> dict[tuple[str, str], int]:
    """Return the number of subscriptions by (list, state)."""
    rows = session.execute(
        select(Subscription.list, Subscription.state, func.count())
        .where(~is_arriving())
        .group_by(Subscription.list, Subscription.state)
    )
    return {(list_name, state): number for list_name, state, number in rows}


def queue_contact(session: Session, *, contact_id: int) -> None:
    """Queue this contact for the sequences again, after they allowed mail that they had declined before."""
    for subscription in list_for_contact(session, contact_id):
        if subscription.state == "confirmed":
            _queue_change(session, contact_id=contact_id, list=subscription.list)


def _queue_change(session: Session, *, contact_id: int, list: str) -> None:
    session.add(SubscriptionChange(contact_id=contact_id, list=list))
    session.flush()


# Built once: building the statements takes most of the time of a sign-up.
_BY_CONTACT_AND_LIST = (
    Subscription.contact_id == bindparam("contact"),
    Subscription.list == bindparam("list_name"),
)
_FIND = select(Subscription).where(*_BY_CONTACT_AND_LIST)
_ASK_AGAIN = (
    update(Subscription)
    .where(*_BY_CONTACT_AND_LIST, or_(Subscription.state != "confirmed", is_arriving()))
    .values(state="pending", asked_at=bindparam("moment"), mailed_at=bindparam("moment"), arrival_id=None)
    .execution_options(synchronize_session=False)  # `ask` reads the row again
)
