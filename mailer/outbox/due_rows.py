"""Due rows: which rows of the outbox are due, and the claims of workers on them.

A claim sets a row to `sending` until its lease ends, and increments its `attempt`.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Integer,
    and_,
    bindparam,
    func,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session

from lists.db import UtcDateTime, count_changed, materialize
from mailer.coordination import send_hold
from mailer.outbox.outbox import (
    ENTRY_COLUMNS,
    ENTRY_NAMES,
    IS_CLAIMED,
    IS_LOST,
    LEAST_URGENT,
    PRIORITIES,
    QUEUED,
    SENDING,
    Entry,
    OutboxRow,
)


def claim(
    session: Session, *, worker: str, limit: int, now: datetime, lease_until: datetime,
    least: int = LEAST_URGENT,
) -> Sequence[Entry]:  # fmt: skip
    """Claim up to `limit` due rows until `lease_until` (real), most urgent first, none after `least`."""
    if send_hold.find_unsettled(session) is not None:
        return []
    rows: list[Any] = []
    for priority in PRIORITIES[: PRIORITIES.index(least) + 1]:
        parameters = {"now": now, "room": limit - len(rows), "by": worker, "until": lease_until}
        due_rows = session.execute(_claim_statement(priority), parameters)
        rows += sorted(due_rows, key=lambda row: (row.due_at, row.id))
        if len(rows) == limit:
            break
    return [Entry(**dict(zip(ENTRY_NAMES, row, strict=False))) for row in rows]


def renew(session: Session, *, worker: str, lease_until: datetime) -> int:
    """Extend the lease of this worker's claims (machine time); returns the number of rows."""
    statement = update(OutboxRow).where(OutboxRow.state == SENDING, OutboxRow.worker == worker)
    return count_changed(session, statement.values(lease_until=lease_until))


def list_claimed_by(session: Session, worker: str) -> Sequence[Entry]:
    """Return every row that this worker holds, or held until it was declared lost, by row number."""
    is_owned = OutboxRow.worker == worker
    groups = [_select_entries(session, state, is_owned) for state in (IS_CLAIMED, IS_LOST)]
    return sorted((entry for group in groups for entry in group), key=lambda entry: entry.id)


def list_holders(session: Session) -> Mapping[str, datetime]:
    """Return each worker that holds rows, and when its lease ends."""
    query = select(OutboxRow.worker, func.max(OutboxRow.lease_until)).where(OutboxRow.state == SENDING)
    rows = session.execute(query.group_by(OutboxRow.worker))
    return {worker: until for worker, until in rows if worker and until}


def list_overdue(
    session: Session, *, real: datetime, limit: int, workers: Collection[str] | None = None
) -> Sequence[Entry]:
    """Return at most `limit` claimed rows (of these workers) whose lease has ended by the machine's time."""
    is_of_workers = true() if workers is None else OutboxRow.worker.in_(workers)
    return _select_entries(
        session, OutboxRow.state == SENDING, OutboxRow.lease_until < real, is_of_workers, limit=limit
    )


def is_anything_due(session: Session, *, now: datetime, least: int = LEAST_URGENT) -> bool:
    """Tell whether some queued row of at least this priority is due, without claiming it."""
    return session.scalar(_any_due_statement(least), {"now": now}) is not None


def count_waiting(session: Session, *, now: datetime) -> int:
    """Return how many rows are due or being sent at `now`."""
    due = select(func.count()).where(_is_due(now))
    sending = select(func.count()).where(OutboxRow.state == SENDING)
    return sum(session.scalar(query) or 0 for query in (due, sending))


def _is_due(now: datetime | BindParameter[Any], *priorities: int) -> ColumnElement[bool]:
    """Return the SQL condition that a row is due and not expired; it names priorities (all) for the index."""
    row = OutboxRow
    has_priority = row.priority.in_(priorities or PRIORITIES)
    return and_(row.state == QUEUED, has_priority, row.due_at <= now, row.expires_at > now)


@cache
def _any_due_statement(least: int) -> Executable:
    priorities = PRIORITIES[: PRIORITIES.index(least) + 1]
    return select(OutboxRow.id).where(_is_due(bindparam("now", type_=UtcDateTime), *priorities)).limit(1)


@cache
def _claim_statement(priority: int) -> Executable:
    """Return the statement that claims `room` due rows of a priority; built once, as it runs often."""
    row = OutboxRow
    is_due = _is_due(bindparam("now", type_=UtcDateTime), priority)
    due = select(row.id).where(is_due).order_by(row.due_at, row.id)
    row_ids = materialize(due.limit(bindparam("room", type_=Integer)).with_for_update(skip_locked=True))
    claim_values = {"state": "sending", "worker": bindparam("by"), "lease_until": bindparam("until")}
    return (
        update(row)
        .where(row.id.in_(row_ids), row.state == QUEUED)
        .values(attempt=row.attempt + 1, **claim_values)
        .returning(*ENTRY_COLUMNS, row.due_at)
        .execution_options(synchronize_session=False)
    )


def _select_entries(
    session: Session, *conditions: ColumnElement[bool], limit: int | None = None
) -> Sequence[Entry]:
    query = select(*ENTRY_COLUMNS).where(*conditions).order_by(OutboxRow.id).limit(limit)
    return [Entry(**row._mapping) for row in session.execute(query)]
