"""`mailer organizer`: applications to be on the map and on the organizer list, which staff decide."""

import click
from sqlalchemy import select

from lists import contacts, directory
from lists.contacts import Contact
from lists.directory import Listing
from mailer.cli import context, output, parameter_types

STATES = ("asked", "waiting", "approved", "rejected", "withdrawn", "all")
COLUMNS = {
    "id": "Number",
    "state": "State",
    "organization": "Congregation or organization",
    "name": "Name",
    "email": "Address",
    "tradition": "Tradition",
    "role": "Role",
    "zip": "ZIP",
    "asked_at": "Asked",
    "offer": "Can offer",
}


@click.group()
def command() -> None:
    """See who wants to be on the map; approve or reject them.

    Example: “mailer organizer list”, then “mailer organizer approve 3”.
    """


@command.command("list")
@click.option(
    "--state", type=click.Choice(STATES), default="waiting", show_default=True, help="Which applications."
)
@output.json_option
def list_(*, state: str, as_json: bool) -> None:
    """Show the applications that wait for a decision, oldest first.

    “asked” means that the person has not confirmed the address yet; nothing can be decided before that.
    """
    with context.open_service() as service, service.database.read() as session:
        listings = directory.list_applications(session, state=None if state == "all" else state)
        ids = [listing.contact_id for listing in listings]
        result = session.execute(select(Contact.id, Contact.email).where(Contact.id.in_(ids)))
        emails = {row.id: row.email for row in result}
    rows = [_to_row(listing, emails[listing.contact_id]) for listing in listings]
    none = "Nobody waits for a decision." if state == "waiting" else "None."
    output.print_rows(rows, columns=COLUMNS, as_json=as_json, none=none)


@command.command()
@click.argument("number", type=parameter_types.ROW)
@output.json_option
def approve(*, number: int, as_json: bool) -> None:
    """Approve an application: “mailer organizer approve 3”.

    What happens next: the person is on the organizer list, gets the organizers' first email in their own
    daytime, and is invited to the calls. What they wrote about themselves becomes what we know about them.
    """
    _decide("approve", number, as_json=as_json)


@command.command()
@click.argument("number", type=parameter_types.ROW)
@output.json_option
def reject(*, number: int, as_json: bool) -> None:
    """Reject an application: “mailer organizer reject 3”.

    What happens next: nothing. No mail is sent, and the person stays on every other list.
    """
    _decide("reject", number, as_json=as_json)


def _decide(verb: str, number: int, *, as_json: bool) -> None:
    decide = {"approve": directory.approve, "reject": directory.reject}[verb]
    with context.open_service() as service, service.database.write() as session:
        listing = decide(session, number, now=service.clock.now(), actor=context.ACTOR)
        email = contacts.get(session, listing.contact_id).email
        row = _to_row(listing, email)
    if as_json:
        output.print_json(row)
    elif verb == "approve":
        output.print_line(f"{listing.organization} is approved, and {email} is on the organizer list now.")
    else:
        output.print_line(f"{listing.organization} is rejected. No mail is sent to {email} about it.")


def _to_row(listing: Listing, email: str) -> dict[str, object]:
    values = {key: getattr(listing, key) for key in COLUMNS if key != "email"}
    return {**values, "email": email, "decided_at": listing.decided_at}
