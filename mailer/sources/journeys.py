"""Journeys: the progress of one contact through one sequence; the table that a tick reads.

```
waiting ─due→ sending ─sent, unknown, too late→ waiting (the next step) | done
   ├ goal reached → goal      ├ refused by their server → stopped
   ├ left, suppressed → left  └ cancelled → left
   └ paused → paused ─the pause is over→ waiting
```
A million idle journeys cost a tick a few look-ups: its index holds only the waiting ones, by zone and time.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Row,
    String,
    UniqueConstraint,
    exists,
    func,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import subscriptions, topic_optouts
from lists.contacts import Contact
from lists.db import (
    Base,
    PrimaryKey,
    Timestamp,
    UtcDateTime,
    count_changed,
    insert_or_nothing,
    materialize,
    partial_index,
)
from lists.subscriptions import Subscription
from mailer.policy import POLICY

STATES = ("waiting", "due", "paused", "sending", "done", "goal", "left", "stopped")
ENDED_STATES = ("done", "goal")  # after the last email of the sequence, or once its goal is reached
WAITING: ColumnElement[str] = literal_column("'waiting'")  # literals, so that the partial indexes apply
DUE: ColumnElement[str] = literal_column("'due'")
PAUSED: ColumnElement[str] = literal_column("'paused'")


class Journey(Base):
    """One contact in one sequence; `step` is the name of the next step."""

    __tablename__ = "journeys"
    __table_args__ = (
        UniqueConstraint("contact_id", "sequence"),
        CheckConstraint(f"state IN {STATES}", name="state"),
        partial_index("ix_journeys_waiting", "zone", "due_at", state="waiting"),
        partial_index("ix_journeys_due", "sequence", state="due"),
        partial_index("ix_journeys_paused", "sequence", state="paused"),
    )

    id: Mapped[PrimaryKey]
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"))
    sequence: Mapped[str] = mapped_column(String(40))
    step: Mapped[str] = mapped_column(String(40))
    zone: Mapped[str] = mapped_column(String(40))
    due_at: Mapped[Timestamp]
    state: Mapped[str] = mapped_column(String(8))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)


def start(
    session: Session,
    condition: ColumnElement[bool],
    *,
    sequence: str,
    list: str,
    step: str,
    default_zone: str,
    now: datetime,
) -> int:
    """Start a journey for every confirmed subscriber of `list` who fulfils `condition` and has none yet."""
    zone = func.coalesce(func.nullif(Contact.zone, ""), literal(default_zone))
    values: dict[str, ColumnElement[Any]] = {
        "contact_id": Contact.id.expression,
        "sequence": literal(sequence),
        "step": literal(step),
        "zone": zone,
        "due_at": literal(now, UtcDateTime),
        "state": WAITING,
        "started_at": literal(now, UtcDateTime),
    }
    members = select(*values.values()).join(Subscription, Subscription.contact_id == Contact.id)
    confirmed = members.where(
        Subscription.list == list, Subscription.state == "confirmed", ~subscriptions.is_arriving(), condition
    )
    return insert_or_nothing(session, Journey, confirmed, columns=tuple(values))


def find_state(session: Session, contact_id: int, sequence: str) -> str | None:
    """Return the state of a contact's journey, or None where it has not begun."""
    query = select(Journey.state).where(Journey.contact_id == contact_id, Journey.sequence == sequence)
    return session.scalar(query)


def resume(
    session: Session, condition: ColumnElement[bool], *, sequence: str, list: str, now: datetime
) -> int:
    """Resume the journeys of contacts who had left or opted out, and are confirmed and opted in again.

    A step that was sent before is not sent twice.
    """
    declined = topic_optouts.is_opted_out(POLICY["sequence"].topic, Subscription.contact_id.expression)
    returning = select(Subscription.contact_id).where(
        Subscription.list == list, Subscription.state == "confirmed", condition, ~declined
    )
    return change_state(
        session,
        Journey.sequence == sequence,
        Journey.state == "left",
        Journey.contact_id.in_(returning),
        to="waiting",
        due_at=now,
    )


