"""Export rows: people, subscriptions and consents as rows for a file, read one at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from lists import fields, subscriptions, tags
from lists.consents import Consent
from lists.contacts import Contact
from lists.subscriptions import Subscription

BATCH_SIZE = 1_000  # rows fetched at once
TAGS = "tags"
ExportQuery = Select[*tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Export:
    """One kind of export: its columns, and the query of its rows, which takes a list or None for all.

    `is_per_person`: the first column of the query is the contact's number, which is not exported, and each
    row ends with the custom fields and tags of the contact.
    """

    columns: Sequence[str]
    select: Callable[[str | None], ExportQuery]
    is_per_person: bool = False


def list_columns(session: Session, kind: str) -> Sequence[str]:
    """Return the columns of one of KINDS, with the active custom fields, and the tags."""
    extra_columns = [*fields.list_active(session), TAGS] if KINDS[kind].is_per_person else []
    return [*KINDS[kind].columns, *extra_columns]


def read_rows(session: Session, kind: str, *, list: str | None = None) -> Iterator[Sequence[object]]:
    """Yield the rows of one of KINDS, oldest first, moments in ISO 8601; `list` selects one list."""
    names = [*fields.list_active(session)]
    batches = session.execute(KINDS[kind].select(list).execution_options(yield_per=BATCH_SIZE))
    for batch in batches.partitions(BATCH_SIZE):
        if not KINDS[kind].is_per_person:
            yield from (_format_row(row) for row in batch)
            continue
        numbers = [row[0] for row in batch]
        values = fields.find_values_by_contact(session, numbers)
        tags_by_contact = tags.list_for_contacts(session, numbers)
        for row in batch:
            row_values = values.get(row[0], {})
            extra_cells = [
                *(row_values.get(name, "") for name in names),
                ", ".join(tags_by_contact.get(row[0], ())),
            ]
            yield [*_format_row(row)[1:], *extra_cells]


def _select_people(list: str | None) -> ExportQuery:
    query: ExportQuery = select(
        Contact.id,
        Contact.email,
        Contact.name,
        Contact.language,
        Contact.zip,
        Contact.city,
        Contact.county,
        Contact.state,
        Contact.zone,
        Contact.organization,
        Contact.tradition,
        Contact.role,
        Contact.created_at,
    )
    subscribed = select(Subscription.contact_id).where(~subscriptions.is_arriving())
    if list is not None:
        subscribed = subscribed.where(Subscription.list == list)
    return query.where(Contact.id.in_(subscribed)).order_by(Contact.id)


def _select_subscriptions(list: str | None) -> ExportQuery:
    query: ExportQuery = select(
        Contact.id,
        Contact.email,
        Contact.name,
        Contact.language,
        Contact.zip,
        Subscription.list,
        Subscription.state,
        Subscription.asked_at,
        Subscription.confirmed_at,
        Subscription.left_at,
        Subscription.paused_until,
    ).join(Subscription, Subscription.contact_id == Contact.id)
    query = query.where(~subscriptions.is_arriving()).order_by(Subscription.id)
    return query if list is None else query.where(Subscription.list == list)


def _select_consents(list: str | None) -> ExportQuery:
    query: ExportQuery = select(
        Contact.email,
        Consent.list,
        Consent.action,
        Consent.at,
        Consent.page,
        Consent.language,
        Consent.wording,
    ).join(Consent, Consent.contact_id == Contact.id)
    query = query.order_by(Consent.id)
    return query if list is None else query.where(Consent.list == list)


def _format_row(row: Row[*tuple[Any, ...]]) -> Sequence[object]:
    return [cell.isoformat(timespec="seconds") if isinstance(cell, datetime) else cell for cell in row]


# An import reads the first columns of `subscriptions` with “status”: the import of an exported list
# subscribes the confirmed people, and not those who left.
KINDS: Mapping[str, Export] = {
    "people": Export(
        columns=(
            "email",
            "name",
            "language",
            "zip",
            "city",
            "county",
            "us state",
            "time zone",
            "organization",
            "tradition",
            "role",
            "here since",
        ),
        select=_select_people,
        is_per_person=True,
    ),
    "subscriptions": Export(
        columns=(
            "email",
            "name",
            "language",
            "zip",
            "list",
            "status",
            "asked at",
            "confirmed at",
            "left at",
            "paused until",
        ),
        select=_select_subscriptions,
        is_per_person=True,
    ),
    "consents": Export(
        columns=("email", "list", "what", "when", "where", "language", "words shown"), select=_select_consents
    ),
}
