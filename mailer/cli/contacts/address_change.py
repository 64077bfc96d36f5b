"""`mailer contact change-address`: changes a person's address; they must confirm it before we write there."""

import click

from lists import addresses
from lists.errors import Conflict
from mailer.cli import context, output, parameter_types
from mailer.cli.contacts import editing
from mailer.people import address_change
from mailer.people.address_change import AddressChangePreview

LIST_COLUMNS = {"list": "List", "now": "Now", "then": "Will be"}
STATE_PHRASES = {"pending": "waits for their yes", "left": "left"}


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--yes", is_flag=True, help="Do it; without this it is only shown.")
@click.option(
    "--seen",
    type=parameter_types.INTEGER,
    help=editing.SEEN_HELP,
)
@output.json_option
def change_address(*, old: str, new: str, yes: bool, seen: int | None, as_json: bool) -> None:
    """Somebody has a new address: “mailer contact change-address ana@old.example.org ana@example.org”.

    First the address we have, then the new one. Without --yes this only shows what would happen.

    One email goes to the new address and asks whether it is theirs. Until they press the button in it,
    nothing else is written there, and nothing at all to the old address. Then everything goes on as it was:
    their lists, emails and calls, and an organizer need not be approved again.

    What they left stays left, and a pause stays. Links in mails to the old address still work for leaving.
    Who does not say yes within 14 days has left; they can join again on the page.
    """
    with context.open_service() as service:
        new_address = addresses.parse(new, pepper=service.keys.pepper)
        with service.database.read() as session:
            contact = editing.find_contact(service, session, old)
            preview = address_change.preview(session, contact, new_address, now=service.clock.now())
        if yes:
            with service.database.write() as session:
                preview = address_change.change_address(
                    session,
                    contact.id,
                    new_address,
                    version=preview.version if seen is None else seen,
                    source=service.confirmations,
                    now=service.clock.now(),
                    actor=context.ACTOR,
                )
            service.jobs.write_departures()
            service.database.truncate_wal()
    if as_json:
        output.print_json(_build_result(preview, is_applied=yes))
        return
    if preview.refusal:
        raise Conflict(preview.refusal)
    _print_preview(preview)
    if yes:
        output.print_line(f"\nDone. The question whether {preview.new} is theirs is on its way.")
    else:
        command_line = (
            f"mailer contact change-address {preview.old} {preview.new} --seen {preview.version} --yes"
        )
        output.print_line(f"\nNothing was changed. To do it: {command_line}")


def _build_result(preview: AddressChangePreview, *, is_applied: bool) -> dict[str, object]:
    lists = [{"list": name, "now": now, "then": then} for name, (now, then) in preview.lists.items()]
    return {
        "readdressed": is_applied,
        "refusal": preview.refusal,
        "seen": preview.version,
        "old": preview.old,
        "new": preview.new,
        "lists": lists,
        "cancelled": preview.cancelled,
    }


def _print_preview(preview: AddressChangePreview) -> None:
    rows = [
        {"list": name, "now": now, "then": STATE_PHRASES[then]} for name, (now, then) in preview.lists.items()
    ]
    output.print_line(f"{preview.old} becomes {preview.new}.\n")
    output.print_rows(rows, columns=LIST_COLUMNS, as_json=False)
    if preview.cancelled:
        output.print_line(
            f"\nMessages to the old address that wait, and will not leave: {preview.cancelled:,}."
        )
