"""What `mailer list import` says: how the file was read, what became of each row, what happens next."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from lists.tables import optout_columns, rows, spreadsheets
from lists.tables.column_mapping import REFUSAL_COLUMNS, ColumnMapping
from lists.tables.rows import RowResult
from lists.tables.staging import StagingTable
from lists.tables.table_file import TableFile
from mailer.cli import output

ROWS_SHOWN = 50
IS = {False: "is", True: "are"}
FILE_COLUMNS = {"line": "Line", "email": "Address", "outcome": "What", "why": "Why"}
CORRECT = "Correct them and import them again; --refused FILE writes them to a file."
UNCLEAR = "not understood; it may say who wants no mail"
MAPPING = {"column": "Column of the file", "field": "Read as"}
WORDS = {
    "added": ("added", "would be added"),
    "already": ("already there, unchanged", "already there"),
    "left": ("had left and stay so", "have left and would stay so"),
    "suppressed": ("must not be written to and stay so", "must not be written to and would stay so"),
    "declined": ("passed over: they get no mail there", "would be passed over: they get no mail there"),
    "wrong": ("cannot be used", "cannot be used"),
}
NEXT = {
    False: "Each of them gets one mail that asks to confirm; who does not answer it gets nothing more.",
    True: "You have vouched for their consent, so they are on the list now and get no question first.",
}


def mapping(columns: ColumnMapping) -> Sequence[dict[str, object]]:
    """Return what each column is read as, a row a column."""
    pairs = zip(columns.columns, columns.fields, strict=True)
    return [
        {"column": column, "field": columns.label(field) if field else _unread(place, column, columns)}
        for place, (column, field) in enumerate(pairs)
    ]


def _unread(place: int, column: str, columns: ColumnMapping) -> str:
    known = place in columns.waived_indexes or place in columns.silent_indexes
    return UNCLEAR if not known and optout_columns.matches_heading(column) else ""


def say_how(table: TableFile, columns: ColumnMapping) -> None:
    """Say how the file was read, and which columns are not."""
    output.say(f"Read as {table.encoding.name} ({table.encoding.evidence}), {table.form}.")
    if columns.tool:
        output.say(f"This is an export of {columns.tool}.")
    read: dict[str, list[str]] = {}
    for name, field in zip(columns.columns, columns.fields, strict=True):
        if field:
            read.setdefault(field, []).append(f"“{rows.make_printable(name)}”")
    told = [
        f"{', '.join(named)} {IS[len(named) > 1]} {columns.label(field)}" for field, named in read.items()
    ]
    output.say("; ".join(told) + ".")
    if columns.file_refusal:
        output.say(
            f"The name of the file says who is in it: {columns.file_refusal}. They are all passed over."
        )
    if columns.unread_names:
        output.say(
            f"These columns are not read: {', '.join(rows.make_printable(name) for name in columns.unread_names)}."
        )


def keep_refused(path: Path, columns: ColumnMapping, stage: StagingTable) -> None:
    """Write the rows that cannot be used, with their reasons, so that they can be corrected and imported."""
    if not stage.counts()["wrong"]:
        return
    own = [place for place, name in enumerate(columns.columns) if name not in REFUSAL_COLUMNS]
    named = [*(columns.columns[place] for place in own), *REFUSAL_COLUMNS]
    with spreadsheets.open_writer(path, named, byte_order_mark=True) as write:
        for line, cells, why in stage.read_refused():
            extra = cells[len(columns.columns) :]
            write([*(cells[place] if place < len(cells) else "" for place in own), line, why, *extra])


def report(
    stage: StagingTable,
    table: TableFile,
    columns: ColumnMapping,
    *,
    done: bool,
    number: int | None,
    as_json: bool,
) -> None:
    """Tell how many rows had each outcome, and of each row that matters why."""
    counts = stage.counts()
    if as_json:
        written = {"encoding": table.encoding.name, "separator": table.separator, "tool": columns.tool}
        why = [each._asdict() for each in stage.count_skipped()]
        what = {
            "imported": done,
            "number": number,
            "counts": counts,
            "passed_over": why,
            "unread": columns.unread_names,
        }
        output.print_json({**written, **what, "rows": [_as_row(fate) for fate in stage.read_results()]})
        return
    for outcome, number in counts.items():
        if number:
            output.say(f"{number:>7,}  {WORDS[outcome][not done]}")
        if outcome == "declined":
            for each in stage.count_skipped():
                by = f", by the column “{rows.make_printable(each.column)}”" if each.column else ""
                output.say(f"{each.number:>11,}  {each.why}{by}")
    if counts["declined"] and not counts["added"] + counts["already"] + counts["wrong"]:
        output.say("\nNobody of this file gets mail there, so nobody of it is brought in here.")
    worth_telling = (fate for fate in stage.read_results() if fate.why and fate.outcome != "already")
    told = [*islice(worth_telling, ROWS_SHOWN + 1)]
    if told:
        output.say("")
        output.rows([_as_row(fate) for fate in told[:ROWS_SHOWN]], columns=FILE_COLUMNS, as_json=False)
    if len(told) > ROWS_SHOWN:
        output.say("… and more rows; --json tells each of them.")


def say_next(stage: StagingTable, *, confirmed: bool, done: bool, number: int | None) -> None:
    """Say what happens next, or what to do."""
    counts = stage.counts()
    if not done:
        output.say("Nothing was changed. Leave out --dry-run to import them.")
    elif counts["added"]:
        output.say(NEXT[confirmed] + " “mailer serve” sends whatever is due.")
        output.say(f"This was import {number}. If it was a mistake: mailer list undo {number}")
    if counts["wrong"] and done:
        output.say(CORRECT)


def _as_row(fate: RowResult) -> dict[str, object]:
    return {"line": fate.line, "email": fate.email, "outcome": fate.outcome, "why": fate.why}
