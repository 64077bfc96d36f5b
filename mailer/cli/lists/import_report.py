"""Import report: the output of `mailer list import`: the file's format, each row's result, the next steps."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NoReturn

from lists.errors import BadInput
from lists.tables import csv_writer, refusal_wording, row_parsing
from lists.tables.column_mapping import UNUSABLE_ROW_COLUMNS, ColumnMapping
from lists.tables.csv_file import TableFile
from lists.tables.row_parsing import RowResult
from lists.tables.staged_rows import StagingTable
from mailer.cli import output

MAX_ROWS_SHOWN = 50
VERB = {False: "is", True: "are"}
RESULT_COLUMNS = {"line": "Line", "email": "Address", "outcome": "What", "why": "Why"}
UNCLEAR_SENTENCE = "not understood; it may say who wants no mail"
MAPPING_COLUMNS = {"column": "Column of the file", "field": "Read as"}
OUTCOME_PHRASES = {
    "added": ("added", "would be added"),
    "already": ("already there, unchanged", "already there"),
    "left": ("had left and stay so", "have left and would stay so"),
    "suppressed": ("must not be written to and stay so", "must not be written to and would stay so"),
    "declined": ("passed over: they get no mail there", "would be passed over: they get no mail there"),
    "wrong": ("cannot be used", "cannot be used"),
}
NEXT_STEPS = {
    False: "Each of them gets one mail that asks to confirm; without an answer they get nothing more.",
    True: "You have vouched for their consent, so they are on the list now and get no question first.",
}


def print_mapping(mapping: ColumnMapping, *, as_json: bool) -> None:
    """Print which field each column is read as."""
    output.print_rows(_list_mapping(mapping), columns=MAPPING_COLUMNS, as_json=as_json)


def refuse_unusable_rows(count: int, *, refused: Path | None) -> NoReturn:
    """Raise BadInput because so many rows cannot be used; `refused` is the file that they were written to."""
    phrase = "One row" if count == 1 else f"{count:,} rows"
    hint = _correct_hint(count, refused)
    raise BadInput(f"{phrase} cannot be used, so nothing was imported. {hint}")


def _correct_hint(count: int, refused: Path | None) -> str:
    rows = "it" if count == 1 else "them"
    where = f"{refused} holds {rows}" if refused else f"--refused FILE writes {rows} to a file"
    return f"Correct {rows} and import {rows} again; {where}."


def _list_mapping(mapping: ColumnMapping) -> Sequence[dict[str, object]]:
    pairs = zip(mapping.columns, mapping.fields, strict=True)
    return [
        {
            "column": column,
            "field": mapping.label(field) if field else _describe_unread(index, column, mapping),
        }
        for index, (column, field) in enumerate(pairs)
    ]


def _describe_unread(index: int, column: str, mapping: ColumnMapping) -> str:
    is_explained = index in mapping.waived_indexes or index in mapping.silent_indexes
    return UNCLEAR_SENTENCE if not is_explained and refusal_wording.matches_heading(column) else ""


def print_format(table: TableFile, mapping: ColumnMapping) -> None:
    """Print the format of the file, and the columns that are not read."""
    output.print_line(f"Read as {table.encoding.name} ({table.encoding.evidence}), {table.form}.")
    if mapping.tool:
        output.print_line(f"This is an export of {mapping.tool}.")
    columns_by_field: dict[str, list[str]] = {}
    for name, field in zip(mapping.columns, mapping.fields, strict=True):
        if field:
            columns_by_field.setdefault(field, []).append(f"“{row_parsing.make_printable(name)}”")
    phrases = [
        f"{', '.join(columns)} {VERB[len(columns) > 1]} {mapping.label(field)}"
        for field, columns in columns_by_field.items()
    ]
    output.print_line("; ".join(phrases) + ".")
    if mapping.file_exclusion:
        output.print_line(
            f"The name of the file says who is in it: {mapping.file_exclusion}. They are all passed over."
        )
    if mapping.unread_names:
        names = ", ".join(row_parsing.make_printable(name) for name in mapping.unread_names)
        output.print_line(f"These columns are not read: {names}.")


def write_unusable_rows(path: Path, mapping: ColumnMapping, staging: StagingTable) -> None:
    """Write the rows that cannot be used, with the reasons, so that they can be corrected and imported."""
    if not staging.counts()["wrong"]:
        return
    indexes = [index for index, name in enumerate(mapping.columns) if name not in UNUSABLE_ROW_COLUMNS]
    headings = [*(mapping.columns[index] for index in indexes), *UNUSABLE_ROW_COLUMNS]
    with csv_writer.open_writer(path, headings, byte_order_mark=True) as write:
        for line, cells, why in staging.read_refused():
            extra = cells[len(mapping.columns) :]
            write([*(cells[index] if index < len(cells) else "" for index in indexes), line, why, *extra])


def print_report(
    staging: StagingTable,
    table: TableFile,
    mapping: ColumnMapping,
    *,
    is_imported: bool,
    number: int | None,
    as_json: bool,
) -> None:
    """Print how many rows had each outcome, and the rows with a reason."""
    counts = staging.counts()
    if as_json:
        format_facts = {"encoding": table.encoding.name, "separator": table.separator, "tool": mapping.tool}
        why = [each._asdict() for each in staging.count_skipped()]
        report = {
            "imported": is_imported,
            "number": number,
            "counts": counts,
            "passed_over": why,
            "unread": mapping.unread_names,
        }
        output.print_json(
            {**format_facts, **report, "rows": [_to_row(result) for result in staging.read_results()]}
        )
        return
    for outcome, row_count in counts.items():
        if row_count:
            output.print_line(f"{row_count:>7,}  {OUTCOME_PHRASES[outcome][not is_imported]}")
        if outcome == "declined":
            for each in staging.count_skipped():
                source = f", by the column “{row_parsing.make_printable(each.column)}”" if each.column else ""
                output.print_line(f"{each.number:>11,}  {each.why}{source}")
    if counts["declined"] and not counts["added"] + counts["already"] + counts["wrong"]:
        output.print_line("\nNobody of this file gets mail there, so nobody is added.")
    with_reason = (result for result in staging.read_results() if result.why and result.outcome != "already")
    results = [*islice(with_reason, MAX_ROWS_SHOWN + 1)]
    if results:
        output.print_line("")
        output.print_rows(
            [_to_row(result) for result in results[:MAX_ROWS_SHOWN]], columns=RESULT_COLUMNS, as_json=False
        )
    if len(results) > MAX_ROWS_SHOWN:
        output.print_line("… and more rows; --json tells each of them.")


def print_next_steps(
    staging: StagingTable, *, confirmed: bool, is_imported: bool, number: int | None, refused: Path | None
) -> None:
    """Print what happens next, or what to do; `refused` is the file that unusable rows were written to."""
    counts = staging.counts()
    if not is_imported:
        output.print_line("Nothing was changed. Leave out --dry-run to import them.")
    elif counts["added"]:
        output.print_line(NEXT_STEPS[confirmed] + " “mailer serve” sends whatever is due.")
        output.print_line(f"This was import {number}. If it was a mistake: mailer list undo {number}")
    if counts["wrong"] and is_imported:
        output.print_line(_correct_hint(counts["wrong"], refused))


def _to_row(result: RowResult) -> dict[str, object]:
    return {"line": result.line, "email": result.email, "outcome": result.outcome, "why": result.why}
