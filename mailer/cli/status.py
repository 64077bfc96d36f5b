"""`mailer status`: shows what waits for staff, and the command for it."""

import click

from mailer.cli import context, output
from mailer.sources import staff_digest

COLUMNS = {"sentence": "What waits for you", "command": "Type this"}


@click.command()
@output.json_option
def command(*, as_json: bool) -> None:
    """Show what waits for you, and what to type: “mailer status”.

    Nobody is named in it. The same list is mailed to the address of staff (staff_address in the settings).
    """
    with context.open_service() as service, service.database.read() as session:
        items = staff_digest.list_items(session, now=service.clock.now())
        is_mailed = service.staff_digest.is_reachable(session)
    rows = [
        {
            "name": item.name,
            "number": item.number,
            "sentence": item.sentence["en"],
            "command": item.command,
        }
        for item in items
    ]
    output.print_rows(rows, columns=COLUMNS, as_json=as_json, none="Nothing waits for you.")
    if not as_json:
        output.print_line("")
        output.print_line(_describe_recipient(service.settings.staff_address, is_mailed=is_mailed))


def _describe_recipient(address: str, *, is_mailed: bool) -> str:
    if is_mailed:
        return f"This list is mailed to {address}, at most once a day."
    if address:
        return f"This list is not mailed: {address} must not be written to. See “mailer contact show”."
    return "This list is mailed to nobody: “staff_address” is not set."
