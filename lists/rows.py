"""A row of a file, read: a person who may be brought in, somebody who is passed over, or what is wrong."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lists import addresses, contacts, fields, geography, mappings, spreadsheets, tags
from lists.addresses import Address
from lists.contacts import NAME_LENGTH
from lists.dialects import Record
from lists.errors import BadInput
from lists.fields import Field
from lists.geography import Place
from lists.mappings import Columns

MOST_ROWS = 1_000_000
NOT_AGREED = frozenset({"", "no", "n", "0", "false"})
SHOWN = 60  # characters of a cell that a sentence repeats

LANGUAGE = {
    **dict.fromkeys(("", "en", "english", "inglés", "ingles"), "en"),
    **dict.fromkeys(("es", "spanish", "español", "espanol"), "es"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One person of the file; `line` is where the row begins, `note` what staff may want to look at.

    `since` is what the file itself says about when they agreed, "" for nothing; `values` are those of staff's
    own fields.
    """

    line: int
    address: Address
    name: str
    language: str
    place: Place | None
    since: str = ""
    note: str = ""
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What became, or would become, of one row: one of OUTCOMES of the stage, and why."""

    line: int
    email: str
    outcome: str
    why: str = ""


def read(
    records: Iterator[Record],
    columns: Columns,
    *,
    own: Mapping[str, Field],
    pepper: bytes,
    line_of: Callable[[str], int | None],
) -> Iterator[tuple[Row | Fate, Sequence[str]]]:
    """Yield what each record is, with its cells, passing over those without anything in them.

    `own` are the fields that staff defined; `line_of` knows where the key of an address stood in an earlier
    row, or None. Raises BadInput for more rows than MOST_ROWS.
    """
    for number, (line, cells) in enumerate(records, 1):
        if number > MOST_ROWS:
            raise BadInput(
                f"The file has more than {MOST_ROWS:,} rows. Split it and import the parts one by one."
            )
        if any(cell.strip() for cell in cells):
            yield _row(line, cells, columns, own=own, line_of=line_of, pepper=pepper), cells


def shown(text: str) -> str:
    """Return the start of a text of the file, with whatever could steer a terminal replaced."""
    start = text[:SHOWN] + ("…" if len(text) > SHOWN else "")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in start)


def _row(
    line: int,
    cells: Sequence[str],
    columns: Columns,
    *,
    own: Mapping[str, Field],
    line_of: Callable[[str], int | None],
    pepper: bytes,
) -> Row | Fate:
    def cell(place: int | None) -> str:
        return _plain(cells[place]) if place is not None and place < len(cells) else ""

    def text(field: str) -> str:
        return cell(columns.place(field))

    try:
        if any(extra.strip() for extra in cells[len(columns.columns) :]):
            raise BadInput(
                f"The row has {len(cells)} cells, but the first line names {len(columns.columns)} columns."
            )
        declined = columns.whole_file or _declined(text("state"))
        if columns.place("agreed") is not None and text("agreed").casefold() in NOT_AGREED:
            declined = "did not tick that they agree"
        if declined or any(cell(place) for place in columns.places("left")):
            why = declined or "left there"
            return Fate(line=line, email=shown(text("email")), outcome="declined", why=why)
        address = addresses.parse(text("email"), pepper=pepper)
        if (first := line_of(address.key)) is not None:
            raise BadInput(f"The same address is in line {first}. Keep one of the two.")
        full = " ".join(part for part in (text("first_name"), text("last_name")) if part)
        name = contacts.clean(text("name") or full, what="name", limit=NAME_LENGTH)
        language = _language(text("language"))
        place, notes = _place(text("zip"))
        values = {name: fields.parse(own[name], text(name)) for name in own if text(name)}
        words = tags.parse_all(text("tags"))
        since = "; ".join(
            f"{columns.columns[place]} {shown(cell(place))}"
            for place in columns.places("since")
            if cell(place)
        )
    except BadInput as refusal:
        return Fate(line=line, email=shown(text("email")), outcome="wrong", why=str(refusal))
    local, _, domain = address.email.rpartition("@")
    if meant := _meant(domain):
        notes.append(f"was {local}@{meant} meant?")
    if not local.isascii():
        notes.append("not every mail server can send to letters like ñ before the @; “mailer status” tells")
    return Row(
        line=line,
        address=address,
        name=name,
        language=language,
        place=place,
        since=since,
        note="; ".join(notes),
        values=values,
        tags=words,
    )


def _plain(cell: str) -> str:
    """Return a cell without the spaces around it, and without the shield against being a formula."""
    return spreadsheets.bare(cell.strip(" \t\N{NO-BREAK SPACE}"))


def _declined(text: str) -> str:
    """Return why somebody in this state is passed over, "" when they want mail."""
    why = mappings.state(text)
    if why is None:
        raise BadInput(
            f"“{shown(text)}” is not known as a state. Write subscribed or unsubscribed instead, or leave the"
            " column out with --map."
        )
    return "" if why == mappings.WANTED else why


def _place(zip_code: str) -> tuple[Place | None, list[str]]:
    if not zip_code:
        return None, []
    place = geography.find(_with_its_zeros(zip_code))
    return place, [] if place else [f"the ZIP code {shown(zip_code)} is not known and is left out"]


def _language(cell: str) -> str:
    language = LANGUAGE.get(cell.casefold().replace("_", "-").partition("-")[0])
    if language is None:
        raise BadInput(f"“{shown(cell)}” is not a language of this service. Write en or es.")
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
