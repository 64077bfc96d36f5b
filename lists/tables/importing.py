"""Transfers: people brought in from a file, all of them or none, with a report by row.

`stage_rows` looks at the table alone, `plan` asks the database what would become of each row, `import_batch`
writes one batch of those who are new, and `finish` lets all of them count at once (lists/imports.py). Nobody
is brought back: who left a list, was forgotten or is suppressed stays so, and what is known about somebody
who is here already stays as it is. Database work is done in batches, never a query per row.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from lists import (
    audit,
    contacts,
    departures,
    fields,
    imports,
    merge_redirects,
    subscriptions,
    suppressions,
    tags,
)
from lists.consents import Consent
from lists.contacts import Contact
from lists.db import insert_or_nothing
from lists.errors import BadInput
from lists.fields import Field
from lists.imports import ListImport
from lists.subscriptions import Subscription
from lists.tables import rows
from lists.tables.column_mapping import ColumnMapping
from lists.tables.rows import ImportRow
from lists.tables.staging import UNDECIDED, Decision, StagedRow, StagingTable
from lists.tables.table_file import TableFile
from lists.tables.unread_columns import UnreadColumns

EVIDENCE_LENGTH = 1_000
PROGRESS_EVERY = 500  # rows between two words about progress

ALREADY_REASONS = {"confirmed": "is on this list", "pending": "was asked, and has not confirmed yet"}
MERGED_REASON = "became part of another contact, who stays as they are"
SUPPRESSED_REASONS = {
    "forgotten": "asked to be forgotten",
    "complaint": "complained about a mail of ours",
    "bounce": "this address does not take mail",
    "staff": "staff decided not to write to this address",
}
LACKS_TELLING_NAME = (
    "Only the name of a file of {tool} says whether its people are subscribed, and this one’s does not. In"
    " the ZIP that it came in, it begins with subscribed_, unsubscribed_, cleaned_ or nonsubscribed_. If it"
    " is the file of those who are subscribed, give it that beginning again; from the others nobody may be"
    " brought in."
)
Progress = Callable[[int], None]


class Membership(NamedTuple):
    """How somebody stands on a list: the state, and the import that brought them there, if one did."""

    state: str
    arrival_id: int | None


def stage_rows(
    table: TableFile,
    mapping: ColumnMapping,
    staging: StagingTable,
    *,
    pepper: bytes,
    custom_fields: Mapping[str, Field] | None = None,
    yes_means: Collection[str] = frozenset(),
    progress: Progress = lambda _line: None,
) -> None:
    """Put the rows of a table whose columns are known onto the stage.

    `custom_fields` are the fields that staff defined, `yes_means` the texts that count as a yes. Raises
    BadInput for a file that cannot be read as a whole, and for one of which nobody knows whether its people
    want mail.
    """
    found = rows.read_rows(
        table.records,
        mapping,
        custom_fields=custom_fields or {},
        pepper=pepper,
        find_line=staging.find_line,
        yes_means=yes_means,
    )
    unread = UnreadColumns(mapping)
    for number, (row, cells) in enumerate(found):
        staging.add(row, cells)
        if unread.has_columns:
            unread.inspect(cells, rows.clean_cell)
        if number % PROGRESS_EVERY == 0:
            progress(row.line)
    if stops := unread.describe(rows.make_printable):
        raise BadInput(f"{stops}\nUntil then nobody of this file is brought in.")
    staging.exclude_rows(
        {place: mapping.columns[place] for place, filled in unread.state_columns.items() if filled}
    )
    if mapping.lacks_telling_name and staging.count(UNDECIDED):
        raise BadInput(LACKS_TELLING_NAME.format(tool=mapping.tool))


def plan(
    session: Session,
    staging: StagingTable,
    *,
    list: str,
    import_id: int | None = None,
    progress: Progress = lambda _rows: None,
) -> None:
    """Decide on the stage what importing to a list would do to each row; changes nothing else.

    `import_id` is the same import's, when it was interrupted: whom it brought already counts as added.
    """
    done = 0
    for batch in staging.batches(UNDECIDED):
        staging.decide(_decide_rows(session, batch, list=list, import_id=import_id)[0])
        done += len(batch)
        progress(done)


def import_batch(
    session: Session,
    batch: Sequence[StagedRow],
    *,
    list_import: ListImport,
    evidence: str,
    confirmed: bool,
    now: datetime,
) -> Sequence[Decision]:
    """Write one batch of an arrival, asking again about each, and tell what became of them.

    `confirmed`: they have agreed already, and `evidence` says where that can be seen; otherwise each of them
    is asked by mail once the arrival is here. The evidence is kept with each person's consent.
    """
    decided, known = _decide_rows(session, batch, list=list_import.list, import_id=list_import.id)
    added = {each.number for each in decided if each.outcome == "added"}
    joining = [
        row
        for number, row in batch
        if number in added and list_import.list not in known.get(row.address.key, {})
    ]
    insert_or_nothing(session, Contact, [_contact_columns(row, now) for row in joining])
    ids = _find_contact_ids(session, joining)
    subscriptions.add_all(
        session,
        [*ids.values()],
        list=list_import.list,
        now=now,
        confirmed=confirmed,
        import_id=list_import.id,
    )
    new = [row for row in joining if row.address.key not in known]  # of others nothing is changed
    fields.add_values(session, [(ids[row.address.key], row.values) for row in new])
    tags.add_all(session, [(ids[row.address.key], row.tags) for row in new], now=now)
    said = {
        "list": list_import.list,
        "action": "imported",
        "page": imports.EVIDENCE_PAGE.format(number=list_import.id),
        "at": now,
    }
    since = {row.address.key: row.since for row in joining}
    kept = [
        {"contact_id": number, "wording": _format_wording(evidence, since[key]), **said}
        for key, number in ids.items()
    ]
    if kept:
        session.execute(insert(Consent), kept)
    return decided


def finish(
    session: Session, list_import: ListImport, *, people: int, confirmed: bool, now: datetime, actor: str
) -> None:
    """Let everybody of an arrival count from now on."""
    imports.end(session, list_import.id, state="here", now=now)
    subject = f"{people} to {list_import.list}{', confirmed' if confirmed else ''}"
    audit.record(session, actor=actor, action="import", subject=subject, now=now)


def check_evidence(evidence: str) -> str:
    """Return the evidence of consent ready to be kept; raises BadInput when there is none."""
    cleaned = contacts.clean(evidence, label="evidence of consent", limit=EVIDENCE_LENGTH)
    if not cleaned:
        raise BadInput(
            "Say where these people agreed, so that it can be shown later: "
            '--consent "signed the sheet at St. Mark on October 4, 2026".'
        )
    return cleaned


def _decide_rows(
    session: Session, batch: Sequence[StagedRow], *, list: str, import_id: int | None
) -> tuple[Sequence[Decision], Mapping[str, Mapping[str, Membership]]]:
    """Return what becomes of each row, and how those who are known stand on the lists."""
    digests = [row.address.digest for _, row in batch]
    barred, absent = suppressions.find_reasons(session, digests), departures.find_exclusions(session, digests)
    known, merged = _find_memberships(session, batch), merge_redirects.find_targets(session, digests)

    def fate(row: ImportRow) -> tuple[str, str]:
        digest, standing = row.address.digest, known.get(row.address.key)
        if standing is None and digest in merged and digest not in barred:
            return "already", MERGED_REASON
        left = set(absent.get(digest, ())).difference(standing or ())
        return _decide_row(row, list, barred.get(digest), standing, left, import_id)

    return [Decision(number, *fate(row)) for number, row in batch], known


def _decide_row(
    row: ImportRow,
    list: str,
    suppression_reason: str | None,
    memberships: Mapping[str, Membership] | None,
    excluded_lists: Collection[str],
    import_id: int | None,
) -> tuple[str, str]:
    if suppression_reason is not None:
        return "suppressed", SUPPRESSED_REASONS.get(suppression_reason, suppression_reason)
    lists = memberships or {}
    gone = sorted({name for name, found in lists.items() if found.state == "left"}.union(excluded_lists))
    here = lists.get(list)
    if here is not None and here.state != "left":
        if import_id is not None and here.arrival_id == import_id:
            return "added", row.note
        return "already", ALREADY_REASONS[here.state]
    if gone:
        # Who left one list may not want another one either: only they themselves can come back.
        return "left", f"left the list {' and '.join(gone)}; can join again on the page"
    known = (
        ""
        if memberships is None
        else "is known here already, and keeps the name, language and ZIP code they have"
    )
    return "added", "; ".join(part for part in (known, row.note) if part)


def _find_memberships(session: Session, batch: Sequence[StagedRow]) -> Mapping[str, Mapping[str, Membership]]:
    """Return, for each of these people who is known, how they stand on every list they ever were on."""
    found = session.execute(
        select(Contact.email_key, Subscription.list, Subscription.state, Subscription.arrival_id)
        .outerjoin(Subscription, Subscription.contact_id == Contact.id)
        .where(Contact.email_key.in_([row.address.key for _, row in batch]))
    )
    standing: dict[str, dict[str, Membership]] = {}
    for key, list_name, state, arrival_id in found:
        lists = standing.setdefault(key, {})
        if list_name is not None:
            lists[list_name] = Membership(state, arrival_id)
    return standing


def _contact_columns(row: ImportRow, now: datetime) -> Mapping[str, Any]:
    return {
        "email": row.address.email,
        "email_key": row.address.key,
        "email_digest": row.address.digest,
        "name": row.name,
        "language": row.language,
        **contacts.place_columns(row.place),
        "organization": "",
        "tradition": "",
        "role": "",
        "created_at": now,
        "version": 1,
    }


def _find_contact_ids(session: Session, batch: Sequence[ImportRow]) -> Mapping[str, int]:
    """Return the numbers of these contacts by the keys of their addresses."""
    keys = [row.address.key for row in batch]
    wanted = select(Contact.email_key, Contact.id).where(Contact.email_key.in_(keys))
    return {row.email_key: row.id for row in session.execute(wanted.order_by(Contact.id))}


def _format_wording(evidence: str, since: str) -> str:
    return f"{evidence} ({since})" if since else evidence
