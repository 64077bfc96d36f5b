"""Output of commands: a table for people, JSON for scripts, from the same rows.

With `--json` the output is one JSON value with the same keys in every version: a list of objects from
`print_rows`, one object from `print_facts`. Times are ISO 8601 in UTC. Control characters in names that
people chose are never written to the terminal.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from mailer import json_values

FILE_WIDTH = 200
UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """Give a command the switch `--json`, as its argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for scripts.")(function)


def print_rows(
    rows: Iterable[Mapping[str, object]], *, columns: Mapping[str, str], as_json: bool, none: str = "None."
) -> None:
    """Print rows. `columns` is key → heading; `none` is printed when there are no rows."""
    all_rows = list(rows)
    if as_json:
        print_json(all_rows)
        return
    if not all_rows:
        click.echo(none)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns.values(), box=None, pad_edge=False, header_style="bold")
    for row in all_rows:
        table.add_row(*(Text(format_value(row.get(key))) for key in columns))
    _print(table)


def print_facts(values: Mapping[str, object], *, labels: Mapping[str, str], as_json: bool) -> None:
    """Print the facts about one thing, a line each. `labels` is key → label."""
    if as_json:
        print_json(values)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for key, label in labels.items():
        table.add_row(Text(label, style="bold"), Text(format_value(values.get(key))))
    _print(table)


def print_line(sentence: str) -> None:
    """Print one sentence to a person."""
    click.echo(format_value(sentence))


def print_json(value: object) -> None:
    """Print a value as JSON, in ASCII."""
    click.echo(json_values.to_json(value))


def format_value(value: object) -> str:
    """Format a value for a table: nothing for None, words for yes and no, a dot for unprintables."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M UTC")
    return "".join(
        character if character.isprintable() or character == "\n" else "·" for character in str(value)
    )


def format_duration(length: timedelta) -> str:
    """Format a length of time in its two largest units: “2 hours 5 minutes”."""
    remaining, parts = max(int(length.total_seconds()), 0), []
    for seconds, unit in UNITS:
        number, remaining = divmod(remaining, seconds)
        if number:
            parts.append(f"{number} {unit}{'' if number == 1 else 's'}")
        elif parts:
            break
    return " ".join(parts[:2]) or "less than a second"


def _print(table: object) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=FILE_WIDTH)
    console.print(table)