def end_for_leavers(session: Session, condition: ColumnElement[bool], *, sequence: str, list: str) -> int:
    """End the journeys of contacts who left the list."""
    leavers = select(Subscription.contact_id).where(
        Subscription.list == list, Subscription.state == "left", condition
    )
    return change_state(
        session,
        Journey.state == WAITING,
        Journey.sequence == sequence,
        Journey.contact_id.in_(leavers),
        to="left",
    )


def change_zone(session: Session, contact_id: int, *, zone: str) -> None:
    """Change the time zone of this contact's journeys."""
    statement = update(Journey).where(Journey.contact_id == contact_id, Journey.zone != zone)
    session.execute(statement.values(zone=zone))


def end_pauses(session: Session, *, now: datetime, due_at: datetime | None = None) -> None:
    """Resume journeys whose pause is over; they are due at once, or since `due_at`."""
    is_paused = exists().where(Subscription.contact_id == Journey.contact_id, Subscription.paused_until > now)
    change_state(session, Journey.state == PAUSED, ~is_paused, to="waiting", due_at=due_at or now)


def find_next_pause_end(session: Session, *, now: datetime) -> datetime | None:
    """Return the earliest end, after `now`, of a pause that stops a journey, or None."""
    query = select(func.min(Subscription.paused_until)).join(
        Journey, Journey.contact_id == Subscription.contact_id
    )
    return session.scalar(query.where(Journey.state == PAUSED, Subscription.paused_until > now))


def mark_due(
    session: Session, *, sequence: str, step: str, zones: Sequence[str], now: datetime, limit: int
) -> int:
    """Mark up to `limit` waiting journeys of a step, due at `now` in these zones; returns how many."""
    if not zones:
        return 0
    ready = (
        select(Journey.id)
        .where(Journey.state == WAITING, Journey.zone.in_(zones), Journey.due_at <= now)
        .where(Journey.sequence == sequence, Journey.step == step)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(Journey).where(Journey.id.in_(materialize(ready))).values(state="due").returning(Journey.id)
    )
    # Counted, because SQLite's driver reports no number of rows for a statement WITH a selection.
    return len(session.scalars(statement.execution_options(synchronize_session=False)).all())


def change_state(session: Session, *where: ColumnElement[bool], to: str, **values: Any) -> int:
    """Change the state of the journeys that fulfil the conditions; returns how many."""
    return count_changed(session, update(Journey).where(*where).values(state=to, **values))


def list_waiting_zones(session: Session) -> Sequence[str]:
    """Return the zones with waiting journeys, by jumping from one to the next in the index."""
    smallest = select(func.min(Journey.zone).label("zone")).where(Journey.state == WAITING)
    zones = smallest.cte("zones", recursive=True)
    next_zone = (
        select(func.min(Journey.zone))
        .where(Journey.state == WAITING, Journey.zone > zones.c.zone)
        .scalar_subquery()
    )
    zones = zones.union_all(select(next_zone).where(zones.c.zone.is_not(None)))
    return session.scalars(select(zones.c.zone).where(zones.c.zone.is_not(None)).order_by(zones.c.zone)).all()


def list_earliest_due(session: Session) -> Sequence[Row[str, str, str, datetime]]:
    """Return, for each sequence, step and zone with waiting journeys, the earliest moment due."""
    return session.execute(
        select(Journey.sequence, Journey.step, Journey.zone, func.min(Journey.due_at, type_=UtcDateTime))
        .where(Journey.state == WAITING)
        .group_by(Journey.sequence, Journey.step, Journey.zone)
    ).all()


def count_by_step(session: Session, sequence: str) -> dict[tuple[str, str], int]:
    """Return the number of journeys of a sequence by (step, state)."""
    rows = session.execute(
        select(Journey.step, Journey.state, func.count())
        .where(Journey.sequence == sequence)
        .group_by(Journey.step, Journey.state)
    )
    return {(step, state): number for step, state, number in rows}
