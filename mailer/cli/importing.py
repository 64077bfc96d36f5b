"""`mailer list import`: people from a file, all of them or none, with the evidence of their consent."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from lists import dialects, encodings, mappings, rows, tables, transfers
from lists.errors import BadInput, NotFound
from lists.mappings import FIELDS, Columns
from lists.rows import Fate
from lists.subscriptions import LISTS
from lists.tables import Table
from lists.transfers import Reading
from mailer.cli import opening, output, progress
from mailer.service import Service

ROWS_SHOWN = 50
PIECE = 1 << 18  # octets read at once
FILE_COLUMNS = {"line": "Line", "email": "Address", "outcome": "What", "why": "Why"}
MAPPING = {"column": "Column of the file", "field": "Read as"}
WORDS = {
    "added": ("added", "would be added"),
    "already": ("already there, unchanged", "already there"),
    "left": ("had left and stay so", "have left and would stay so"),
    "suppressed": ("must not be written to and stay so", "must not be written to and would stay so"),
    "declined": ("passed over: they do not get mail there", "passed over: they do not get mail there"),
    "wrong": ("cannot be used", "cannot be used"),
}
NEXT = {
    False: "Each of them gets one mail that asks to confirm; who does not answer it gets nothing more.",
    True: "You have vouched for their consent, so they are on the list now and get no question first.",
}


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--list", "list_name", type=click.Choice(LISTS), required=True, help="The list they join.")
@click.option(
    "--consent",
    required=True,
    help='Where it can be seen that they agreed: "signed the sheet at St. Mark on October 4, 2026".',
)
@click.option("--confirmed", is_flag=True, help="They have agreed already: do not ask them by mail first.")
@click.option("--dry-run", is_flag=True, help="Only tell what would happen; nothing is changed.")
@click.option("--show-mapping", is_flag=True, help="Only show what each column is read as.")
@click.option(
    "--map",
    "said",
    multiple=True,
    metavar="COLUMN=FIELD",
    help=f'Say what a column is: "Correo=email". Nothing after “=”: not read. Fields: {", ".join(FIELDS)}.',
)
@click.option("--encoding", default="", help=f"If it was not found out: {', '.join(encodings.NAMES)}.")
@click.option("--separator", default="", help=f"If it was not found out: {', '.join(dialects.SEPARATORS)}.")
@output.json_option
def command(
    *,
    file: Path,
    list_name: str,
    consent: str,
    confirmed: bool,
    dry_run: bool,
    show_mapping: bool,
    said: Sequence[str],
    encoding: str,
    separator: str,
    as_json: bool,
) -> None:
    """Bring people in from a file: all of them, or none if any row is wrong.

    It reads CSV files of any spreadsheet, and what Mailchimp, listmonk, Mailman and Action Network export.
    The first line names the columns. Only the address is required; name, language (en or es) and ZIP code
    are read too. Who left, bounces or is blocked in the other tool is passed over.

    Try it first: mailer list import people.csv --list interest --consent "sheet of October 4" --dry-run

    What happens next: each of them gets a mail that asks to confirm. With --confirmed they are on the list
    at once; use it only when you can show that each of them asked for this, for --consent is kept with every
    person as the proof. Nobody comes back this way who left, was forgotten or must not be written to.
    Status 0: done. Status 2: refused, nothing was changed.
    """
    transfers.checked_evidence(consent)
    if list_name == "organizers" and not confirmed:
        raise BadInput(
            "Organizers join by applying on the page, and staff approve them. Add --confirmed if these people"
            " have agreed to be on the organizer list, or send them the page."
        )
    with opening.service() as service, _opened(file) as opened:
        table = tables.read(opened, encoding=encoding, separator=separator)
        columns = mappings.guess(table.columns, file_name=file.name, said=_said(said))
        if not as_json:
            _say_how(table, columns)
        if show_mapping:
            output.rows(_mapping(columns), columns=MAPPING, as_json=as_json)
            return
        reading = _read(opened, table, columns, service)
        fates = _bring_in(service, reading, list_name, consent, confirmed, dry_run=dry_run)
        done = not dry_run and not reading.wrong
        _report(reading, fates, done=done, as_json=as_json)
        if reading.wrong:
            many = "One row" if len(reading.wrong) == 1 else f"{len(reading.wrong)} rows"
            raise BadInput(f"{many} cannot be used, so nothing was imported. Correct the file and try again.")
        if as_json:
            return
        if dry_run:
            output.say("Nothing was changed. Leave out --dry-run to import them.")
        elif any(fate.outcome == "added" for fate in fates):
            output.say(NEXT[confirmed] + " “mailer serve” sends whatever is due.")


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        opened = file.open("rb")
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.") from None
    except OSError as trouble:
        raise BadInput(f"The file {file} cannot be read: {trouble.strerror}.") from trouble
    with opened:
        yield opened


def _said(pairs: Sequence[str]) -> dict[str, str]:
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise BadInput(f"“{wrong[0]}” says no column and field. Write --map like this: --map “Correo=email”.")
    parted = [pair.rpartition("=") for pair in pairs]
    return {column.strip(): field.strip() for column, _, field in parted}


def _mapping(columns: Columns) -> Sequence[dict[str, object]]:
    pairs = zip(columns.columns, columns.fields, strict=True)
    return [{"column": column, "field": field and FIELDS[field]} for column, field in pairs]


def _say_how(table: Table, columns: Columns) -> None:
    output.say(f"Read as {table.encoding.name} ({table.encoding.evidence}), {table.form}.")
    if columns.tool:
        output.say(f"This is an export of {columns.tool}.")
    read = [
        f"“{name}” is {FIELDS[field]}"
        for name, field in zip(columns.columns, columns.fields, strict=True)
        if field
    ]
    output.say("; ".join(read) + ".")
    if columns.unread:
        output.say(f"These columns are not read: {', '.join(rows.shown(name) for name in columns.unread)}.")


def _read(file: BinaryIO, table: Table, columns: Columns, service: Service) -> Reading:
    at = file.tell()
    file.seek(0)
    lines = sum(piece.count(b"\n") for piece in iter(partial(file.read, PIECE), b""))
    file.seek(at)
    with progress.bar("Reading", total=lines) as told:
        return transfers.read(table, columns, pepper=service.keys.pepper, progress=told)


def _bring_in(
    service: Service, reading: Reading, list_name: str, consent: str, confirmed: bool, *, dry_run: bool
) -> Sequence[Fate]:
    good = reading.rows
    if dry_run or reading.wrong:
        with service.database.read() as session:
            return transfers.plan(session, good, list=list_name)
    with (
        progress.bar("Importing", total=len(good)) as told,
        service.database.write() as session,
    ):
        return transfers.bring_in(
            session,
            good,
            list=list_name,
            evidence=consent,
            confirmed=confirmed,
            now=service.clock.now(),
            actor=opening.ACTOR,
            progress=told,
        )


def _report(reading: Reading, fates: Sequence[Fate], *, done: bool, as_json: bool) -> None:
    every = sorted([*fates, *reading.passed_over], key=lambda fate: fate.line)
    counts = transfers.counts(every)
    if as_json:
        table, columns = reading.table, reading.columns
        written = {"encoding": table.encoding.name, "separator": table.separator, "tool": columns.tool}
        what = {"imported": done, "counts": counts, "unread": columns.unread}
        output.print_json({**written, **what, "rows": [_as_row(fate) for fate in every]})
        return
    for outcome, number in counts.items():
        if number:
            output.say(f"{number:>7,}  {WORDS[outcome][not done]}")
    told = [fate for fate in every if fate.why and fate.outcome != "already"]
    if told:
        output.say("")
        output.rows([_as_row(fate) for fate in told[:ROWS_SHOWN]], columns=FILE_COLUMNS, as_json=False)
    if len(told) > ROWS_SHOWN:
        output.say(f"… and {len(told) - ROWS_SHOWN:,} more rows; --json tells each of them.")


def _as_row(fate: Fate) -> dict[str, object]:
    return {"line": fate.line, "email": fate.email, "outcome": fate.outcome, "why": fate.why}
