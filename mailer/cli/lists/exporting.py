"""`mailer list export`: writes people, subscriptions or consents to a file for a spreadsheet."""

from pathlib import Path

import click

from lists import audit, catalog
from lists.tables import csv_writer, export_rows
from mailer.cli import context, output
from mailer.cli.parameter_types import FILE_PATH

DESCRIPTIONS = {
    "people": "everybody who is or was on {list}",
    "subscriptions": "who is on {list} since when, and who left",
    "consents": "every yes and no to {list}, with the words that were shown",
}


@click.command(name="export")
@click.argument("what", type=click.Choice([*export_rows.KINDS]))
@click.argument("file", type=FILE_PATH)
@click.option("--list", "list_name", help="Only what concerns this list.")
@click.option("--plain", is_flag=True, help="Without the mark that tells Excel it is UTF-8.")
@output.json_option
def command(*, what: str, file: Path, list_name: str | None, plain: bool, as_json: bool) -> None:
    """Write people, subscriptions or consents to a new file: “mailer list export people people.csv”.

    Only your own account can read the file. Cells that a spreadsheet would run as a formula are shielded with
    an apostrophe. That somebody exported, and how many, is written down.

    The file names people, some of whom are at risk: keep it on an encrypted disk and delete it when you are
    done with it.
    """
    # An account that may run this command can read the database itself, so a second factor would protect
    # nothing. Once staff have accounts, theirs is required where a page offers an export, before these calls.
    with context.open_service() as service:
        with service.database.read() as session:
            if list_name is not None:
                catalog.check_name(session, list_name)
            columns = export_rows.list_columns(session, what)
        with csv_writer.open_writer(file, columns, byte_order_mark=not plain) as write:
            number = 0
            with service.database.read(long=True) as session:
                for row in export_rows.read_rows(session, what, list=list_name):
                    write(row)
                    number += 1
            with service.database.write() as session:  # before the file gets its name
                subject = f"{number} {what}{f' of {list_name}' if list_name else ''}"
                now = service.clock.now()
                audit.record(session, actor=context.ACTOR, action="export", subject=subject, now=now)
    if as_json:
        output.print_json({"what": what, "rows": number, "file": file})
    else:
        description = DESCRIPTIONS[what].format(list=f"the list {list_name}" if list_name else "any list")
        rows = "1 row" if number == 1 else f"{number:,} rows"
        output.print_line(f"Wrote {rows} to {file}: {description}.")
