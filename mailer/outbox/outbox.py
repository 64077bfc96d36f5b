"""Outbox: one row for each message to send, its states, and the changes between them.

```
queued ─claim→ sending ─250→ sent
  │ ↑             ├ 4xx, connection lost before the final dot → queued, later
  │ └ not begun ──┤ 5xx → failed
  │               ├ lost after the final dot, or with its worker → unknown
  │               └ permission refused → held (may end) | cancelled (will not)
  ├ too late → expired          held → queued when the reason ends, → cancelled when it became final
```
Other modules only park rows (mailer/delivery/claims.py), apply decisions of staff (mailer/outbox/in_doubt.py)
and assign rows to another contact (mailer/people/merging.py). A row holds references, not a body: a million
recipients need a million short rows. `key` identifies the message, so the same message twice is the same row.
A claim increments `attempt`, and recording an outcome must name that attempt: a worker that lost the claim
changes nothing. A row whose worker was declared lost is unknown, keeps the worker's name, and changes as
drawn once that worker or its journal is reachable again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    Select,
    String,
    and_,
    literal,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import (
    EPOCH,
    Base,
    Id,
    PrimaryKey,
    Timestamp,
    UtcDateTime,
    count_changed,
    insert_or_nothing,
    materialize,
    partial_index,
)
from lists.permission import PERMANENT_REASONS
from mailer.outbox import attempts
from mailer.policy import POLICY
from mailer.reasons import MAX_CODE_LENGTH, Reason

STATES = (
    "queued", "sending", "sent", "held", "cancelled",
    "failed", "expired", "unknown", "bounced", "complained",
)  # fmt: skip
PRIORITIES = tuple(sorted({policy.priority for policy in POLICY.values()}))
LEAST_URGENT = PRIORITIES[-1]
DETAIL_LENGTH = 200

REVIVABLE_REASONS = (*sorted(PERMANENT_REASONS), Reason.LEFT_WHILE_HELD)

# A partial index is used only where the query has its condition as a constant, not as a bound value.
QUEUED: ColumnElement[str] = literal_column("'queued'")
SENDING: ColumnElement[str] = literal_column("'sending'")
UNKNOWN: ColumnElement[str] = literal_column("'unknown'")
HELD: ColumnElement[str] = literal_column("'held'")
NO_REASON: Mapping[str, str] = {"reason": "", "detail": ""}
HAS_REASON: ColumnElement[bool] = literal_column("reason <> ''")


class OutboxRow(Base):
    """One message to one contact."""

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint(f"state IN {STATES}", name="state"),
        partial_index("ix_outbox_queued", "priority", "due_at", "id", state="queued"),
        partial_index("ix_outbox_expiring", "expires_at", state="queued"),
        partial_index("ix_outbox_sending", "lease_until", state="sending"),
        partial_index("ix_outbox_held", "kind", "list", state="held"),
        Index("ix_outbox_kind", "kind", "state", "ref"),  # counts need nothing else
        Index(
            "ix_outbox_reason",
            *("state", "reason", "detail"),
            sqlite_where=HAS_REASON,
            postgresql_where=HAS_REASON,
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[PrimaryKey]
    key: Mapped[str] = mapped_column(String(120), unique=True)
    kind: Mapped[str] = mapped_column(String(20))
    list: Mapped[str] = mapped_column(String(40))
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    edition_id: Mapped[int] = mapped_column(ForeignKey("editions.id"))
    ref: Mapped[int] = mapped_column(Id)
    priority: Mapped[int]
    state: Mapped[str] = mapped_column(String(10))
    reason: Mapped[str] = mapped_column(String(MAX_CODE_LENGTH), default="", server_default="")
    detail: Mapped[str] = mapped_column(String(DETAIL_LENGTH), default="", server_default="")
    queued_at: Mapped[Timestamp]
    due_at: Mapped[Timestamp]
    expires_at: Mapped[Timestamp]
    attempt: Mapped[int]
    tries: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


ENTRY_COLUMNS = (
    OutboxRow.id, OutboxRow.key, OutboxRow.kind, OutboxRow.list, OutboxRow.contact_id, OutboxRow.edition_id,
    OutboxRow.ref, OutboxRow.attempt, OutboxRow.tries, OutboxRow.queued_at, OutboxRow.expires_at,
)  # fmt: skip
ENTRY_NAMES = tuple(column.key for column in ENTRY_COLUMNS)

# The rows that accept a result of their worker: those it holds, or held when it was declared lost …
IS_CLAIMED = OutboxRow.state == SENDING
IS_LOST = and_(OutboxRow.state == UNKNOWN, HAS_REASON, OutboxRow.reason == Reason.WORKER_LOST)
_IS_OPEN = OutboxRow.state.in_((SENDING, QUEUED, UNKNOWN))  # … and, for a final result, all of these.


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A claimed row, as the composer and the sources see it."""

    id: int
    key: str
    kind: str
    list: str
    contact_id: int
    edition_id: int
    ref: int
    attempt: int
    tries: int
    queued_at: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a claimed row: its next state, and why, as a code and a detail (mailer/reasons.py).

    `attempt_reason` is stored with the attempt. `blames_sender`: the refusal was about the sender, not the
    recipient.
    """

    entry: Entry
    state: str
    reason: str = ""
    detail: str = ""
    due_at: datetime | None = None
    counts_as_try: bool = False
    address: str = ""
    relay: str = ""
    outcome: str = ""
    code: int | None = None
    reply: str = ""
    attempt_reason: str = ""
    blames_sender: bool = False


def fill(
    session: Session, people: Select[*tuple[Any, ...]], *, kind: str, list: str, edition_id: int,
    now: datetime, expires_at: datetime | None = None,
) -> int:  # fmt: skip
    """Put a message into the outbox for each person that `people` selects, except where it is there already.

    `people` selects three columns: `contact_id`, `key`, `ref`. No message is sent after `expires_at`, by
    default that of the kind's policy. Returns how many rows are new.
    """
    person, columns = people.subquery(), OutboxRow.__table__.c
    row_values = _new_row_values(kind, list=list, edition_id=edition_id, now=now, expires_at=expires_at)
    literals = {name: literal(value, columns[name].type) for name, value in row_values.items()}
    values = {"key": person.c.key, "contact_id": person.c.contact_id, "ref": person.c.ref, **literals}
    rows = select(*values.values()).select_from(person).where(true())
    return insert_or_nothing(session, OutboxRow, rows, columns=tuple(values))


def put(
    session: Session, *, key: str, kind: str, list: str, contact_id: int, edition_id: int, now: datetime,
    ref: int = 0,
) -> bool:  # fmt: skip
    """Put one message to one contact into the outbox; False when it is there already."""
    row_values = _new_row_values(kind, list=list, edition_id=edition_id, now=now)
    row = {"key": key, "contact_id": contact_id, "ref": ref, **row_values}
    return insert_or_nothing(session, OutboxRow, [row]) == 1


def _new_row_values(
    kind: str, *, list: str, edition_id: int, now: datetime, expires_at: Any = None
) -> dict[str, Any]:
    policy = POLICY[kind]
    kind_values = {"kind": kind, "list": list, "edition_id": edition_id, "priority": policy.priority}
    times = {"queued_at": now, "due_at": now, "expires_at": expires_at or now + policy.expires_after}
    return {**kind_values, **times, "state": "queued", "attempt": 0, "tries": 0}


def give_back(session: Session, entries: Iterable[Entry]) -> None:
    """Return claimed rows to the queue that were not begun, because the worker stops."""
    record(session, [Result(entry=entry, state="queued") for entry in entries], now=EPOCH)


def record(session: Session, results: Sequence[Result], *, now: datetime) -> Sequence[Result]:
    """Record the results of claimed rows; returns the results whose claim was still valid.

    Rows of one outcome are one UPDATE. A result is dropped when its row was claimed again or deleted. A row
    that was declared lost accepts a later result of its worker; one that was decided about or queued again
    accepts only a final result, or it would be sent twice.
    """
    current: list[Result] = []

    def group_key(result: Result) -> tuple[str, str, str, int, bool, int]:
        due = 0 if result.due_at is None else int(result.due_at.timestamp() * 1_000_000)
        return (result.state, result.reason, result.detail, result.entry.attempt, result.counts_as_try, due)

    ordered = sorted(results, key=group_key)
    for (state, reason, detail, attempt, counts_as_try, _), members in groupby(ordered, key=group_key):
        group = {result.entry.id: result for result in members}
        first = next(iter(group.values()))
        values: dict[str, Any] = {"state": state, **reason_values(reason, detail), "lease_until": None}
        if reason != Reason.WORKER_LOST:
            values["worker"] = None
        if state == "sent":
            values["sent_at"] = now
        if first.due_at is not None:
            values["due_at"] = first.due_at
        if counts_as_try:
            values["tries"] = OutboxRow.tries + 1
        changed = session.execute(
            update(OutboxRow)
            .where(OutboxRow.id.in_(list(group)), OutboxRow.attempt == attempt)
            .where(_IS_OPEN if counts_as_try and state in ("sent", "failed") else IS_CLAIMED | IS_LOST)
            .values(**values)
            .returning(OutboxRow.id, OutboxRow.tries)
            .execution_options(synchronize_session=False)
        ).all()
        current += [group[row_id] for row_id in sorted(row_id for row_id, _ in changed)]
        # When the row was declared lost, a try was counted that was none.
        surplus = [row_id for row_id, tries in changed if tries > group[row_id].entry.tries + counts_as_try]
        if surplus and (retracted := attempts.retract_unknown(session, surplus, attempt=attempt)):
            statement = update(OutboxRow).where(OutboxRow.id.in_(retracted))
            count_changed(session, statement.values(tries=OutboxRow.tries - 1))
    attempts.add_all(session, [_new_attempt(result) for result in current if result.outcome], now=now)
    return current


def reason_values(reason: str, detail: str = "") -> dict[str, str]:
    """Return the columns of a reason, for an UPDATE: both, so that no detail of an earlier reason remains."""
    return {"reason": str(reason), "detail": detail[:DETAIL_LENGTH]}


def expire(session: Session, *, now: datetime, limit: int) -> Sequence[Result]:
    """Expire rows that are too late to send; returns a result for each, for the sources to settle."""
    query = select(OutboxRow.id).where(OutboxRow.expires_at <= now).with_for_update(skip_locked=True)
    results: list[Result] = []
    for state in (QUEUED, HELD):  # one after the other, each by its own index
        row_ids = materialize(query.where(OutboxRow.state == state).limit(limit - len(results)))
        results += _close(session, OutboxRow.id.in_(row_ids), state="expired", reason=Reason.TOO_LATE)
    return results


def cancel(
    session: Session, condition: ColumnElement[bool], *, reason: str, limit: int | None = None
) -> Sequence[Result]:
    """Cancel queued and held rows that meet `condition`, at most `limit`; returns a result for each."""
    is_waiting = OutboxRow.state.in_((QUEUED, HELD)) & condition
    if limit is None:
        return _close(session, is_waiting, state="cancelled", reason=reason)
    query = select(OutboxRow.id).where(is_waiting).limit(limit).with_for_update(skip_locked=True)
    return _close(session, OutboxRow.id.in_(materialize(query)), state="cancelled", reason=reason)


def requeue(session: Session, condition: ColumnElement[bool], *, edition_id: int | None = None) -> int:
    """Queue held rows that meet `condition`, with a newer edition where one is given; returns how many."""
    statement = update(OutboxRow).where(OutboxRow.state == HELD, condition)
    edition_values = {} if edition_id is None else {"edition_id": edition_id}
    return count_changed(session, statement.values(state="queued", **NO_REASON, **edition_values))


def revive(
    session: Session, condition: ColumnElement[bool], *, kind: str, edition_id: int, now: datetime
) -> int:
    """Queue, as new, rows cancelled because their reader had left; not those that staff recalled."""
    statement = update(OutboxRow).where(
        OutboxRow.state == "cancelled", OutboxRow.reason.in_(REVIVABLE_REASONS), condition
    )
    times = {"queued_at": now, "due_at": now, "expires_at": now + POLICY[kind].expires_after}
    return count_changed(
        session, statement.values(state="queued", **NO_REASON, edition_id=edition_id, **times)
    )


def _new_attempt(result: Result) -> attempts.NewAttempt:
    entry = result.entry
    return attempts.NewAttempt(
        outbox_id=entry.id,
        attempt=entry.attempt,
        address=result.address,
        relay=result.relay,
        outcome=result.outcome,
        code=result.code,
        reply=result.reply,
        reason=str(result.attempt_reason),
    )


def _close(session: Session, condition: ColumnElement[bool], *, state: str, reason: str) -> Sequence[Result]:
    rows = session.execute(
        update(OutboxRow)
        .where(condition)
        .values(state=state, **reason_values(reason))
        .returning(*ENTRY_COLUMNS)
        .execution_options(synchronize_session=False)
    ).all()
    entries = sorted((Entry(**row._mapping) for row in rows), key=lambda entry: entry.id)
    return [Result(entry=entry, state=state, reason=reason) for entry in entries]
