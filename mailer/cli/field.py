"""`mailer field`: defines custom fields of contacts, each with a type."""

from collections.abc import Sequence

import click

from lists import fields
from lists.fields import TYPES, Field
from mailer.cli import context, output

COLUMNS = {
    "name": "Name",
    "title": "Title",
    "type": "Type",
    "choices": "Choices",
    "created_at": "Since",
    "retired_at": "Retired",
}


@click.group()
def command() -> None:
    """Define what more is kept of people: “mailer field add host --type yes/no --title "Can host"”.

    Keep little: what is not written down cannot be taken. Everybody can read what is kept of them.
    """


@command.command()
@click.argument("name")
@click.option("--title", required=True, help="As people read it.")
@click.option(
    "--type", "type_", type=click.Choice(TYPES), default="text", show_default=True, help="Of values."
)
@click.option("--choice", "choices", multiple=True, help="One value of a “choice”; give it once for each.")
@output.json_option
def add(*, name: str, title: str, type_: str, choices: Sequence[str], as_json: bool) -> None:
    """Define a field: “mailer field add size --type choice --choice S --choice M --title "Shirt size"”."""
    with context.open_service() as service, service.database.write() as session:
        field = fields.add(
            session,
            name,
            title=title,
            type=type_,
            choices=choices,
            now=service.clock.now(),
            actor=context.ACTOR,
        )
        row = _to_row(field)
    if as_json:
        output.print_json(row)
    else:
        output.print_line(f"Done. Set it with “mailer contact set ADDRESS {name}=VALUE”.")


@command.command("list")
@output.json_option
def list_(*, as_json: bool) -> None:
    """Show every field, the retired ones too."""
    with context.open_service() as service, service.database.read() as session:
        all_fields = fields.list_all(session)
        rows = [_to_row(field) for field in all_fields]
        choices = {field.name: field.choices for field in all_fields}
    table_rows = (
        rows if as_json else [{**row, "choices": ", ".join(choices[str(row["name"])])} for row in rows]
    )
    output.print_rows(table_rows, columns=COLUMNS, as_json=as_json, none="No field is defined.")


@command.command()
@click.argument("name")
@output.json_option
def retire(*, name: str, as_json: bool) -> None:
    """Take a field out of use: “mailer field retire size”. Its values are deleted after 90 days."""
    with context.open_service() as service, service.database.write() as session:
        row = _to_row(fields.retire(session, name, now=service.clock.now(), actor=context.ACTOR))
    if as_json:
        output.print_json(row)
    else:
        output.print_line(f"The field {name} takes no more values; those it has are deleted in 90 days.")


def _to_row(field: Field) -> dict[str, object]:
    return {key: getattr(field, key) for key in COLUMNS}
