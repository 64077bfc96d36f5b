"""Transfers: people brought in from a CSV file, all of them or none, with a report by row.

`read` looks at the file alone, `plan` asks the database what would become of each row, `bring_in` does it.
Nobody is brought back: who left a list, was forgotten or is suppressed stays so, and what is known about
somebody who is here already stays as it is. Database work is done in batches, never a query per row.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from io import SEEK_END
from itertools import islice
from typing import Any, BinaryIO, TypeVar

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from lists import addresses, audit, contacts, dialects, encodings, geography, subscriptions, suppressions
from lists.addresses import Address
from lists.consents import Consent
from lists.contacts import NAME_LENGTH, Contact
from lists.db import insert_or_nothing
from lists.dialects import Dialect
from lists.encodings import Encoding
from lists.errors import BadInput
from lists.geography import Place
from lists.subscriptions import Subscription

COLUMNS = ("email", "name", "language", "zip")
OUTCOMES = ("added", "already", "left", "suppressed", "wrong")
MOST_BYTES = 50_000_000
MOST_ROWS = 100_000  # they are written in one transaction of about 7 s, and a person's sign-up waits 10
MOST_WRONG = 1_000  # after so many wrong rows the rest is not read any more
EVIDENCE_LENGTH = 1_000
SHOWN = 60  # characters of a cell that a sentence repeats
BATCH = 1_000  # rows a query; SQLite binds at most 32,766 values
TOLD_EVERY = 500  # rows between two words about progress

LANGUAGE = {
    **dict.fromkeys(("", "en", "english", "inglés", "ingles"), "en"),
    **dict.fromkeys(("es", "spanish", "español", "espanol"), "es"),
}
ALREADY = {"confirmed": "is on this list", "pending": "was asked, and has not confirmed yet"}
SUPPRESSED = {
    "forgotten": "asked to be forgotten",
    "complaint": "complained about a mail of ours",
    "bounce": "this address does not take mail",
    "staff": "staff decided not to write to this address",
}
T = TypeVar("T")
Progress = Callable[[int], None]
Numbers = list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One person of the file; `line` is where the row begins, `note` what staff may want to look at."""

    line: int
    address: Address
    name: str
    language: str
    place: Place | None
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What became, or would become, of one row: one of OUTCOMES, and why."""

    line: int
    email: str
    outcome: str
    why: str = ""


Fates = list[Fate]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A file as read: how it is written, the good rows, what is wrong with others, the columns not read."""

    encoding: Encoding
    dialect: Dialect
    rows: Sequence[Row]
    wrong: Sequence[Fate]
    unread: Sequence[str]


def read(
    file: BinaryIO,
    *,
    pepper: bytes,
    encoding: str = "",
    separator: str = "",
    progress: Progress = lambda _rows: None,
) -> Reading:
    """Read a CSV file with a column `email` and perhaps `name`, `language`, `zip`, in any order.

    Names of columns may be in capitals. Rows without anything are passed over. `encoding` and `separator` are
    names of lists.encodings and lists.dialects, or "" to be told by the file.
    Raises BadInput for a file that cannot be read as a whole: its encoding, its first line, its quotes.
    """
    if file.seek(0, SEEK_END) > MOST_BYTES:
        raise BadInput(
            f"The file is larger than {MOST_BYTES // 1_000_000} MB. Split it and import the parts."
        )
    written = encodings.find(file, said=encoding)
    dialect = dialects.find(file, written, said=separator)
    records = dialects.records(file, written, dialect)
    header_line, header = next(records, (1, []))
    places = _places(header, header_line)
    rows: list[Row] = []
    wrong: list[Fate] = []
    seen: dict[str, int] = {}
    for number, (line, cells) in enumerate(records, 1):
        if number > MOST_ROWS:
            raise BadInput(
                f"The file has more than {MOST_ROWS:,} rows. Split it and import the parts one by one."
            )
        if number % TOLD_EVERY == 0:
            progress(line)
        found = _row(line, cells, places=places, width=len(header), seen=seen, pepper=pepper)
        if isinstance(found, Row):
            seen[found.address.key] = line
            rows.append(found)
        elif found is not None:
            wrong.append(found)
        if len(wrong) >= MOST_WRONG:
            break
    unread = [_shown(name) for name in header if name.strip() and name.strip().casefold() not in COLUMNS]
    return Reading(encoding=written, dialect=dialect, rows=rows, wrong=wrong, unread=unread)


