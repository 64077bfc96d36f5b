"""Exports: people, subscriptions and consents as rows for a file, one at a time, however many there are."""

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
    """One kind of export: its columns, and what selects its rows; a list narrows it to that list.

    `is_per_person`: the first thing selected is the contact's number, which is not told, and each row ends
    with what staff's own fields and tags hold of the contact.
    """

    columns: Sequence[str]
    select: Callable[[str | None], ExportQuery]
    is_per_person: bool = False


def list_columns(session: Session, kind: str) -> Sequence[str]:
    """Return the columns of one of KINDS, with the fields that are in use now, and the tags."""
    more = [*fields.list_active(session), TAGS] if KINDS[kind].is_per_person else []
    return [*KINDS[kind].columns, *more]


def read_rows(session: Session, kind: str, *, list: str | None = None) -> Iterator[Sequence[object]]:
    """Yield the rows of one of KINDS, oldest first, moments in ISO 8601; `list` leaves out other lists."""
    names = [*fields.list_active(session)]
    found = session.execute(KINDS[kind].select(list).execution_options(yield_per=BATCH_SIZE))
    for part in found.partitions(BATCH_SIZE):
        if not KINDS[kind].is_per_person:
            yield from (_format_row(row) for row in part)
            continue
        numbers = [row[0] for row in part]
        values, words = (
            fields.find_values_by_contact(session, numbers),
            tags.list_for_contacts(session, numbers),
        )
        for row in part:
            known = values.get(row[0], {})
            more = [*(known.get(name, "") for name in names), ", ".join(words.get(row[0], ()))]
            yield [*_format_row(row)[1:], *more]


def _select_people(list: str | None) -> ExportQuery:
    chosen: ExportQuery = select(
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
    on_a_list = select(Subscription.contact_id).where(~subscriptions.is_arriving())
    if list is not None:
        on_a_list = on_a_list.where(Subscription.list == list)
    return chosen.where(Contact.id.in_(on_a_list)).order_by(Contact.id)


def _select_subscriptions(list: str | None) -> ExportQuery:
    chosen: ExportQuery = select(
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
    chosen = chosen.where(~subscriptions.is_arriving()).order_by(Subscription.id)
    return chosen if list is None else chosen.where(Subscription.list == list)


def _select_consents(list: str | None) -> ExportQuery:
    chosen: ExportQuery = select(
        Contact.email,
        Consent.list,
        Consent.action,
        Consent.at,
        Consent.page,
        Consent.language,
        Consent.wording,
    ).join(Consent, Consent.contact_id == Contact.id)
    chosen = chosen.order_by(Consent.id)
    return chosen if list is None else chosen.where(Consent.list == list)


def _format_row(row: Row[*tuple[Any, ...]]) -> Sequence[object]:
    return [cell.isoformat(timespec="seconds") if isinstance(cell, datetime) else cell for cell in row]


# The first columns of `subscriptions` are what an import reads, “status” with it: a list that was exported
# comes back with those who are confirmed, and without those who left.
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
