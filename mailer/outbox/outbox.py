"""The ledger: every message there is a reason to send, what became of it, and who may move it.

```
queued ─claim→ sending ─250→ sent
  │ ↑             ├ 4xx, connection lost before the final dot → queued, later
  │ └ not begun ──┤ 5xx → failed
  │               ├ lost after the final dot, or with its worker → unknown
  │               └ the rule says no → held (may end) | cancelled (will not)
  ├ too late → expired          held → queued when the reason ends, → cancelled when it became final
```
Elsewhere rows are only parked (mailer/delivery/claims.py), decided on by staff (mailer/outbox/in_doubt.py)
and handed to another contact (mailer/people/merging.py). A row holds references, not a body: a million
readers cost a million short rows. `key` says what the message is, so the same message twice is the same row.
A claim raises `attempt`, and recording an outcome must name that attempt: whoever lost the claim changes
nothing. A row whose worker was given up for lost is unknown, keeps its name, and moves on as drawn once it is
heard again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby
from typing import Any

from sqlalchemy import (
    BindParameter,
    CheckConstraint,
    ColumnElement,
    Executable,
    ForeignKey,
    Index,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    func,
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
from mailer.coordination import send_hold
from mailer.outbox import attempts
from mailer.policy import POLICY
from mailer.smtp import doubt

STATES = (
    "queued", "sending", "sent", "held", "cancelled",
    "failed", "expired", "unknown", "bounced", "complained",
)  # fmt: skip
PRIORITIES = tuple(sorted({policy.priority for policy in POLICY.values()}))
LEAST_URGENT = PRIORITIES[-1]

LEFT_WHILE_HELD = "left while it was held"
DEPARTURE_REASONS = (*sorted(PERMANENT_REASONS), LEFT_WHILE_HELD)

# A partial index is used only where the query states its condition as a constant, not as a bound value.
QUEUED: ColumnElement[str] = literal_column("'queued'")
SENDING: ColumnElement[str] = literal_column("'sending'")
UNKNOWN: ColumnElement[str] = literal_column("'unknown'")
HELD: ColumnElement[str] = literal_column("'held'")
HAS_REASON: ColumnElement[bool] = literal_column("why <> ''")


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
        Index("ix_outbox_why", "state", "why", sqlite_where=HAS_REASON, postgresql_where=HAS_REASON),
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
    why: Mapped[str] = mapped_column(String(200))
    queued_at: Mapped[Timestamp]
    due_at: Mapped[Timestamp]
    expires_at: Mapped[Timestamp]
    attempt: Mapped[int]
    tries: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(40))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


ENTRY_COLUMNS = (
    OutboxRow.id,
    OutboxRow.key,
    OutboxRow.kind,
    OutboxRow.list,
    OutboxRow.contact_id,
    OutboxRow.edition_id,
    OutboxRow.ref,
    OutboxRow.attempt,
    OutboxRow.tries,
    OutboxRow.queued_at,
    OutboxRow.expires_at,
)

ENTRY_NAMES = tuple(column.key for column in ENTRY_COLUMNS)

# Which rows take what their worker says: those it holds, or held when it was given up for lost …
_IS_CLAIMED = OutboxRow.state == SENDING
_IS_LOST = and_(OutboxRow.state == UNKNOWN, HAS_REASON, OutboxRow.why.in_(doubt.CORRECTABLE))
_IS_OPEN = OutboxRow.state.in_((SENDING, QUEUED, UNKNOWN))  # … and what is certain for good, all of these.


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
    """What became of a claimed row; `tried`: it cost an attempt, `ours`: it was refused for what we are."""

    entry: Entry
    state: str
    why: str = ""
    due_at: datetime | None = None
    costs_attempt: bool = False
    address: str = ""
    relay: str = ""
    outcome: str = ""
    code: int | None = None
    reply: str = ""
    is_about_us: bool = False


def fill(
    session: Session, people: Select[*tuple[Any, ...]], *, kind: str, list: str, edition_id: int,
    now: datetime, expires_at: datetime | None = None,
) -> int:  # fmt: skip
    """Put a message into the outbox for everyone that `people` selects, and pass over those already there.

    `people` selects three columns: `contact_id`, `key`, `ref`. Nothing leaves after `expires_at`, by default
    what the kind's policy says. Returns how many rows are new.
    """
    found, columns = people.subquery(), OutboxRow.__table__.c
    same = _new_row_values(kind, list=list, edition_id=edition_id, now=now, expires_at=expires_at)
    alike = {name: literal(value, columns[name].type) for name, value in same.items()}
    values = {"key": found.c.key, "contact_id": found.c.contact_id, "ref": found.c.ref, **alike}
    rows = select(*values.values()).select_from(found).where(true())
    return insert_or_nothing(session, OutboxRow, rows, columns=tuple(values))


def put(
    session: Session,
    *,
    key: str,
    kind: str,
    list: str,
    contact_id: int,
    edition_id: int,
    now: datetime,
    ref: int = 0,
) -> bool:
    """Put one message to one contact into the outbox; False when it is there already."""
    same = _new_row_values(kind, list=list, edition_id=edition_id, now=now)
    row = {"key": key, "contact_id": contact_id, "ref": ref, **same}
    return insert_or_nothing(session, OutboxRow, [row]) == 1


def _new_row_values(
    kind: str, *, list: str, edition_id: int, now: datetime, expires_at: Any = None
) -> dict[str, Any]:
    policy = POLICY[kind]
    fixed = {"kind": kind, "list": list, "edition_id": edition_id, "priority": policy.priority}
    times = {"queued_at": now, "due_at": now, "expires_at": expires_at or now + policy.expires_after}
    return {**fixed, **times, "state": "queued", "why": "", "attempt": 0, "tries": 0}


def claim(
    session: Session,
    *,
    worker: str,
    limit: int,
    now: datetime,
    lease_until: datetime,
    least: int = LEAST_URGENT,
) -> Sequence[Entry]:
    """Take up to `limit` due rows, most urgent first and none after `least`, until `lease_until` (real)."""
    if send_hold.find_unsettled(session) is not None:
        return []
    taken: list[Any] = []
    for priority in PRIORITIES[: PRIORITIES.index(least) + 1]:
        wanted = {"now": now, "room": limit - len(taken), "by": worker, "until": lease_until}
        found = session.execute(_claim_statement(priority), wanted)
        taken += sorted(found, key=lambda each: (each.due_at, each.id))
        if len(taken) == limit:
            break
    return [Entry(**dict(zip(ENTRY_NAMES, each, strict=False))) for each in taken]


def renew(session: Session, *, worker: str, lease_until: datetime) -> int:
    """Keep what this worker has claimed for longer (machine time); returns how many rows that is."""
    mine = update(OutboxRow).where(OutboxRow.state == SENDING, OutboxRow.worker == worker)
    return count_changed(session, mine.values(lease_until=lease_until))


def list_claimed_by(session: Session, worker: str) -> Sequence[Entry]:
    """Return every row that this worker holds, or held until it was given up for lost, by row."""
    held = [_select_entries(session, these, OutboxRow.worker == worker) for these in (_IS_CLAIMED, _IS_LOST)]
    return sorted((entry for some in held for entry in some), key=lambda entry: entry.id)


def list_holders(session: Session) -> Mapping[str, datetime]:
    """Return each worker that holds rows, and until when its lease is."""
    last = select(OutboxRow.worker, func.max(OutboxRow.lease_until)).where(OutboxRow.state == SENDING)
    found = session.execute(last.group_by(OutboxRow.worker))
    return {worker: until for worker, until in found if worker and until}


def list_overdue(
    session: Session, *, real: datetime, limit: int, workers: Collection[str] | None = None
) -> Sequence[Entry]:
    """Return at most `limit` claimed rows (of these workers) whose lease is over by the machine's time."""
    of = true() if workers is None else OutboxRow.worker.in_(workers)
    return _select_entries(session, OutboxRow.state == SENDING, OutboxRow.lease_until < real, of, limit=limit)


