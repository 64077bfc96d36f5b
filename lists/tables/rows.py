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
from lists.tables.column_mapping import ANY_VALUE_REFUSES, YES_REFUSES, YES_REQUIRED, ColumnMapping
from lists.tables.dialects import Record
from lists.tables.statuses import WANTS_MAIL

MAX_ROWS = 1_000_000
DISPLAY_LENGTH = 60  # characters of a cell that a sentence repeats
DATE = re.compile(
    r"(?<!\d)(\d{4}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}\.? [^\W\d]{3,}\.?,? \d{4}"
    r"|[^\W\d]{3,}\.? \d{1,2},? \d{4}|\d{8}T)"
)
ZERO_DATE = re.compile(r"0{4}-00-00([ T][0:.]*)?|0+[./-]0+[./-]0+")
NUMBER = re.compile(r"\+?\d+([.,]\d+)?")

LANGUAGE_CODES = {
    **dict.fromkeys(("", "en", "english", "inglés", "ingles"), "en"),
    **dict.fromkeys(("es", "spanish", "español", "espanol"), "es"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRow:
    """One person of the file; `line` is where the row begins, `note` what staff may want to look at.

    `since` is what the file itself says about when they agreed, "" for nothing; `values` are those of staff's
    own fields; `blank_states` are the places of columns of states in which nothing stands for them.
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
    blank_states: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RowResult:
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


class RowExcluded(Exception):
    """Somebody is kept out by a column: why, and its name."""

    def __init__(self, why: str, column: str) -> None:
        super().__init__(why)
        self.why, self.column = why, column


def read_rows(
    records: Iterator[Record],
    mapping: ColumnMapping,
    *,
    custom_fields: Mapping[str, Field],
    pepper: bytes,
    find_line: Callable[[str], int | None],
    yes_means: Collection[str] = frozenset(),
) -> Iterator[tuple[ImportRow | RowResult, Sequence[str]]]:
    """Yield what each record is, with its cells, passing over those without anything in them.

    `custom_fields` are the fields that staff defined; `find_line` knows where the key of an address stood in
    an earlier row, or None; `yes_means` are texts of cells that count as a yes (see
    `lists.tables.consent_cells`). Raises BadInput for more rows than MAX_ROWS.
    """
    for number, (line, cells) in enumerate(records, 1):
        if number > MAX_ROWS:
            raise BadInput(
                f"The file has more than {MAX_ROWS:,} rows. Split it and import the parts one by one."
            )
        if any(cell.strip() for cell in cells):
            yield (
                _parse_row(
                    line,
                    cells,
                    mapping,
                    custom_fields=custom_fields,
                    find_line=find_line,
                    pepper=pepper,
                    yes_means=yes_means,
                ),
                cells,
            )


def make_printable(text: str) -> str:
    """Return the start of a text of the file, with whatever could steer a terminal replaced."""
    start = text[:DISPLAY_LENGTH] + ("…" if len(text) > DISPLAY_LENGTH else "")
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in start)


def _parse_row(
    line: int,
    cells: Sequence[str],
    mapping: ColumnMapping,
    *,
    custom_fields: Mapping[str, Field],
    find_line: Callable[[str], int | None],
    pepper: bytes,
    yes_means: Collection[str],
) -> ImportRow | RowResult:
    def cell(place: int | None) -> str:
        return clean_cell(cells[place]) if place is not None and place < len(cells) else ""

    def text(field: str) -> str:
        return cell(mapping.find_index(field))

    wanted = False
    try:
        if any(extra.strip() for extra in cells[len(mapping.columns) :]):
            raise BadInput(
                f"The row has {len(cells)} cells, but the first line names {len(mapping.columns)} columns."
            )
        _check_mail_status(mapping, cell, yes_means)
        wanted = True
        address = addresses.parse(text("email"), pepper=pepper)
        if (first := find_line(address.key)) is not None:
            raise BadInput(f"The same address is in line {first}. Keep one of the two.")
        name = _parse_name(text)
        language = _parse_language(text("language"))
        place, notes = _find_place(text("zip"))
        values = {name: fields.parse(custom_fields[name], text(name)) for name in custom_fields if text(name)}
        words = tags.parse_all(text("tags"))
        since = _collect_evidence(mapping, cell)
    except RowExcluded as kept:
        return RowResult(
            line=line,
            email=make_printable(text("email")),
            outcome="declined",
            why=kept.why,
            column=kept.column,
            key=_parse_key(text("email"), pepper),
        )
    except BadInput as refusal:
        key = "" if wanted else _parse_key(text("email"), pepper)
        return RowResult(
            line=line, email=make_printable(text("email")), outcome="wrong", why=str(refusal), key=key
        )
    local, _, domain = address.email.rpartition("@")
    if meant := _suggest_domain(domain):
        notes.append(f"was {local}@{meant} meant?")
    if not local.isascii():
        notes.append("not every mail server can send to letters like ñ before the @; “mailer status” tells")
    return ImportRow(
        line=line,
        address=address,
        name=name,
        language=language,
        place=place,
        since=since,
        note="; ".join(notes),
        values=values,
        tags=words,
        blank_states=[at for at in mapping.find_indexes("state") if not cell(at)],
    )


def _check_mail_status(
    mapping: ColumnMapping, cell: Callable[[int | None], str], yes_means: Collection[str]
) -> None:
    """Raise RowExcluded where a column keeps somebody out, and BadInput where it is unclear whether it does.

    All columns are asked before a doubt is told: who left is passed over, whatever else is unclear of them.
    """
    if mapping.file_refusal:
        raise RowExcluded(mapping.file_refusal, "")
    doubt: BadInput | None = None
    for place, field in mapping.mail_status_columns:
        try:
            why = _find_refusal(field, cell(place), yes_means, mapping.columns[place])
        except BadInput as unclear:
            doubt = doubt or unclear
            continue
        if why:
            raise RowExcluded(why, mapping.columns[place])
    if doubt is not None:
        raise doubt


def _find_refusal(field: str, text: str, yes_means: Collection[str], column: str) -> str:
    """Return why a cell of a column about mail keeps somebody out, "" when it does not; raises BadInput."""
    if field == "state":
        return _check_state_cell(text, column)
    if field in ANY_VALUE_REFUSES:
        return (
            ""
            if consent_cells.parse_answer(text) == "nothing" or ZERO_DATE.fullmatch(text)
            else ANY_VALUE_REFUSES[field]
        )
    if field in YES_REQUIRED:
        said = consent_cells.parse_answer(text, yes_means=yes_means)
        if said == "unknown" and field == "confirmed" and _is_date(text):
            return ""
        if said == "unknown":
            declare = f', or if it means yes: --yes-means "{make_printable(text)}".'
            raise BadInput(
                f"“{make_printable(text)}” in “{make_printable(column)}” is neither a yes nor a no."
                " Write yes or no" + ("." if consent_cells.has_doubt_word(text) else declare)
            )
        return "" if said == "yes" else YES_REQUIRED[field]
    return _check_refusal_cell(field, text, column)


def _check_refusal_cell(field: str, text: str, column: str) -> str:
    """Return why a cell keeps somebody out in a column where a yes, a date or a number does; "" for a no."""
    said = consent_cells.parse_boolean(text)
    if said in ("no", "nothing") or ZERO_DATE.fullmatch(text):
        return ""
    if said == "yes" or _is_date(text) or NUMBER.fullmatch(text):
        return YES_REFUSES[field]
    why = statuses.classify(text)
    if why is not None and why != WANTS_MAIL:
        return why
    if optout_columns.matches_text(text):
        return YES_REFUSES[field]
    raise BadInput(
        f"“{make_printable(text)}” in “{make_printable(column)}” does not say whether they want mail."
        " Write yes if they want none, and no if they do."
    )


def _is_date(text: str) -> bool:
    return DATE.search(text) is not None and ZERO_DATE.fullmatch(text) is None


def _collect_evidence(mapping: ColumnMapping, cell: Callable[[int | None], str]) -> str:
    """Return the other tool's evidence; raises BadInput where it says the contrary."""
    found = [(mapping.columns[place], cell(place)) for place in mapping.find_indexes("since")]
    for column, text in found:
        contrary = (
            consent_cells.parse_answer(text) == "no" or (statuses.classify(text) or WANTS_MAIL) != WANTS_MAIL
        )
        if contrary or optout_columns.matches_text(text):
            raise BadInput(
                f"“{make_printable(text)}” stands in “{make_printable(column)}”,"
                " and that is no time of a consent."
            )
    return "; ".join(f"{column} {make_printable(text)}" for column, text in found if text)


def _parse_name(text: Callable[[str], str]) -> str:
    """Return the name; raises BadInput for one in which staff wrote that this person wants no mail."""
    full = " ".join(part for part in (text("first_name"), text("last_name")) if part)
    name = text("name") or full
    if optout_columns.matches_text(name):
        raise BadInput(
            f"The name “{make_printable(name)}” says that they want no mail."
            " Take the row out, or mend the name."
        )
    return contacts.clean(name, label="name", limit=NAME_LENGTH)


def _parse_key(email: str, pepper: bytes) -> str:
    """Return the key of an address, "" for what is none."""
    try:
        return addresses.parse(email, pepper=pepper).key
    except BadInput:
        return ""


def clean_cell(cell: str) -> str:
    """Return a cell without the spaces around it, and without the shield against being a formula."""
    return spreadsheets.unescape_formula(cell.strip(" \t\N{NO-BREAK SPACE}"))


def _check_state_cell(text: str, column: str) -> str:
    """Return why somebody in this state is passed over, "" when they want mail; raises BadInput."""
    why = statuses.classify(text)
    if why is None:
        raise BadInput(
            f"“{make_printable(text)}” in “{make_printable(column)}” is not known as a state."
            " Write subscribed or unsubscribed in its place."
            " Do not leave the column out: it is what says who wants no mail."
        )
    return "" if why == WANTS_MAIL else why


def _find_place(zip_code: str) -> tuple[Place | None, list[str]]:
    if not zip_code:
        return None, []
    place = geography.find(_pad_zip_code(zip_code))
    return place, [] if place else [f"the ZIP code {make_printable(zip_code)} is not known and is left out"]


def _parse_language(cell: str) -> str:
    language = LANGUAGE_CODES.get(cell.casefold().replace("_", "-").partition("-")[0])
    if language is None:
        raise BadInput(f"“{make_printable(cell)}” is not a language of this service. Write en or es.")
    return language


def _pad_zip_code(zip_code: str) -> str:
    """Return a ZIP code with the zeros in front that spreadsheets take for a number's and drop."""
    digits = zip_code.isascii() and zip_code.isdigit() and len(zip_code) in (3, 4)
    return zip_code.zfill(5) if digits else zip_code


@lru_cache(maxsize=10_000)
def _suggest_domain(domain: str) -> str | None:
    """Return the domain that was probably meant; a file names most domains many times."""
    mended = addresses.suggest_correction(f"x@{domain}")
    return mended.rpartition("@")[2] if mended else None
