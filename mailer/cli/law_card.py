"""`mailer law-card`: cards on present law, each shown for 90 days after it was checked."""

from datetime import datetime

import click

from mailer.cli import context, output, parameter_types
from mailer.library import law_cards
from mailer.library.law_cards import LawCard

COLUMNS = {
    "number": "Number",
    "state": "State",
    "shown": "Shown",
    "days_left": "Days left",
    "checked_on": "Checked on",
    "checked_by": "By",
    "en": "In English",
    "es": "In Spanish",
    "source": "Source",
}


@click.group()
def command() -> None:
    """Keep the cards on present law; each is shown for 90 days after it was checked, and then left out.

    Example: “mailer law-card list”, then “mailer law-card check 3 --by "legal team"”.
    """


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Also those that were retired.")
@output.json_option
def list_(*, every: bool, as_json: bool) -> None:
    """Show every card, whether people see it, and for how many days more."""
    with context.open_service() as service, service.database.read() as session:
        now = service.clock.now()
        rows = [_to_row(card, now) for card in law_cards.list_cards(session, include_retired=every)]
    output.print_rows(rows, columns=COLUMNS, as_json=as_json, none="There is no card.")


@command.command()
@click.argument("state")
@click.option("--text", required=True, help="What the law says, in English, in a sentence or two.")
@click.option("--text-es", required=True, help="The same in Spanish.")
@click.option("--source", required=True, help="Where it stands, beginning with https://.")
@click.option("--by", required=True, help="Who has checked it; people see this.")
@click.option("--on", default="", help="The day it was checked, like 2026-11-22; else today.")
@output.json_option
def add(*, state: str, text: str, text_es: str, source: str, by: str, on: str, as_json: bool) -> None:
    """Add a card about a state, by its two letters, or about federal law: “mailer law-card add NY --text …”.

    What happens next: it is on the page of resources at once. 90 days after it was checked it is left out by
    itself; the log tells you two weeks before.
    """
    with context.open_service() as service:
        now = service.clock.now()
        with service.database.write() as session:
            card = law_cards.add(
                session,
                state=state,
                text={"en": text, "es": text_es},
                source=source,
                checked_on=on,
                checked_by=by,
                now=now,
                actor=context.ACTOR,
            )
            row = _to_row(card, now)
    _print_result(row, f"Card {row['number']} is shown for {_format_days_left(row)}.", as_json=as_json)


@command.command()
@click.argument("number", type=parameter_types.ROW)
@click.option("--by", required=True, help="Who has checked it; people see this.")
@click.option("--on", default="", help="The day it was checked, like 2026-11-22; else today.")
@click.option("--text", default="", help="What it says now in English, if that has changed.")
@click.option("--text-es", default="", help="The same in Spanish.")
@click.option("--source", default="", help="Where it stands now, if that has changed.")
@output.json_option
def check(*, number: int, by: str, on: str, text: str, text_es: str, source: str, as_json: bool) -> None:
    """Say that a card was checked again: “mailer law-card check 3 --by "legal team"”.

    Read its source first. What happens next: it is shown for 90 days from the day it was checked.
    """
    with context.open_service() as service:
        now = service.clock.now()
        with service.database.write() as session:
            card = law_cards.record_check(
                session,
                number,
                checked_on=on,
                checked_by=by,
                text={"en": text, "es": text_es},
                source=source,
                now=now,
                actor=context.ACTOR,
            )
            row = _to_row(card, now)
    _print_result(row, f"Card {number} is shown for {_format_days_left(row)}.", as_json=as_json)


@command.command()
@click.argument("number", type=parameter_types.ROW)
@output.json_option
def retire(*, number: int, as_json: bool) -> None:
    """Take a card out for good: “mailer law-card retire 3”."""
    with context.open_service() as service:
        now = service.clock.now()
        with service.database.write() as session:
            row = _to_row(law_cards.retire(session, number, now=now, actor=context.ACTOR), now)
    _print_result(row, f"Card {number} is retired, and nobody sees it any more.", as_json=as_json)


def _print_result(row: dict[str, object], sentence: str, *, as_json: bool) -> None:
    if as_json:
        output.print_json(row)
    else:
        output.print_line(sentence)


def _format_days_left(row: dict[str, object]) -> str:
    return "today only" if row["days_left"] == 0 else f"{row['days_left']} days more"


def _to_row(card: LawCard, now: datetime) -> dict[str, object]:
    days_left = card.days_remaining(now)
    values = {
        key: getattr(card, key) for key in ("state", "checked_on", "checked_by", "source", "retired_at")
    }
    return {
        "number": card.id,
        **values,
        "shown": card.retired_at is None and days_left >= 0,
        "days_left": days_left,
        **card.text,
    }