def give_back(session: Session, entries: Iterable[Entry]) -> None:
    """Put back claimed rows that were not started, because the worker stops."""
    record(session, [Result(entry=entry, state="queued") for entry in entries], now=EPOCH)


def record(session: Session, results: Sequence[Result], *, now: datetime) -> Sequence[Result]:
    """Write down what became of claimed rows; returns the results that still held their claim.

    Rows of one outcome are one UPDATE. A result is dropped when its row was claimed again or is gone:
    somebody else, or nobody, answers for it now. A row given up for lost takes what its worker says later,
    one that somebody decided about only what is final, or it would be sent twice.
    """
    kept: list[Result] = []

    def alike(result: Result) -> tuple[str, str, int, bool, int]:
        due = 0 if result.due_at is None else int(result.due_at.timestamp() * 1_000_000)
        return (result.state, result.why, result.entry.attempt, result.costs_attempt, due)

    for (state, why, attempt, tried, _), same in groupby(sorted(results, key=alike), key=alike):
        group = {result.entry.id: result for result in same}
        first = next(iter(group.values()))
        values: dict[str, Any] = {"state": state, "why": why[:200], "lease_until": None}
        if why not in doubt.CORRECTABLE:
            values["worker"] = None
        if state == "sent":
            values["sent_at"] = now
        if first.due_at is not None:
            values["due_at"] = first.due_at
        if tried:
            values["tries"] = OutboxRow.tries + 1
        changed = session.execute(
            update(OutboxRow)
            .where(OutboxRow.id.in_(list(group)), OutboxRow.attempt == attempt)
            .where(_IS_OPEN if tried and state in ("sent", "failed") else _IS_CLAIMED | _IS_LOST)
            .values(**values)
            .returning(OutboxRow.id, OutboxRow.tries)
            .execution_options(synchronize_session=False)
        ).all()
        kept += [group[row_id] for row_id in sorted(row_id for row_id, _ in changed)]
        # Whoever gave the row up for lost counted a try, which was none.
        more = [row_id for row_id, tries in changed if tries > group[row_id].entry.tries + tried]
        if more and (doubted := attempts.retract_unknown(session, more, attempt=attempt)):
            fewer = update(OutboxRow).where(OutboxRow.id.in_(doubted))
            count_changed(session, fewer.values(tries=OutboxRow.tries - 1))
    attempts.add_all(session, [_new_attempt(result) for result in kept if result.outcome], now=now)
    return kept


