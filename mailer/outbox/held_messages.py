"""Held messages: messages held by a fault of the service or a limit of its relays, and how they continue.

```
sending ─cannot be composed or signed→ held (OUR_FAULT) ─┬─ fixed: newer text, a restart, staff → queued
        └─no relay can carry it→ held (LIMIT_REASONS) ───┴─ staff give it up → expired
```
A new reply to EHLO fixes the second kind; while no mail is sent, one message is queued at times to get it.

Neither reason is about the person, so neither is final. Messages that earlier versions set to `failed` for
such a reason stay so until staff decide about them, so that an old email surprises no reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from mailer.outbox import outbox
from mailer.outbox.outbox import ENTRY_COLUMNS, HAS_REASON, HELD, NO_REASON, Entry, OutboxRow, Result
from mailer.policy import POLICY
from mailer.reasons import Reason
from mailer.smtp import capabilities
from mailer.smtp.capabilities import Capabilities, RelayCapabilities

LIMIT_REASONS = (
    Reason.NO_SMTPUTF8, Reason.NO_8BITMIME, Reason.RELAY_SIZE_LIMIT, Reason.SERVER_SIZE_LIMIT,
)  # fmt: skip
ASK_INTERVAL = timedelta(minutes=15)  # how often a message is sent to learn the capabilities
FAILED: ColumnElement[str] = literal_column("'failed'")


@dataclass(frozen=True, kw_only=True)
class HeldCount:
    """How many messages of one kind one reason holds, in one state (`held` or `failed`)."""

    reason: str
    detail: str
    kind: str
    state: str
    number: int


def hold_for_fault(entry: Entry, fault: str) -> Result:
    """Return the result that holds a claimed row which cannot be composed or signed, with the fault."""
    return Result(entry=entry, state="held", reason=Reason.OUR_FAULT, detail=fault)


def is_stopped_by_fault() -> ColumnElement[bool]:
    """Return the SQL condition that a row is held or failed for a fault of the service."""
    return and_(_is_stopped(), HAS_REASON, OutboxRow.reason == Reason.OUR_FAULT)


def is_stopped_by_server() -> ColumnElement[bool]:
    """Return the SQL condition that a row is held or failed because no relay could carry it."""
    return and_(_is_stopped(), HAS_REASON, OutboxRow.reason.in_(LIMIT_REASONS))


def lacks_link() -> ColumnElement[bool]:
    """Return the SQL condition that a row waits for a link that has no target."""
    return and_(HAS_REASON, OutboxRow.reason == Reason.MISSING_LINK)


def count_by_reason(session: Session) -> Sequence[HeldCount]:
    """Count these messages by reason, kind and state."""
    columns = (OutboxRow.reason, OutboxRow.detail, OutboxRow.kind, OutboxRow.state)
    query = (
        select(*columns, func.count())
        .where(or_(is_stopped_by_fault(), is_stopped_by_server()))
        .group_by(*columns)
    )
    rows = session.execute(query.order_by(*columns))
    return [
        HeldCount(reason=reason, detail=detail, kind=kind, state=state, number=number)
        for reason, detail, kind, state, number in rows
    ]


def retry(session: Session, *conditions: ColumnElement[bool], now: datetime) -> tuple[int, Sequence[Entry]]:
    """Queue the messages that meet all `conditions`; returns how many, and the entries that had failed.

    A message that had failed gets new times where its kind goes to people on a list; otherwise one that has
    expired is not sent.
    """
    all_conditions = (or_(is_stopped_by_fault(), is_stopped_by_server()), *conditions)
    queued_values = {"state": "queued", **NO_REASON, "due_at": now}
    requeued_count = outbox.requeue(session, and_(*all_conditions))
    failed_entries: list[Entry] = []
    for kind, policy in POLICY.items():
        restart_values = {"queued_at": now, "expires_at": now + policy.expires_after}
        statement = update(OutboxRow).where(
            OutboxRow.state == FAILED, OutboxRow.kind == kind, *all_conditions
        )
        if policy.needs == "confirmed":
            statement = statement.values(**queued_values, **restart_values)
        else:
            statement = statement.where(OutboxRow.expires_at > now).values(**queued_values)
        failed_entries += [
            Entry(**row._mapping)
            for row in session.execute(_without_synchronizing(statement.returning(*ENTRY_COLUMNS)))
        ]
    return requeued_count + len(failed_entries), sorted(failed_entries, key=lambda entry: entry.id)


def retry_held(session: Session) -> int:
    """Queue all that a fault or a limit holds, because the service has restarted; returns how many."""
    return outbox.requeue(session, or_(is_stopped_by_fault(), is_stopped_by_server()))


def give_up(session: Session, *conditions: ColumnElement[bool]) -> Sequence[Result]:
    """Give up the messages that meet all `conditions`; returns a result for each, for the sources."""
    all_conditions = (or_(is_stopped_by_fault(), is_stopped_by_server()), *conditions)
    statement = (
        update(OutboxRow)
        .where(*all_conditions)
        .values(state="expired", **outbox.reason_values(Reason.GIVEN_UP))
        .returning(*ENTRY_COLUMNS)
    )
    rows = session.execute(_without_synchronizing(statement)).all()
    entries = sorted((Entry(**row._mapping) for row in rows), key=lambda entry: entry.id)
    return [Result(entry=entry, state="expired", reason=Reason.GIVEN_UP) for entry in entries]


def requeue_probe(session: Session, *, now: datetime) -> int:
    """Queue the oldest message that no relay could carry, to get a new reply to EHLO; returns how many."""
    last_answer_at = session.scalar(select(func.max(RelayCapabilities.heard_at)))
    if last_answer_at is not None and last_answer_at > now - ASK_INTERVAL:
        return 0
    oldest = session.scalar(
        select(func.min(OutboxRow.id)).where(OutboxRow.state == HELD, is_stopped_by_server())
    )
    return 0 if oldest is None else outbox.requeue(session, OutboxRow.id == oldest)


def record_capabilities(
    session: Session, relay: str, relay_capabilities: Capabilities, *, now: datetime
) -> int:
    """Store the capabilities of a relay; where they changed, queue the messages that it may carry now.

    Returns the number of rows queued.
    """
    if not capabilities.record(session, relay, relay_capabilities, now=now):
        return 0
    is_lifted = [
        or_(OutboxRow.reason != limit.reason, OutboxRow.detail != limit.detail)
        for limit in sorted(relay_capabilities.limits)
    ]
    return outbox.requeue(session, and_(is_stopped_by_server(), *is_lifted))


def _is_stopped() -> ColumnElement[bool]:
    return or_(OutboxRow.state == HELD, OutboxRow.state == FAILED)


def _without_synchronizing(statement: Any) -> Any:
    return statement.execution_options(synchronize_session=False)
