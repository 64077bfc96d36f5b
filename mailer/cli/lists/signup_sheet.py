"""`mailer list sheet`: makes a sign-up sheet to print, for one congregation."""

from pathlib import Path

import click

from lists.contacts import LANGUAGES
from lists.errors import BadInput, Conflict
from mailer.cli import context, output
from mailer.cli.parameter_types import FILE_PATH
from mailer.web import signup_sheet


@click.command(name="sheet")
@click.argument("file", type=FILE_PATH)
@click.option("--congregation", required=True, help='Whose sheet it is: "St. Mark".')
@click.option(
    "--language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Of the sheet."
)
@click.option(
    "--paper",
    type=click.Choice([*signup_sheet.PAPER_SIZES]),
    default="letter",
    show_default=True,
    help="Its size.",
)
def command(*, file: Path, congregation: str, language: str, paper: str) -> None:
    """Make a sign-up sheet to print: “mailer list sheet sheet.html --congregation "St. Mark"”.

    Open the file in a browser and print it. The QR code leads to the form on your page, which keeps the name
    of the congregation with the consent.

    What happens next: somebody types what was written into a spreadsheet, with the columns name, email, zip,
    language and agree, and you bring it in: mailer list import people.csv --list interest --sheet "St. Mark"
    --date 2026-10-04. Each of them is still asked by mail.
    """
    with context.open_service() as service:
        text = signup_sheet.render_html(
            service.settings, congregation=congregation, language=language, paper=paper
        )
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise Conflict(f"The file {file} is there already. Choose another name.") from None
    except OSError as trouble:
        raise BadInput(f"The file {file} cannot be written: {trouble.strerror}.") from trouble
    output.print_line(f"Wrote {file}. Open it in a browser and print it, in landscape.")