def expire(session: Session, *, now: datetime, limit: int) -> Sequence[Result]:
    """Give up what is too late to send; returns a result for each, for the sources to settle."""
    late = select(OutboxRow.id).where(OutboxRow.expires_at <= now).with_for_update(skip_locked=True)
    closed: list[Result] = []
    for state in (QUEUED, HELD):  # one after the other, each by its own index
        free = materialize(late.where(OutboxRow.state == state).limit(limit - len(closed)))
        closed += _close(session, OutboxRow.id.in_(free), state="expired", why="too late")
    return closed


def cancel(
    session: Session, condition: ColumnElement[bool], *, why: str, limit: int | None = None
) -> Sequence[Result]:
    """Cancel waiting and held rows for which `condition` holds, `limit` at most; a result for each."""
    these = OutboxRow.state.in_((QUEUED, HELD)) & condition
    if limit is None:
        return _close(session, these, state="cancelled", why=why)
    first = select(OutboxRow.id).where(these).limit(limit).with_for_update(skip_locked=True)
    return _close(session, OutboxRow.id.in_(materialize(first)), state="cancelled", why=why)


def requeue(session: Session, condition: ColumnElement[bool], *, edition_id: int | None = None) -> int:
    """Let held rows go for which `condition` holds, with a newer edition where one is given."""
    back = update(OutboxRow).where(OutboxRow.state == HELD, condition)
    newer = {} if edition_id is None else {"edition_id": edition_id}
    return count_changed(session, back.values(state="queued", why="", **newer))


