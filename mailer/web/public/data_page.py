"""Data page: all that is stored about a person, behind a link mailed to them; to read, and as a file."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from lists import fields
from lists.catalog import BUILT_IN_LISTS
from lists.contacts import Contact
from mailer import json_values
from mailer.events import events
from mailer.people import data_export
from mailer.people.data_export import Facts
from mailer.templates import local_time
from mailer.web.page_request import PageRequest, PageResponse, RawResponse
from mailer.web.public import added_list, consent_words, profile

TEMPLATE = "data_page.html"
CONTENT_DISPOSITION = 'attachment; filename="about-me.json"'  # the name reveals nothing to others who see it
MAX_ROWS_SHOWN = 50  # of a kind, the newest; the file has all
LABELS_BY_COLUMN = {  # a state of the country is not the state of a subscription
    (name, "state"): "standing" for name in ("subscriptions", "applications", "journeys", "messages")
}
# What the page shows of each kind, in this order; the file has every column.
COLUMNS_BY_KIND: Mapping[str, Sequence[str]] = {
    "contact": (
        *("email", "name", "language", "zip", "city", "county", "state", "zone", "position"),
        *("organization", "tradition", "role", "discreet", "created_at"),
        "readdressed_at",
    ),
    "subscriptions": ("list", "state", "asked_at", "confirmed_at", "left_at", "paused_until"),
    "consents": ("at", "action", "list", "page", "wording"),
    "declines": ("topic", "at"),
    "applications": (
        *("asked_at", "state", "name", "organization", "tradition", "role", "zip", "offer", "decided_at"),
    ),
    "answers": ("call", "answer", "answered_at"),
    "journeys": ("sequence", "state", "started_at"),
    "messages": ("queued_at", "kind", "state", "sent_at"),
    "field_values": ("field", "value"),
    "tags": ("tag", "at"),
    "notes": ("at", "text"),
    "mergers": ("at",),
    "posted": ("date", "subject"),
}


def show(request: PageRequest) -> PageResponse:
    """Show all that is stored, in words, each kind folded under its title."""
    with request.service.database.read() as session:
        contact = profile.find_contact(session, request)
        request = request.with_default_language(contact.language)
        facts = _collect_facts(session, request, contact)
        zone = local_time.find_zone(contact.zone) or ZoneInfo(request.service.settings.default_zone)
    kinds = [_build_kind(request, name, _list_rows(facts, name), zone) for name in COLUMNS_BY_KIND]
    values = {
        "kinds": [kind for kind in kinds if kind["rows"]],
        "barred": request.words.data_page.barred[facts["suppressed"]] if facts["suppressed"] else "",
        "most": MAX_ROWS_SHOWN,
        "file": f"{request.path}.json",
        "back": request.path.removesuffix("/all"),
    }
    return PageResponse(request=request, template=TEMPLATE, values=values)


def download(request: PageRequest) -> RawResponse:
    """Return all that is stored as JSON, the same that `mailer contact export` prints."""
    with request.service.database.read() as session:
        facts = data_export.collect(session, profile.find_contact(session, request), now=request.now)
    body = json_values.to_json(facts).encode() + b"\n"
    return RawResponse(
        body=body, kind="application/json", headers={"Content-Disposition": CONTENT_DISPOSITION}
    )


def _collect_facts(session: Session, request: PageRequest, contact: Contact) -> Facts:
    """Return what is stored, with the titles of calls, lists and fields, and the position as one value."""
    facts = data_export.collect(session, contact, now=request.now, limit=MAX_ROWS_SHOWN + 1)
    for row in _list_rows(facts, "answers"):
        number = row["event_id"]
        assert isinstance(number, int)
        event = events.find(session, number)
        row["call"] = "" if event is None else event.title.get(request.language) or event.title["en"]
    for name in ("subscriptions", "consents"):
        for row in _list_rows(facts, name):
            if row["list"] not in BUILT_IN_LISTS:
                row["list"] = added_list.find_title(session, request, str(row["list"]))
    for row in _list_rows(facts, "consents"):
        words = request.words.data_page
        row["wording"] = consent_words.describe_wording(words, str(row["wording"]), action=str(row["action"]))
        row["page"] = consent_words.describe_page(words, str(row["page"]))
    fields_by_name = {field.name: field for field in fields.list_all(session)}
    for row in _list_rows(facts, "field_values"):
        field = fields_by_name[str(row["field"])]
        row["field"] = field.title
        row["value"] = row["value"] == "yes" if field.type == "yes/no" else row["value"]
    (about,) = _list_rows(facts, "contact")
    has_position = about["latitude"] is not None
    zone = str(about["zone"])
    about["zone"] = local_time.zone_name(zone, language=request.language) if zone else ""
    about["position"] = f"{about['latitude']}, {about['longitude']}" if has_position else ""
    return facts


def _list_rows(facts: Facts, name: str) -> list[Facts]:
    value = facts[name]
    if isinstance(value, dict):
        return [value]
    assert isinstance(value, list)
    return value


def _build_kind(request: PageRequest, name: str, rows: Sequence[Facts], zone: ZoneInfo) -> Facts:
    """Return one kind as the page shows it: its words, its newest rows as pairs of label and value."""
    newest = rows[:MAX_ROWS_SHOWN] if name == "messages" else rows[::-1][:MAX_ROWS_SHOWN]
    pairs = [
        [_label_and_value(request, name, column, row[column], zone) for column in COLUMNS_BY_KIND[name]]
        for row in newest
    ]
    return {
        "words": request.words.data_page[name],
        "rows": [[(label, value) for label, value in row if value] for row in pairs],
        "cut": len(rows) > MAX_ROWS_SHOWN,
    }


def _label_and_value(
    request: PageRequest, name: str, column: str, value: object, zone: ZoneInfo
) -> tuple[str, str]:
    """Return a column's label, and its value in words; names given by staff stay as they were written."""
    words = request.words.data_page
    label = words.label[LABELS_BY_COLUMN.get((name, column), column)]
    if isinstance(value, datetime):
        return label, local_time.format_full_date(value.astimezone(zone), language=request.language)
    if isinstance(value, bool):
        return label, words.value["yes" if value else "no"]
    phrase = words.value.get(f"{name}_{column}_{value}") or words.value.get(f"{column}_{value}")
    return label, phrase or str(value or "")
