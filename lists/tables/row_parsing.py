"""Row: one parsed row of a file: a person to import, an excluded person, or an error."""

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
from lists.tables import csv_writer, mail_statuses, refusal_wording, yes_no_cells
from lists.tables.column_mapping import ANY_VALUE_REFUSES, YES_REFUSES, YES_REQUIRED, ColumnMapping
from lists.tables.csv_records import Record
from lists.tables.mail_statuses import WANTS_MAIL

MAX_ROWS = 1_000_000
DISPLAY_LENGTH = 60  # characters of a cell that an error sentence repeats
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
    """One person of the file; `line` is where the row begins, `note` is a hint for staff.

    `since` is the file's own evidence of the time of consent, "" for none; `values` are those of custom
    fields; `blank_states` are the indexes of columns of states whose cell is empty.
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
    """The result of one row, done or planned: one of OUTCOMES of lists/tables/staged_rows.py, and why.

    `column` is the one that excludes the person, and `key` that of the address, "" where there is none: a
    person excluded by one row is not imported by another row of the same file.
    """

    line: int
    email: str
    outcome: str
    why: str = ""
    column: str = ""
    key: str = ""


class RowExcluded(Exception):
    """A column excludes the person: why, and the name of the column."""

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
    """Yield the result of each record, with its cells; records without any text are skipped.

    `custom_fields` are the fields that staff defined. `find_line` returns the line of an earlier row with the
    key of an address, or None. `yes_means` are texts of cells that count as a yes (see
    `lists.tables.yes_no_cells`). Raises BadInput for more rows than MAX_ROWS.
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
    """Return the start of a text of the file, with characters that could control a terminal replaced."""
    start = text[:DISPLAY_LENGTH] + ("…" if len(text) > DISPLAY_LENGTH else "")
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in start
    )


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
    def cell(index: int | None) -> str:
        return clean_cell(cells[index]) if index is not None and index < len(cells) else ""

    def text(field: str) -> str:
        return cell(mapping.find_index(field))

    is_mail_allowed = False
    try:
        if any(cell.strip() for cell in cells[len(mapping.columns) :]):
            raise BadInput(
                f"The row has {len(cells)} cells, but the first line names {len(mapping.columns)} columns."
            )
        _check_mail_status(mapping, cell, yes_means)
        is_mail_allowed = True
        address = addresses.parse(text("email"), pepper=pepper)
        if (first_line := find_line(address.key)) is not None:
            raise BadInput(f"The same address is in line {first_line}. Keep one of the two.")
        name = _parse_name(text)
        language = _parse_language(text("language"))
        location, notes = _find_place(text("zip"))
        values = {name: fields.parse(custom_fields[name], text(name)) for name in custom_fields if text(name)}
        row_tags = tags.parse_all(text("tags"))
        since = _collect_evidence(mapping, cell)
    except RowExcluded as exclusion:
        return RowResult(
            line=line,
            email=make_printable(text("email")),
            outcome="declined",
            why=exclusion.why,
            column=exclusion.column,
            key=_parse_key(text("email"), pepper),
        )
    except BadInput as refusal:
        key = "" if is_mail_allowed else _parse_key(text("email"), pepper)
        return RowResult(
            line=line, email=make_printable(text("email")), outcome="wrong", why=str(refusal), key=key
        )
    local, _, domain = address.email.rpartition("@")
    if suggested_domain := _suggest_domain(domain):
        notes.append(f"was {local}@{suggested_domain} meant?")
    if not local.isascii():
        notes.append("not every mail server can send to letters like ñ before the @; “mailer status” tells")
    return ImportRow(
        line=line,
        address=address,
        name=name,
        language=language,
        place=location,
        since=since,
        note="; ".join(notes),
        values=values,
        tags=row_tags,
        blank_states=[index for index in mapping.find_indexes("state") if not cell(index)],
    )


def _check_mail_status(
    mapping: ColumnMapping, cell: Callable[[int | None], str], yes_means: Collection[str]
) -> None:
    """Raise RowExcluded where a column excludes the person, and BadInput where that is unclear.

    All columns are read before BadInput is raised: a person who left is excluded even when another column is
    unclear.
    """
    if mapping.file_exclusion:
        raise RowExcluded(mapping.file_exclusion, "")
    first_doubt: BadInput | None = None
    for index, field in mapping.mail_status_columns:
        try:
            why = _find_refusal(field, cell(index), yes_means, mapping.columns[index])
        except BadInput as error:
            first_doubt = first_doubt or error
            continue
        if why:
            raise RowExcluded(why, mapping.columns[index])
    if first_doubt is not None:
        raise first_doubt


