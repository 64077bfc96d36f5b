"""Holds: messages that a fault of ours or a limit of our mail servers keeps back, and how they go on.

```
sending ─cannot be written or signed→ held (OURS) ───┬─ mended: newer wording, a new start, staff → queued
        └─no server of ours can carry it→ held (SERVER) ┘        └─ staff give it up → expired
```
Another answer to EHLO mends the second kind; where no mail goes out, one message now and then asks for it.

Neither says anything about the person, so neither is final. Messages that earlier versions made `failed` for
such a reason stay so until staff decide about them: nobody is surprised by an old mail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from mailer.outbox import outbox
from mailer.outbox.outbox import ENTRY_COLUMNS, HAS_REASON, HELD, Entry, OutboxRow, Result
from mailer.policy import POLICY
from mailer.smtp import capabilities
from mailer.smtp.capabilities import Capabilities, RelayCapabilities

OUR_FAULT = "a fault of ours: "  # what it is follows
SERVER_LIMIT = "our mail server: "  # what it cannot carry follows
NO_SMTPUTF8 = SERVER_LIMIT + capabilities.NO_SMTPUTF8
ASK_INTERVAL = timedelta(minutes=15)  # how often a server is asked whether it can by now
GIVEN_UP = "given up by staff"
FAILED: ColumnElement[str] = literal_column("'failed'")


@dataclass(frozen=True, kw_only=True)
class HeldCount:
    """How many messages one reason keeps back, of one kind and text, in one state (`held` or `failed`)."""

    why: str
    kind: str
    state: str
    number: int


def hold_for_fault(entry: Entry, fault: str) -> Result:
    """Return what keeps a claimed row back that a fault of ours keeps from being written or signed."""
    return Result(entry=entry, state="held", why=f"{OUR_FAULT}{fault}")


def is_stopped_by_fault() -> ColumnElement[bool]:
    """Return the condition that a row is held or failed for a fault of ours."""
    return and_(_is_stopped(), HAS_REASON, OutboxRow.why.startswith(OUR_FAULT))


def is_stopped_by_server() -> ColumnElement[bool]:
    """Return the condition that a row is held or failed because no mail server of ours could carry it."""
    return and_(_is_stopped(), HAS_REASON, OutboxRow.why.startswith(SERVER_LIMIT))


def count_by_reason(session: Session) -> Sequence[HeldCount]:
    """Count what is kept back, by reason, kind and state."""
    columns = (OutboxRow.why, OutboxRow.kind, OutboxRow.state)
    counted = (
        select(*columns, func.count())
        .where(or_(is_stopped_by_fault(), is_stopped_by_server()))
        .group_by(*columns)
    )
    found = session.execute(counted.order_by(*columns))
    return [HeldCount(why=why, kind=kind, state=state, number=number) for why, kind, state, number in found]


def retry(session: Session, *which: ColumnElement[bool], now: datetime) -> tuple[int, Sequence[Entry]]:
    """Queue again what is kept back, of `which` holds; returns how many, and those that had failed before.

    A message that had failed gets its time anew where its kind goes to people on a list; an answer that
    nobody waits for any more does not leave.
    """
    mine = (or_(is_stopped_by_fault(), is_stopped_by_server()), *which)
    fresh = {"state": "queued", "why": "", "due_at": now}
    freed = outbox.requeue(session, and_(*mine))
    back: list[Entry] = []
    for kind, policy in POLICY.items():
        anew = {"queued_at": now, "expires_at": now + policy.expires_after}
        failed = update(OutboxRow).where(OutboxRow.state == FAILED, OutboxRow.kind == kind, *mine)
        if policy.needs == "confirmed":
            failed = failed.values(**fresh, **anew)
        else:
            failed = failed.where(OutboxRow.expires_at > now).values(**fresh)
        back += [
            Entry(**row._mapping)
            for row in session.execute(_without_synchronizing(failed.returning(*ENTRY_COLUMNS)))
        ]
    return freed + len(back), sorted(back, key=lambda entry: entry.id)


def retry_held(session: Session) -> int:
    """Queue again all that is held, because the service has started anew; returns how many."""
    return outbox.requeue(session, or_(is_stopped_by_fault(), is_stopped_by_server()))


def give_up(session: Session, *which: ColumnElement[bool]) -> Sequence[Result]:
    """Give up what is kept back, of `which` holds; a result for each row, for its source to settle."""
    mine = (or_(is_stopped_by_fault(), is_stopped_by_server()), *which)
    closed = update(OutboxRow).where(*mine).values(state="expired", why=GIVEN_UP).returning(*ENTRY_COLUMNS)
    found = session.execute(_without_synchronizing(closed)).all()
    entries = sorted((Entry(**row._mapping) for row in found), key=lambda entry: entry.id)
    return [Result(entry=entry, state="expired", why=GIVEN_UP) for entry in entries]


def requeue_probe(session: Session, *, now: datetime) -> int:
    """Queue the oldest message that no server could carry, so that one is asked anew; returns how many."""
    last = session.scalar(select(func.max(RelayCapabilities.heard_at)))
    if last is not None and last > now - ASK_INTERVAL:
        return 0
    oldest = session.scalar(
        select(func.min(OutboxRow.id)).where(OutboxRow.state == HELD, is_stopped_by_server())
    )
    return 0 if oldest is None else outbox.requeue(session, OutboxRow.id == oldest)


def record_capabilities(
    session: Session, relay: str, relay_capabilities: Capabilities, *, now: datetime
) -> int:
    """Keep what a relay has just said it can carry; where that is news, try again what it may carry by now.

    Returns how many rows are tried again.
    """
    if not capabilities.record(session, relay, relay_capabilities, now=now):
        return 0
    still = [f"{SERVER_LIMIT}{reason}" for reason in sorted(relay_capabilities.unsupported_reasons)]
    return outbox.requeue(session, and_(is_stopped_by_server(), OutboxRow.why.not_in(still)))


def _is_stopped() -> ColumnElement[bool]:
    return or_(OutboxRow.state == HELD, OutboxRow.state == FAILED)


def _without_synchronizing(statement: Any) -> Any:
    return statement.execution_options(synchronize_session=False)
