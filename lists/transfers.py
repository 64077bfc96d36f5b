"""Transfers: people brought in from a CSV file, all of them or none, with a report by row.

`read` looks at the table alone, `plan` asks the database what would become of each row, `bring_in` does it.
Nobody is brought back: who left a list, was forgotten or is suppressed stays so, and what is known about
somebody who is here already stays as it is. Database work is done in batches, never a query per row.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from lists import audit, contacts, rows, subscriptions, suppressions
from lists.consents import Consent
from lists.contacts import Contact
from lists.db import insert_or_nothing
from lists.errors import BadInput
from lists.mappings import Columns
from lists.rows import MOST_WRONG, Fate, Progress, Row
from lists.subscriptions import Subscription
from lists.tables import Table

OUTCOMES = ("added", "already", "left", "suppressed", "declined", "wrong")
EVIDENCE_LENGTH = 1_000
BATCH = 1_000  # rows a query; SQLite binds at most 32,766 values
TOLD_EVERY = 500  # rows between two words about progress

ALREADY = {"confirmed": "is on this list", "pending": "was asked, and has not confirmed yet"}
SUPPRESSED = {
    "forgotten": "asked to be forgotten",
    "complaint": "complained about a mail of ours",
    "bounce": "this address does not take mail",
    "staff": "staff decided not to write to this address",
}
T = TypeVar("T")


Fates = list[Fate]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A file as read: how it is written, what its columns are, the good rows, what became of the others."""

    table: Table
    columns: Columns
    rows: Sequence[Row]
    passed_over: Sequence[Fate]

    @property
    def wrong(self) -> Sequence[Fate]:
        """The rows that cannot be used; with one of them nothing is imported."""
        return [fate for fate in self.passed_over if fate.outcome == "wrong"]


def read(
    table: Table, columns: Columns, *, pepper: bytes, progress: Progress = lambda _rows: None
) -> Reading:
    """Read the rows of a table whose columns are known.

    Raises BadInput for a file that cannot be read as a whole.
    """
    good: list[Row] = []
    others: list[Fate] = []
    wrong = 0
    for found, _ in rows.read(table.records, columns, pepper=pepper, seen={}):
        if isinstance(found, Row):
            good.append(found)
        else:
            others.append(found)
            wrong += found.outcome == "wrong"
        if (len(good) + len(others)) % TOLD_EVERY == 0:
            progress(found.line)
        if wrong >= MOST_WRONG:
            break
    return Reading(table=table, columns=columns, rows=good, passed_over=others)


def plan(
    session: Session, found: Sequence[Row], *, list: str, progress: Progress = lambda _rows: None
) -> Sequence[Fate]:
    """Tell what importing these rows to a list would do to each, in their order; changes nothing."""
    fates: Fates = []
    for batch in _batches(found):
        barred = suppressions.among(session, [row.address.digest for row in batch])
        standing = _standing(session, batch)
        for row in batch:
            outcome, why = _fate(row, list, barred.get(row.address.digest), standing.get(row.address.key))
            fates.append(Fate(line=row.line, email=row.address.email, outcome=outcome, why=why))
        progress(len(fates))
    return fates


def bring_in(
    session: Session,
    found: Sequence[Row],
    *,
    list: str,
    evidence: str,
    confirmed: bool,
    now: datetime,
    actor: str,
    progress: Progress = lambda _rows: None,
) -> Sequence[Fate]:
    """Import these rows to a list and tell what became of each, in their order.

    `confirmed`: they have agreed already, and `evidence` says where that can be seen; otherwise each of them
    is asked by mail first. The evidence is kept with each person's consent. Raises BadInput for evidence that
    is missing or cannot be kept.
    """
    evidence = checked_evidence(evidence)
    fates = plan(session, found, list=list)
    joining = [row for row, fate in zip(found, fates, strict=True) if fate.outcome == "added"]
    done = 0
    for batch in _batches(joining):
        insert_or_nothing(session, Contact, [_contact(row, now) for row in batch])
        ids = _ids(session, batch)
        subscriptions.add_all(session, [*ids.values()], list=list, now=now, confirmed=confirmed)
        said = {"list": list, "action": "imported", "page": "import", "at": now}
        since = {row.address.key: row.since for row in batch}
        session.execute(
            insert(Consent),
            [
                {"contact_id": number, "wording": _wording(evidence, since[key]), **said}
                for key, number in ids.items()
            ],
        )
        done += len(batch)
        progress(done)
    subject = f"{len(joining)} to {list}{', confirmed' if confirmed else ''}"
    audit.note(session, actor=actor, action="import", subject=subject, now=now)
    return fates


def checked_evidence(evidence: str) -> str:
    """Return the evidence of consent ready to be kept; raises BadInput when there is none."""
    cleaned = contacts.clean(evidence, what="evidence of consent", limit=EVIDENCE_LENGTH)
    if not cleaned:
        raise BadInput(
            "Say where these people agreed, so that it can be shown later: "
            '--consent "signed the sheet at St. Mark on October 4, 2026".'
        )
    return cleaned


def counts(fates: Sequence[Fate]) -> Mapping[str, int]:
    """Return how many rows had each outcome, in the order of OUTCOMES."""
    outcomes = [fate.outcome for fate in fates]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES}


def _fate(row: Row, list: str, suppressed: str | None, standing: Mapping[str, str] | None) -> tuple[str, str]:
    if suppressed is not None:
        return "suppressed", SUPPRESSED.get(suppressed, suppressed)
    states = standing or {}
    if states.get(list) in ALREADY:
        return "already", ALREADY[states[list]]
    gone = sorted(name for name, state in states.items() if state == "left")
    if gone:
        # Who left one list may not want another one either: only they themselves can come back.
        return "left", f"left the list {' and '.join(gone)}; can join again on the page"
    known = "is known here already, and keeps the name, language and ZIP code they have" if standing else ""
    return "added", "; ".join(part for part in (known, row.note) if part)


def _standing(session: Session, batch: Sequence[Row]) -> Mapping[str, Mapping[str, str]]:
    """Return, for each of these people who is known, the state on every list they ever were on."""
    found = session.execute(
        select(Contact.email_key, Subscription.list, Subscription.state)
        .outerjoin(Subscription, Subscription.contact_id == Contact.id)
        .where(Contact.email_key.in_([row.address.key for row in batch]))
    )
    standing: dict[str, dict[str, str]] = {}
    for key, list_name, state in found:
        standing.setdefault(key, {})[list_name or ""] = state or ""
    return standing


def _contact(row: Row, now: datetime) -> Mapping[str, Any]:
    return {
        "email": row.address.email,
        "email_key": row.address.key,
        "email_digest": row.address.digest,
        "name": row.name,
        "language": row.language,
        **contacts.placed(row.place),
        "organization": "",
        "tradition": "",
        "role": "",
        "created_at": now,
        "version": 1,
    }


def _ids(session: Session, batch: Sequence[Row]) -> Mapping[str, int]:
    """Return the numbers of these contacts by the keys of their addresses."""
    keys = [row.address.key for row in batch]
    wanted = select(Contact.email_key, Contact.id).where(Contact.email_key.in_(keys))
    return {row.email_key: row.id for row in session.execute(wanted.order_by(Contact.id))}


def _wording(evidence: str, since: str) -> str:
    return f"{evidence} ({since})" if since else evidence


def _batches(every: Sequence[T]) -> Iterator[Sequence[T]]:
    remaining = iter(every)
    while batch := tuple(islice(remaining, BATCH)):
        yield batch
