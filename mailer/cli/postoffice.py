"""`mailer postoffice`: shows the try-out's mail, and moves its clock."""

from collections.abc import Callable
from datetime import timedelta

import click

from lists.errors import BadInput, Conflict
from mailer.cli import context, output, parameter_types
from mailer.processes import draining
from mailer.service import Service
from mailer.tryout import postoffice

COLUMNS = {"id": "Number", "date": "When", "to": "To", "subject": "Subject"}
MAX_DAYS = 400


@click.group()
def command() -> None:
    """Read the try-out's mail, and move its clock.

    While no mail server is set, nothing leaves this machine: every mail is kept in a post office, which the
    browser shows too, at /postoffice.
    """


@command.command("list")
@click.option("--limit", default=50, show_default=True, type=parameter_types.LIMIT, help="How many to show.")
@output.json_option
def list_(*, limit: int, as_json: bool) -> None:
    """Show the mails that came, the newest last."""
    with context.open_service() as service:
        _require_tryout(service)
        with service.database.read() as session:
            rows = [_to_row(message) for message in postoffice.list_messages(session, limit=limit)]
    output.print_rows(rows, columns=COLUMNS, as_json=as_json, none="No mail has come yet.")


@command.command()
@click.argument("number", type=parameter_types.ROW)
@click.option("--source", is_flag=True, help="Show the message exactly as it arrived.")
@output.json_option
def show(*, number: int, source: bool, as_json: bool) -> None:
    """Show one mail: “mailer postoffice show 3”."""
    with context.open_service() as service:
        _require_tryout(service)
        with service.database.read() as session:
            message = postoffice.get_message(session, number)
    parsed = postoffice.parse_message(message.raw)
    if as_json:
        parts = {
            "headers": dict(parsed.headers),
            "text": parsed.text,
            "html": parsed.html,
            "calendar": parsed.calendar,
        }
        output.print_json({**_to_row(message), **parts, "source": parsed.source})
        return
    if source:
        output.print_line(parsed.source)
        return
    facts = {**_to_row(message), "from": dict(parsed.headers).get("From", "")}
    labels = {"date": "When", "from": "From", "to": "To", "subject": "Subject"}
    output.print_facts(facts, labels=labels, as_json=False)
    output.print_line(f"\n{parsed.text.rstrip()}")
    for attachment in parsed.attachments:
        output.print_line(f"\nAttached: {attachment.name} ({attachment.type}, {attachment.size:,} bytes)")


@command.command()
@click.option("--days", type=click.IntRange(1, MAX_DAYS), help="Go ahead by so many days.")
@click.option("--hours", type=click.IntRange(1, MAX_DAYS * 24), help="Go ahead by so many hours.")
@click.option("--next", "to_next", is_flag=True, help="Go to the next moment when something falls due.")
@output.json_option
def advance(*, days: int | None, hours: int | None, to_next: bool, as_json: bool) -> None:
    """Move the try-out's clock ahead: “mailer postoffice advance --days 7”.

    Nothing is jumped over: everything that falls due on the way happens in its turn, and its mail is here
    when this ends. The clock never goes back.
    """
    if [days, hours, to_next or None].count(None) != 2:
        raise BadInput("Say how far to go: --days 7, --hours 12, or --next; one of them.")
    with context.open_sending_service() as service:
        _require_tryout(service)
        with service.database.read() as session:
            count_before = postoffice.count_messages(session)
        with draining.lead_delivery(service) as is_leader, service.relays():
            machine = service.time_machine(drain=_build_drain(service, is_leader=is_leader))
            if to_next:
                now = machine.advance_to_next()
            else:
                now = machine.advance(timedelta(days=days or 0, hours=hours or 0))
        with service.database.read() as session:
            arrivals = postoffice.count_messages(session) - count_before
        present = now or service.clock.now()
    if as_json:
        output.print_json({"moved": now is not None, "now": present, "came": arrivals})
    elif now is None:
        output.print_line("Nothing will fall due by itself, so the clock stays where it is.")
    else:
        mails = "One mail" if arrivals == 1 else f"{arrivals:,} mails"
        output.print_line(
            f"It is now {output.format_value(present)} in the try-out. {mails} came on the way."
        )


def _build_drain(service: Service, *, is_leader: bool) -> Callable[[], None]:
    def drain() -> None:
        trouble = draining.drain(service, is_leader=is_leader)
        if trouble:
            raise Conflict(f"The clock stopped on the way, because mail cannot be delivered: {trouble}")

    return drain


def _require_tryout(service: Service) -> None:
    if not service.settings.tryout:
        raise Conflict("A mail server is set, so there is no try-out: mail goes to the people it is for.")


def _to_row(message: postoffice.CapturedMessage) -> dict[str, object]:
    return {key: getattr(message, key) for key in COLUMNS}
