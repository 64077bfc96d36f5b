"""`mailer list`: the lists, their people, who may not be written to and why; import and export."""

from collections.abc import Mapping

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import catalog as lists_catalog
from lists import subscriptions
from lists.contacts import Contact
from lists.subscriptions import Subscription
from mailer import reasons
from mailer.cli import catalog, context, output, parameter_types
from mailer.cli.lists import exporting, importing, signup_sheet, undoing
from mailer.sources import broadcasts

STATE_COLUMNS = {"confirmed": "Confirmed", "pending": "Not confirmed", "left": "Left"}
PERSON_COLUMNS = {
    "email": "Address",
    "name": "Name",
    "language": "Language",
    "state": "State",
    "since": "Since",
}
LANGUAGE_NAMES = {"en": "English", "es": "Spanish"}


@click.group(invoke_without_command=True)
@output.json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> None:
    """Show the lists and how many people are on each.

    “mailer list show interest” tells more about one list: who of it would get an update today, by language,
    and why the others would not.
    """
    if ctx.invoked_subcommand is not None:
        return
    with context.open_service() as service, service.database.read() as session:
        counts = subscriptions.count_by_state(session)
        names = lists_catalog.list_names(session)
    rows = [
        {"list": name, **{state: counts.get((name, state), 0) for state in STATE_COLUMNS}} for name in names
    ]
    output.print_rows(rows, columns={"list": "List", **STATE_COLUMNS}, as_json=as_json)


@command.command()
@click.argument("name")
@click.option("--people", is_flag=True, help="Name the people, newest first.")
@click.option("--limit", default=50, show_default=True, type=parameter_types.LIMIT, help="How many to name.")
@output.json_option
def show(*, name: str, people: bool, limit: int, as_json: bool) -> None:
    """Tell more about one list: “mailer list show interest”.

    It tells who would get an update sent now, by language, and how many would not, with the reason. Add
    --people to see addresses; “mailer contact show ADDRESS” then tells everything about one of them.
    """
    with context.open_service() as service, service.database.read() as session:
        added_list = lists_catalog.find(session, lists_catalog.check_name(session, name))
        words = catalog.to_row(service, added_list) if added_list else {}
        counts = subscriptions.count_by_state(session)
        recipient_count = broadcasts.count_recipients(session, audience=name, now=service.clock.now())
        person_rows = _list_people(session, name, limit) if people else []
    states = {state: counts.get((name, state), 0) for state in STATE_COLUMNS}
    if as_json:
        report: dict[str, object] = {"list": name, **states, "readers": recipient_count.total}
        report |= {
            "words": words,
            "languages": recipient_count.languages,
            "left_out": recipient_count.exclusions,
        }
        output.print_json({**report, "people": person_rows} if people else report)
        return
    if words:
        output.print_facts(words, labels=catalog.COLUMNS, as_json=False)
    output.print_facts(states, labels=STATE_COLUMNS, as_json=False)
    output.print_line(
        f"\nAn update sent now would reach {recipient_count.total:,}"
        f"{_format_languages(recipient_count.languages)}."
    )
    for reason, number in sorted(recipient_count.exclusions.items()):
        output.print_line(f"{number:>7,}  would not get it: {reasons.describe(reason)}")
    if people:
        output.print_line("")
        output.print_rows(person_rows, columns=PERSON_COLUMNS, as_json=False, none="Nobody is on this list.")


for verb in (catalog.add, catalog.reword, catalog.close, catalog.reopen):
    command.add_command(verb)
command.add_command(importing.command)
command.add_command(undoing.undo)
command.add_command(exporting.command)
command.add_command(signup_sheet.command)


def _format_languages(languages: Mapping[str, int]) -> str:
    counts = [f"{number:,} in {LANGUAGE_NAMES.get(code, code)}" for code, number in sorted(languages.items())]
    return f": {', '.join(counts)}" if counts else ""


def _list_people(session: Session, name: str, limit: int) -> list[dict[str, object]]:
    result = session.execute(
        select(Contact, Subscription)
        .join(Subscription, Subscription.contact_id == Contact.id)
        .where(Subscription.list == name)
        .order_by(Subscription.id.desc())
        .limit(limit)
    )
    return [
        {
            "email": contact.email,
            "name": contact.name,
            "language": contact.language,
            "state": subscription.state,
            "since": subscription.left_at or subscription.confirmed_at or subscription.asked_at,
        }
        for contact, subscription in result
    ]