def revive(
    session: Session, condition: ColumnElement[bool], *, kind: str, edition_id: int, now: datetime
) -> int:
    """Put back, as new, what was cancelled unsent because its reader had left; not what staff recalled."""
    again = update(OutboxRow).where(
        OutboxRow.state == "cancelled", OutboxRow.why.in_(DEPARTURE_REASONS), condition
    )
    fresh = {"queued_at": now, "due_at": now, "expires_at": now + POLICY[kind].expires_after}
    return count_changed(session, again.values(state="queued", why="", edition_id=edition_id, **fresh))


def is_anything_due(session: Session, *, now: datetime, least: int = LEAST_URGENT) -> bool:
    """Tell whether some queued row of at least this priority is due, without taking anything."""
    return session.scalar(_any_due_statement(least), {"now": now}) is not None


def count_waiting(session: Session, *, now: datetime) -> int:
    """Return how many rows are due or being sent at `now`."""
    due = select(func.count()).where(_is_due(now))
    sending = select(func.count()).where(OutboxRow.state == SENDING)
    return sum(session.scalar(these) or 0 for these in (due, sending))


def _is_due(now: datetime | BindParameter[Any], *priorities: int) -> ColumnElement[bool]:
    """Return the condition that a row may leave at `now`: what is too late waits only to be given up.

    It names the priorities, all by default, so that what is not due yet is not looked through.
    """
    row = OutboxRow
    wanted = row.priority.in_(priorities or PRIORITIES)
    return and_(row.state == QUEUED, wanted, row.due_at <= now, row.expires_at > now)


@cache
def _any_due_statement(least: int) -> Executable:
    wanted = PRIORITIES[: PRIORITIES.index(least) + 1]
    return select(OutboxRow.id).where(_is_due(bindparam("now", type_=UtcDateTime), *wanted)).limit(1)


@cache
def _claim_statement(priority: int) -> Executable:
    """Return the statement that claims `room` due rows of a priority; made once, as it is asked so often."""
    row = OutboxRow
    due = (
        select(row.id)
        .where(_is_due(bindparam("now", type_=UtcDateTime), priority))
        .order_by(row.due_at, row.id)
    )
    first = materialize(due.limit(bindparam("room", type_=Integer)).with_for_update(skip_locked=True))
    claimed = {"state": "sending", "worker": bindparam("by"), "lease_until": bindparam("until")}
    return (
        update(row)
        .where(row.id.in_(first), row.state == QUEUED)
        .values(attempt=row.attempt + 1, **claimed)
        .returning(*ENTRY_COLUMNS, row.due_at)
        .execution_options(synchronize_session=False)
    )


def _select_entries(
    session: Session, *where: ColumnElement[bool], limit: int | None = None
) -> Sequence[Entry]:
    found = select(*ENTRY_COLUMNS).where(*where).order_by(OutboxRow.id).limit(limit)
    return [Entry(**row._mapping) for row in session.execute(found)]


def _new_attempt(result: Result) -> attempts.NewAttempt:
    entry = result.entry
    return attempts.NewAttempt(
        entry.id, entry.attempt, result.address, result.relay, result.outcome, result.code, result.reply
    )


def _close(session: Session, condition: ColumnElement[bool], *, state: str, why: str) -> Sequence[Result]:
    closed = session.execute(
        update(OutboxRow)
        .where(condition)
        .values(state=state, why=why)
        .returning(*ENTRY_COLUMNS)
        .execution_options(synchronize_session=False)
    ).all()
    entries = sorted((Entry(**found._mapping) for found in closed), key=lambda entry: entry.id)
    return [Result(entry=entry, state=state, why=why) for entry in entries]
