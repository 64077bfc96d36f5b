"""A row of a file, read: a person who may be brought in, somebody who is passed over, or what is wrong."""

import dataclasses
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lists import addresses, contacts, fields, geography, tags
from lists.addresses import Address
from lists.contacts import NAME_LENGTH
from lists.errors import BadInput
from lists.fields import Field
from lists.geography import Place
from lists.tables import consent_cells, optout_columns, spreadsheets, statuses
from lists.tables.column_mapping import ANYTHING_REFUSES, YES_REFUSES, YES_WANTED, Columns
from lists.tables.dialects import Record
from lists.tables.statuses import WANTED

MOST_ROWS = 1_000_000
SHOWN = 60  # characters of a cell that a sentence repeats
DATE = re.compile(
    r"(?<!\d)(\d{4}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}\.? [^\W\d]{3,}\.?,? \d{4}"
    r"|[^\W\d]{3,}\.? \d{1,2},? \d{4}|\d{8}T)"
)
ZERO_DATE = re.compile(r"0{4}-00-00([ T][0:.]*)?|0+[./-]0+[./-]0+")
NUMBER = re.compile(r"\+?\d+([.,]\d+)?")

LANGUAGE = {
    **dict.fromkeys(("", "en", "english", "inglés", "ingles"), "en"),
    **dict.fromkeys(("es", "spanish", "español", "espanol"), "es"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One person of the file; `line` is where the row begins, `note` what staff may want to look at.

    `since` is what the file itself says about when they agreed, "" for nothing; `values` are those of staff's
    own fields; `blank` are the places of columns of states in which nothing stands for them.
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
    blank: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What became, or would become, of one row: one of OUTCOMES of the stage, and why.

    `column` is the one that keeps them out, and `key` that of the address, "" where there is none: nobody
    whom one row keeps out comes in by another row of the same file.
    """

    line: int
    email: str
    outcome: str
    why: str = ""
    column: str = ""
    key: str = ""


class Kept(Exception):
    """Somebody is kept out by a column: why, and its name."""

    def __init__(self, why: str, column: str) -> None:
        super().__init__(why)
        self.why, self.column = why, column


def read(
    records: Iterator[Record],
    columns: Columns,
    *,
    own: Mapping[str, Field],
    pepper: bytes,
    line_of: Callable[[str], int | None],
    yes_means: Collection[str] = frozenset(),
) -> Iterator[tuple[Row | Fate, Sequence[str]]]:
    """Yield what each record is, with its cells, passing over those without anything in them.

    `own` are the fields that staff defined; `line_of` knows where the key of an address stood in an earlier
    row, or None; `yes_means` are texts of cells that count as a yes (see `lists.tables.consent_cells`).
    Raises BadInput for more rows than MOST_ROWS.
    """
    for number, (line, cells) in enumerate(records, 1):
        if number > MOST_ROWS:
            raise BadInput(
                f"The file has more than {MOST_ROWS:,} rows. Split it and import the parts one by one."
            )
        if any(cell.strip() for cell in cells):
            yield _row(line, cells, columns, own=own, line_of=line_of, pepper=pepper, yes=yes_means), cells


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
    yes: Collection[str],
) -> Row | Fate:
    def cell(place: int | None) -> str:
        return plain(cells[place]) if place is not None and place < len(cells) else ""

    def text(field: str) -> str:
        return cell(columns.place(field))

    wanted = False
    try:
        if any(extra.strip() for extra in cells[len(columns.columns) :]):
            raise BadInput(
                f"The row has {len(cells)} cells, but the first line names {len(columns.columns)} columns."
            )
        _keep_out(columns, cell, yes)
        wanted = True
        address = addresses.parse(text("email"), pepper=pepper)
        if (first := line_of(address.key)) is not None:
            raise BadInput(f"The same address is in line {first}. Keep one of the two.")
        name = _name(text)
        language = _language(text("language"))
        place, notes = _place(text("zip"))
        values = {name: fields.parse(own[name], text(name)) for name in own if text(name)}
        words = tags.parse_all(text("tags"))
        since = _since(columns, cell)
    except Kept as kept:
        return Fate(
            line=line,
            email=shown(text("email")),
            outcome="declined",
            why=kept.why,
            column=kept.column,
            key=_key(text("email"), pepper),
        )
    except BadInput as refusal:
        key = "" if wanted else _key(text("email"), pepper)
        return Fate(line=line, email=shown(text("email")), outcome="wrong", why=str(refusal), key=key)
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
        blank=[at for at in columns.places("state") if not cell(at)],
    )


def _keep_out(columns: Columns, cell: Callable[[int | None], str], yes: Collection[str]) -> None:
    """Raise Kept for somebody whom a column keeps out, and BadInput where it does not say whether it does.

    All columns are asked before a doubt is told: who left is passed over, whatever else is unclear of them.
    """
    if columns.whole_file:
        raise Kept(columns.whole_file, "")
    doubt: BadInput | None = None
    for place, field in columns.about_mail:
        try:
            why = _why_not(field, cell(place), yes, columns.columns[place])
        except BadInput as unclear:
            doubt = doubt or unclear
            continue
        if why:
            raise Kept(why, columns.columns[place])
    if doubt is not None:
        raise doubt


def _why_not(field: str, text: str, yes: Collection[str], column: str) -> str:
    """Return why a cell of a column about mail keeps somebody out, "" when it does not; raises BadInput."""
    if field == "state":
        return _declined(text, column)
    if field in ANYTHING_REFUSES:
        return (
            ""
            if consent_cells.answer(text) == "nothing" or ZERO_DATE.fullmatch(text)
            else ANYTHING_REFUSES[field]
        )
    if field in YES_WANTED:
        said = consent_cells.answer(text, yes_means=yes)
        if said == "unknown" and field == "confirmed" and _is_date(text):
            return ""
        if said == "unknown":
            declare = f', or if it means yes: --yes-means "{shown(text)}".'
            raise BadInput(
                f"“{shown(text)}” in “{shown(column)}” is neither a yes nor a no. Write yes or no"
                + ("." if consent_cells.holds_doubt(text) else declare)
            )
        return "" if said == "yes" else YES_WANTED[field]
    return _refusing(field, text, column)


def _refusing(field: str, text: str, column: str) -> str:
    """Return why a cell keeps somebody out in a column where a yes, a date or a number does; "" for a no."""
    said = consent_cells.boolean(text)
    if said in ("no", "nothing") or ZERO_DATE.fullmatch(text):
        return ""
    if said == "yes" or _is_date(text) or NUMBER.fullmatch(text):
        return YES_REFUSES[field]
    why = statuses.state(text)
    if why is not None and why != WANTED:
        return why
    if optout_columns.in_words(text):
        return YES_REFUSES[field]
    raise BadInput(
        f"“{shown(text)}” in “{shown(column)}” does not say whether they want mail. Write yes if they want"
        " none, and no if they do."
    )


def _is_date(text: str) -> bool:
    return DATE.search(text) is not None and ZERO_DATE.fullmatch(text) is None


def _since(columns: Columns, cell: Callable[[int | None], str]) -> str:
    """Return the other tool's evidence; raises BadInput where it says the contrary."""
    found = [(columns.columns[place], cell(place)) for place in columns.places("since")]
    for column, text in found:
        contrary = consent_cells.answer(text) == "no" or (statuses.state(text) or WANTED) != WANTED
        if contrary or optout_columns.in_words(text):
            raise BadInput(f"“{shown(text)}” stands in “{shown(column)}”, and that is no time of a consent.")
    return "; ".join(f"{column} {shown(text)}" for column, text in found if text)


def _name(text: Callable[[str], str]) -> str:
    """Return the name; raises BadInput for one in which staff wrote that this person wants no mail."""
    full = " ".join(part for part in (text("first_name"), text("last_name")) if part)
    name = text("name") or full
    if optout_columns.in_words(name):
        raise BadInput(
            f"The name “{shown(name)}” says that they want no mail. Take the row out, or mend the name."
        )
    return contacts.clean(name, what="name", limit=NAME_LENGTH)


def _key(email: str, pepper: bytes) -> str:
    """Return the key of an address, "" for what is none."""
    try:
        return addresses.parse(email, pepper=pepper).key
    except BadInput:
        return ""


def plain(cell: str) -> str:
    """Return a cell without the spaces around it, and without the shield against being a formula."""
    return spreadsheets.bare(cell.strip(" \t\N{NO-BREAK SPACE}"))


def _declined(text: str, column: str) -> str:
    """Return why somebody in this state is passed over, "" when they want mail; raises BadInput."""
    why = statuses.state(text)
    if why is None:
        raise BadInput(
            f"“{shown(text)}” in “{shown(column)}” is not known as a state. Write subscribed or unsubscribed"
            " in its place. Do not leave the column out: it is what says who wants no mail."
        )
    return "" if why == WANTED else why


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