def plan(
    session: Session, rows: Sequence[Row], *, list: str, progress: Progress = lambda _rows: None
) -> Sequence[Fate]:
    """Tell what importing these rows to a list would do to each, in their order; changes nothing."""
    fates: Fates = []
    for batch in _batches(rows):
        barred = suppressions.among(session, [row.address.digest for row in batch])
        standing = _standing(session, batch)
        for row in batch:
            outcome, why = _fate(row, list, barred.get(row.address.digest), standing.get(row.address.key))
            fates.append(Fate(line=row.line, email=row.address.email, outcome=outcome, why=why))
        progress(len(fates))
    return fates


def bring_in(
    session: Session,
    rows: Sequence[Row],
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
    fates = plan(session, rows, list=list)
    joining = [row for row, fate in zip(rows, fates, strict=True) if fate.outcome == "added"]
    done = 0
    for batch in _batches(joining):
        insert_or_nothing(session, Contact, [_contact(row, now) for row in batch])
        ids = _ids(session, batch)
        subscriptions.add_all(session, ids, list=list, now=now, confirmed=confirmed)
        said = {"list": list, "action": "imported", "wording": evidence, "page": "import", "at": now}
        session.execute(insert(Consent), [{"contact_id": contact_id, **said} for contact_id in ids])
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


def _places(header: Sequence[str], line: int) -> Mapping[str, int]:
    """Return where each known column stands."""
    names = [name.strip().casefold() for name in header]
    for column in COLUMNS:
        if names.count(column) > 1:
            raise BadInput(f"The column “{column}” is there twice. Keep one of them.")
    if "email" not in names:
        found = ", ".join(f"“{_shown(name.strip())}”" for name in header[:10] if name.strip())
        raise BadInput(
            f"Line {line} must name the columns, one of them “email”. It has {found or 'no names'}. "
            f"The others that are read: {', '.join(COLUMNS[1:])}."
        )
    return {column: names.index(column) for column in COLUMNS if column in names}


def _row(
    line: int,
    cells: Sequence[str],
    *,
    places: Mapping[str, int],
    width: int,
    seen: Mapping[str, int],
    pepper: bytes,
) -> Row | Fate | None:
    """Return one row ready to be imported, or what is wrong with it; None for a row without anything."""
    if not any(cell.strip() for cell in cells):
        return None

    def cell(column: str) -> str:
        place = places.get(column, len(cells))
        return cells[place].strip(" \t\N{NO-BREAK SPACE}") if place < len(cells) else ""

    try:
        if any(extra.strip() for extra in cells[width:]):
            raise BadInput(f"The row has {len(cells)} cells, but the first line names {width} columns.")
        address = addresses.parse(cell("email"), pepper=pepper)
        if address.key in seen:
            raise BadInput(f"The same address is in line {seen[address.key]}. Keep one of the two.")
        name = contacts.clean(cell("name"), what="name", limit=NAME_LENGTH)
        language, place, notes = _language(cell("language")), None, []
        if zip_code := cell("zip"):
            place = geography.find(_with_its_zeros(zip_code))
            notes += [] if place else [f"the ZIP code {_shown(zip_code)} is not known and is left out"]
        if meant := _meant(address.email.rpartition("@")[2]):
            notes.append(f"was {address.email.rpartition('@')[0]}@{meant} meant?")
    except BadInput as refusal:
        return Fate(line=line, email=_shown(cell("email")), outcome="wrong", why=str(refusal))
    note = "; ".join(notes)
    return Row(line=line, address=address, name=name, language=language, place=place, note=note)


def _language(cell: str) -> str:
    language = LANGUAGE.get(cell.casefold().replace("_", "-").partition("-")[0])
    if language is None:
        raise BadInput(f"“{_shown(cell)}” is not a language of this service. Write en or es.")
    return language


def _with_its_zeros(zip_code: str) -> str:
    """Return a ZIP code with the zeros in front that spreadsheets take for a number's and drop."""
    digits = zip_code.isascii() and zip_code.isdigit() and len(zip_code) in (3, 4)
    return zip_code.zfill(5) if digits else zip_code


@lru_cache(maxsize=10_000)
def _meant(domain: str) -> str | None:
    """Return the domain that was probably meant; a file names most domains many times."""
    mended = addresses.suggestion(f"x@{domain}")
    return mended.rpartition("@")[2] if mended else None


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


def _ids(session: Session, batch: Sequence[Row]) -> Numbers:
    keys = [row.address.key for row in batch]
    return [*session.scalars(select(Contact.id).where(Contact.email_key.in_(keys)).order_by(Contact.id))]


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    remaining = iter(rows)
    while batch := tuple(islice(remaining, BATCH)):
        yield batch


def _shown(text: str) -> str:
    start = text[:SHOWN] + ("…" if len(text) > SHOWN else "")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in start)