def _find_refusal(field: str, text: str, yes_means: Collection[str], column: str) -> str:
    """Return why a cell of a column about mail excludes the person, "" when it does not; raises BadInput."""
    if field == "state":
        return _check_state_cell(text, column)
    if field in ANY_VALUE_REFUSES:
        return (
            ""
            if yes_no_cells.parse_answer(text) == "nothing" or ZERO_DATE.fullmatch(text)
            else ANY_VALUE_REFUSES[field]
        )
    if field in YES_REQUIRED:
        answer = yes_no_cells.parse_answer(text, yes_means=yes_means)
        if answer == "unknown" and field == "confirmed" and _is_date(text):
            return ""
        if answer == "unknown":
            hint = f', or if it means yes: --yes-means "{make_printable(text)}".'
            raise BadInput(
                f"“{make_printable(text)}” in “{make_printable(column)}” is neither a yes nor a no."
                " Write yes or no" + ("." if yes_no_cells.has_doubt_word(text) else hint)
            )
        return "" if answer == "yes" else YES_REQUIRED[field]
    return _check_refusal_cell(field, text, column)


def _check_refusal_cell(field: str, text: str, column: str) -> str:
    """Return why a cell excludes the person in a column where a yes, a date or a number does; "" for a no."""
    answer = yes_no_cells.parse_boolean(text)
    if answer in ("no", "nothing") or ZERO_DATE.fullmatch(text):
        return ""
    if answer == "yes" or _is_date(text) or NUMBER.fullmatch(text):
        return YES_REFUSES[field]
    why = mail_statuses.classify(text)
    if why is not None and why != WANTS_MAIL:
        return why
    if refusal_wording.matches_text(text):
        return YES_REFUSES[field]
    raise BadInput(
        f"“{make_printable(text)}” in “{make_printable(column)}” does not say whether they want mail."
        " Write yes if they want none, and no if they do."
    )


def _is_date(text: str) -> bool:
    return DATE.search(text) is not None and ZERO_DATE.fullmatch(text) is None


def _collect_evidence(mapping: ColumnMapping, cell: Callable[[int | None], str]) -> str:
    """Return the other tool's evidence of consent; raises BadInput where it says the contrary."""
    evidence = [(mapping.columns[index], cell(index)) for index in mapping.find_indexes("since")]
    for column, text in evidence:
        is_contrary = (
            yes_no_cells.parse_answer(text) == "no"
            or (mail_statuses.classify(text) or WANTS_MAIL) != WANTS_MAIL
        )
        if is_contrary or refusal_wording.matches_text(text):
            raise BadInput(
                f"“{make_printable(text)}” stands in “{make_printable(column)}”,"
                " and that is no time of a consent."
            )
    return "; ".join(f"{column} {make_printable(text)}" for column, text in evidence if text)


def _parse_name(text: Callable[[str], str]) -> str:
    """Return the name; raises BadInput for a name with a note of staff that this person wants no mail."""
    full = " ".join(part for part in (text("first_name"), text("last_name")) if part)
    name = text("name") or full
    if refusal_wording.matches_text(name):
        raise BadInput(
            f"The name “{make_printable(name)}” says that they want no mail."
            " Take the row out, or mend the name."
        )
    return contacts.clean(name, label="name", limit=NAME_LENGTH)


def _parse_key(email: str, pepper: bytes) -> str:
    """Return the key of an address, "" for a text that is not an address."""
    try:
        return addresses.parse(email, pepper=pepper).key
    except BadInput:
        return ""


def clean_cell(cell: str) -> str:
    """Return a cell without surrounding spaces, and without the escape of a formula."""
    return csv_writer.unescape_formula(cell.strip(" \t\N{NO-BREAK SPACE}"))


def _check_state_cell(text: str, column: str) -> str:
    """Return why a person in this state is excluded, "" when they want mail; raises BadInput."""
    why = mail_statuses.classify(text)
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
    """Return a ZIP code with the leading zeros that spreadsheets drop."""
    digits = zip_code.isascii() and zip_code.isdigit() and len(zip_code) in (3, 4)
    return zip_code.zfill(5) if digits else zip_code


@lru_cache(maxsize=10_000)
def _suggest_domain(domain: str) -> str | None:
    """Return the domain that was probably intended; cached, because a file repeats most domains."""
    corrected = addresses.suggest_correction(f"x@{domain}")
    return corrected.rpartition("@")[2] if corrected else None
