"""In doubt: messages whose arrival is unknown (RFC 1047), and the decisions of staff about them.

Where the kind's policy allows it, mailer/delivery/results.py sends such a message once more: the same row, so
the same bytes and Message-ID, by which many mailboxes drop the second. The others wait for staff, or a late
report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import ColumnElement, Update, case, func, select, update
from sqlalchemy.orm import Session

from lists.db import count_changed, materialize
from lists.errors import Conflict, NotFound
from mailer.outbox.outbox import ENTRY_COLUMNS, UNKNOWN, Entry, OutboxRow, Result, reason_values
from mailer.policy import POLICY
from mailer.reasons import Reason

Resolution = Literal["sent", "resend"]
AGES: Mapping[str, timedelta] = {
    "under an hour": timedelta(hours=1),
    "under a day": timedelta(days=1),
    "under a week": timedelta(days=7),
}
OLDER = "a week or more"
FROM_RESTORE = (OutboxRow.state == UNKNOWN, OutboxRow.reason == Reason.BEFORE_RESTORE)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The messages to decide about, by default all in doubt.

    `before`: queued before this moment; `broadcast` is the number of a broadcast.
    """

    kind: str | None = None
    broadcast: int | None = None
    before: datetime | None = None

    @property
    def condition(self) -> ColumnElement[bool]:
        """Return the SQL condition; it names every kind, because the index begins with the kind."""
        row, kinds = OutboxRow, set(POLICY)
        if self.kind is not None:
            kinds &= {self.kind}
        if self.broadcast is not None:
            kinds &= {"broadcast"}
        condition = row.kind.in_(sorted(kinds)) & (row.state == UNKNOWN)
        if self.broadcast is not None:
            condition &= row.ref == self.broadcast
        if self.before is not None:
            condition &= row.queued_at < self.before
        return condition


def count_unresolved(
    session: Session, selection: Selection, *, now: datetime
) -> Sequence[Mapping[str, object]]:
    """Count the messages in doubt by `kind`, `reason` and `age`, the time since they were queued."""
    ages = [(OutboxRow.queued_at > now - length, age) for age, length in AGES.items()]
    age = case(*ages, else_=OLDER)
    columns = (OutboxRow.kind, OutboxRow.reason, age.label("age"))
    rows = session.execute(
        select(*columns, func.count().label("number")).where(selection.condition).group_by(*columns)
    )
    order = [*AGES, OLDER]
    return sorted(
        (dict(row._mapping) for row in rows),
        key=lambda row: (row["kind"], row["reason"], order.index(row["age"])),
    )


def resolve_some(
    session: Session, selection: Selection, resolution: Resolution, *, now: datetime, limit: int
) -> int:
    """Decide about at most `limit` messages; returns how many, 0 when none remains.

    A message that is sent once more is composed again, so a recipient who left meanwhile does not get it.
    """
    row_ids = materialize(
        select(OutboxRow.id).where(selection.condition).limit(limit).with_for_update(skip_locked=True)
    )
    statement = update(OutboxRow).where(OutboxRow.id.in_(row_ids), OutboxRow.state == UNKNOWN)
    resolution_statement = _apply_resolution(statement, resolution, now=now).returning(
        OutboxRow.id
    )  # SQLite counts no rows after a WITH
    return len(session.scalars(resolution_statement.execution_options(synchronize_session=False)).all())


def resolve(session: Session, row_id: int, resolution: Resolution, *, now: datetime) -> None:
    """Decide about one row: it was sent after all, or it is sent once more.

    Raises NotFound, and Conflict for a row that does not wait for a decision.
    """
    row = session.get(OutboxRow, row_id)
    if row is None:
        raise NotFound(f"There is no message number {row_id} in the outbox.")
    statement = update(OutboxRow).where(OutboxRow.id == row_id, OutboxRow.state == "unknown")
    if not count_changed(session, _apply_resolution(statement, resolution, now=now)):
        raise Conflict(f"Message {row_id} is {row.state}; only an unknown one waits for a decision.")


def mark_unknown(session: Session, *, limit: int) -> Sequence[Result]:
    """Mark waiting rows of a restored database as unknown: the lost machine may have sent them.

    Marks at most `limit` rows; returns a result for each, for the sources to settle.
    """
    query = select(OutboxRow.id).where(OutboxRow.state.in_(("queued", "sending", "held"))).limit(limit)
    rows = session.execute(
        update(OutboxRow)
        .where(OutboxRow.id.in_(materialize(query)))
        .values(state="unknown", **reason_values(Reason.BEFORE_RESTORE), worker=None, lease_until=None)
        .returning(*ENTRY_COLUMNS)
        .execution_options(synchronize_session=False)
    ).all()
    entries = sorted((Entry(**row._mapping) for row in rows), key=lambda entry: entry.id)
    return [Result(entry=entry, state="unknown", reason=Reason.BEFORE_RESTORE) for entry in entries]


def count_restored(session: Session) -> int:
    """Count the messages in doubt that a lost machine may have sent."""
    return session.scalar(select(func.count()).select_from(OutboxRow).where(*FROM_RESTORE)) or 0


def resolve_restored(session: Session, resolution: Resolution, *, now: datetime) -> int:
    """Decide about all messages that a lost machine may have sent; returns how many."""
    return count_changed(
        session, _apply_resolution(update(OutboxRow).where(*FROM_RESTORE), resolution, now=now)
    )


def _apply_resolution(statement: Update, resolution: Resolution, *, now: datetime) -> Update:
    if resolution == "sent":
        return statement.values(state="sent", **reason_values(Reason.STAFF_SENT), sent_at=now, worker=None)
    return statement.values(state="queued", **reason_values(Reason.STAFF_RESEND), due_at=now, worker=None)
