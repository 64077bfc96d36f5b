"""Importing: subscribe the people of a file, all of them or none, with a report by row.

`stage_rows` reads the file alone, `plan` queries the database for the result of each row, `import_batch`
writes one batch of new people, and `finish` lets all of them count at once (lists/imports.py). An import
restores nobody who left a list, was erased or is suppressed, and it does not change the data of existing
contacts. Database work is done in batches, never one query per row.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from lists import (
    audit,
    contacts,
    fields,
    imports,
    list_exclusions,
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
from lists.tables import row_parsing
from lists.tables.column_mapping import ColumnMapping
from lists.tables.csv_file import TableFile
from lists.tables.row_parsing import ImportRow
from lists.tables.staged_rows import UNDECIDED, Decision, StagedRow, StagingTable
from lists.tables.undeclared_columns import UnreadColumns

EVIDENCE_LENGTH = 1_000
PROGRESS_EVERY = 500  # rows between two calls of `progress`

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
    """A person's state on a list, and the import that subscribed them, if one did."""

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
    """Add the rows of a file with mapped columns to the staging table.

    `custom_fields` are the fields that staff defined, `yes_means` the texts that count as a yes. Raises
    BadInput for a file that cannot be read as a whole, and for one that does not say whether its people want
    mail.
    """
    parsed_rows = row_parsing.read_rows(
        table.records,
        mapping,
        custom_fields=custom_fields or {},
        pepper=pepper,
        find_line=staging.find_line,
        yes_means=yes_means,
    )
    unread_columns = UnreadColumns(mapping)
    for number, (row, cells) in enumerate(parsed_rows):
        staging.add(row, cells)
        if unread_columns.has_columns:
            unread_columns.inspect(cells, row_parsing.clean_cell)
        if number % PROGRESS_EVERY == 0:
            progress(row.line)
    if refusal := unread_columns.describe(row_parsing.make_printable):
        raise BadInput(f"{refusal}\nUntil then nobody of this file is brought in.")
    staging.exclude_rows(
        {
            index: mapping.columns[index]
            for index, has_values in unread_columns.state_columns.items()
            if has_values
        }
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
    """Decide in the staging table what importing to a list would do to each row; changes nothing else.

    `import_id` is that of the same import when it was interrupted: the people it subscribed count as added.
    """
    number = 0
    for batch in staging.batches(UNDECIDED):
        staging.decide(_decide_rows(session, batch, list=list, import_id=import_id)[0])
        number += len(batch)
        progress(number)


def import_batch(
    session: Session,
    batch: Sequence[StagedRow],
    *,
    list_import: ListImport,
    evidence: str,
    confirmed: bool,
    now: datetime,
) -> Sequence[Decision]:
    """Write one batch of an import, deciding again about each row; returns the decisions.

    `confirmed`: the people have agreed already, and `evidence` says where that can be seen; otherwise each of
    them gets a request to confirm once the import is finished. The evidence is stored in each person's
    consent record.
    """
    decisions, memberships = _decide_rows(session, batch, list=list_import.list, import_id=list_import.id)
    added_numbers = {decision.number for decision in decisions if decision.outcome == "added"}
    new_members = [
        row
        for number, row in batch
        if number in added_numbers and list_import.list not in memberships.get(row.address.key, {})
    ]
    insert_or_nothing(session, Contact, [_contact_columns(row, now) for row in new_members])
    contact_ids = _find_contact_ids(session, new_members)
    subscriptions.add_all(
        session,
        [*contact_ids.values()],
        list=list_import.list,
        now=now,
        confirmed=confirmed,
        import_id=list_import.id,
    )
    # Existing contacts are not changed.
    new_contacts = [row for row in new_members if row.address.key not in memberships]
    fields.add_values(session, [(contact_ids[row.address.key], row.values) for row in new_contacts])
    tags.add_all(session, [(contact_ids[row.address.key], row.tags) for row in new_contacts], now=now)
    consent_columns = {
        "list": list_import.list,
        "action": "imported",
        "page": imports.EVIDENCE_PAGE.format(number=list_import.id),
        "at": now,
    }
    since_by_key = {row.address.key: row.since for row in new_members}
    consent_rows = [
        {"contact_id": number, "wording": _format_wording(evidence, since_by_key[key]), **consent_columns}
        for key, number in contact_ids.items()
    ]
    if consent_rows:
        session.execute(insert(Consent), consent_rows)
    return decisions


def finish(
    session: Session, list_import: ListImport, *, people: int, confirmed: bool, now: datetime, actor: str
) -> None:
    """Finish an import, so that all its subscriptions count from now on."""
    imports.end(session, list_import.id, state="here", now=now)
    subject = f"{people} to {list_import.list}{', confirmed' if confirmed else ''}"
    audit.record(session, actor=actor, action="import", subject=subject, now=now)


def check_evidence(evidence: str) -> str:
    """Return the cleaned evidence of consent; raises BadInput when it is empty."""
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
    """Return a decision for each row, and the memberships of the contacts that exist."""
    digests = [row.address.digest for _, row in batch]
    suppression_reasons = suppressions.find_reasons(session, digests)
    exclusions = list_exclusions.find_lists(session, digests)
    memberships = _find_memberships(session, batch)
    merge_targets = merge_redirects.find_targets(session, digests)

    def decide(row: ImportRow) -> tuple[str, str]:
        digest, contact_memberships = row.address.digest, memberships.get(row.address.key)
        if contact_memberships is None and digest in merge_targets and digest not in suppression_reasons:
            return "already", MERGED_REASON
        excluded_lists = set(exclusions.get(digest, ())).difference(contact_memberships or ())
        return _decide_row(
            row, list, suppression_reasons.get(digest), contact_memberships, excluded_lists, import_id
        )

    return [Decision(number, *decide(row)) for number, row in batch], memberships


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
    lists_left = sorted(
        {name for name, membership in lists.items() if membership.state == "left"}.union(excluded_lists)
    )
    membership = lists.get(list)
    if membership is not None and membership.state != "left":
        if import_id is not None and membership.arrival_id == import_id:
            return "added", row.note
        return "already", ALREADY_REASONS[membership.state]
    if lists_left:
        # A person who left one list may not want another one either: only they themselves can join again.
        return "left", f"left the list {' and '.join(lists_left)}; can join again on the page"
    existing_note = (
        ""
        if memberships is None
        else "is known here already, and keeps the name, language and ZIP code they have"
    )
    return "added", "; ".join(part for part in (existing_note, row.note) if part)


def _find_memberships(session: Session, batch: Sequence[StagedRow]) -> Mapping[str, Mapping[str, Membership]]:
    """Return, for each of these people who has a contact, their memberships of all lists, past ones too."""
    records = session.execute(
        select(Contact.email_key, Subscription.list, Subscription.state, Subscription.arrival_id)
        .outerjoin(Subscription, Subscription.contact_id == Contact.id)
        .where(Contact.email_key.in_([row.address.key for _, row in batch]))
    )
    memberships: dict[str, dict[str, Membership]] = {}
    for key, list_name, state, arrival_id in records:
        contact_memberships = memberships.setdefault(key, {})
        if list_name is not None:
            contact_memberships[list_name] = Membership(state, arrival_id)
    return memberships


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
    query = select(Contact.email_key, Contact.id).where(Contact.email_key.in_(keys))
    return {row.email_key: row.id for row in session.execute(query.order_by(Contact.id))}


def _format_wording(evidence: str, since: str) -> str:
    return f"{evidence} ({since})" if since else evidence
