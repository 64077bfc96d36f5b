"""`mailer import`: people from a CSV file, all of them or none, with the evidence of their consent."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from lists import dialects, encodings, transfers
from lists.errors import BadInput, NotFound
from lists.subscriptions import LISTS
from lists.transfers import Fate, Reading
from mailer.cli import opening, output, progress
from mailer.service import Service

ROWS_SHOWN = 50
PIECE = 1 << 18  # octets read at once
FILE_COLUMNS = {"line": "Line", "email": "Address", "outcome": "What", "why": "Why"}
WORDS = {
    "added": ("added", "would be added"),
    "already": ("already there, unchanged", "already there"),
    "left": ("had left and stay so", "have left and would stay so"),
    "suppressed": ("must not be written to and stay so", "must not be written to and would stay so"),
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
@click.option("--encoding", default="", help=f"If it was not found out: {', '.join(encodings.NAMES)}.")
@click.option("--separator", default="", help=f"If it was not found out: {', '.join(dialects.SEPARATORS)}.")
@click.option("--dry-run", is_flag=True, help="Only tell what would happen; nothing is changed.")
@output.json_option
def command(
    *,
    file: Path,
    list_name: str,
    consent: str,
    confirmed: bool,
    encoding: str,
    separator: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring people in from a CSV file: all of them, or none if any row is wrong.

    The first line names the columns. Only “email” is required; “name”, “language” (en or es) and “zip” are
    read too, in any order.

    Try it first: mailer import people.csv --list interest --consent "sheet of October 4" --dry-run

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
    with opening.service() as service:
        reading = _read(file, service, encoding=encoding, separator=separator)
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


def _read(file: Path, service: Service, *, encoding: str, separator: str) -> Reading:
    try:
        with file.open("rb") as opened:
            lines = sum(piece.count(b"\n") for piece in iter(partial(opened.read, PIECE), b""))
            with progress.bar("Reading", total=lines) as told:
                return transfers.read(
                    opened,
                    pepper=service.keys.pepper,
                    encoding=encoding,
                    separator=separator,
                    progress=told,
                )
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.") from None
    except OSError as trouble:
        raise BadInput(f"The file {file} cannot be read: {trouble.strerror}.") from trouble


def _bring_in(
    service: Service, reading: Reading, list_name: str, consent: str, confirmed: bool, *, dry_run: bool
) -> Sequence[Fate]:
    rows = reading.rows
    if dry_run or reading.wrong:
        with service.database.read() as session:
            return transfers.plan(session, rows, list=list_name)
    with (
        progress.bar("Importing", total=len(rows)) as told,
        service.database.write() as session,
    ):
        return transfers.bring_in(
            session,
            rows,
            list=list_name,
            evidence=consent,
            confirmed=confirmed,
            now=service.clock.now(),
            actor=opening.ACTOR,
            progress=told,
        )


def _report(reading: Reading, fates: Sequence[Fate], *, done: bool, as_json: bool) -> None:
    every = sorted([*fates, *reading.wrong], key=lambda fate: fate.line)
    counts = transfers.counts(every)
    if as_json:
        rows = [_as_row(fate) for fate in every]
        output.print_json(
            {
                "imported": done,
                "encoding": reading.encoding.name,
                "separator": reading.dialect.separator,
                "counts": counts,
                "unread": reading.unread,
                "rows": rows,
            }
        )
        return
    output.say(
        f"Read as {reading.encoding.name} ({reading.encoding.evidence}),"
        f" cells parted by {reading.dialect.separator}, {reading.dialect.quoting}."
    )
    for outcome, number in counts.items():
        if number:
            output.say(f"{number:>7,}  {WORDS[outcome][not done]}")
    told = [fate for fate in every if fate.why and fate.outcome != "already"]
    if told:
        output.say("")
        output.rows([_as_row(fate) for fate in told[:ROWS_SHOWN]], columns=FILE_COLUMNS, as_json=False)
    if len(told) > ROWS_SHOWN:
        output.say(f"… and {len(told) - ROWS_SHOWN:,} more rows; --json tells each of them.")
    if reading.unread:
        output.say(f"These columns are not read: {', '.join(reading.unread)}.")


def _as_row(fate: Fate) -> dict[str, object]:
    return {"line": fate.line, "email": fate.email, "outcome": fate.outcome, "why": fate.why}
