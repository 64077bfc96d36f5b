"""`mailer jobs`: what happens by itself, and the same by hand."""

import click

from mailer.cli import opening, output
from mailer.coordination import send_hold

COLUMNS = {"name": "Job", "about": "What it does", "every": "How often"}
UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


@click.group()
def command() -> None:
    """List what happens by itself while “mailer serve” runs, or run one of it by hand."""


@command.command("list")
@output.json_option
def list_(*, as_json: bool) -> None:
    """Show every job, what it does, and how often it runs by itself."""
    with opening.open_service() as service:
        found = service.jobs.all()
    rows = [
        {"name": job.name, "about": job.about, "every_seconds": int(job.every.total_seconds())}
        for job in found
    ]
    if as_json:
        output.print_json(rows)
        return
    told = [
        {**row, "every": _format_interval(int(job.every.total_seconds()))}
        for row, job in zip(rows, found, strict=True)
    ]
    output.print_rows(told, columns=COLUMNS, as_json=False)


@command.command()
@click.argument("name")
@output.json_option
def run(*, name: str, as_json: bool) -> None:
    """Run one job now: “mailer jobs run fill-sequence”.

    Running a job more often than it runs by itself does no harm: it only does what is left to do. No mail
    leaves by this; “mailer deliver” does that. After a restore, nothing is put into the outbox before its gap
    is settled, which is said here.
    """
    with opening.open_service() as service:
        moved = service.jobs.get(name).run()
        with service.database.read() as session:
            restore = send_hold.find_unsettled(session)
    held = "" if restore is None else restore.sentence
    if as_json:
        output.print_json({"name": name, "moved": moved, "held": held})
    elif held and not moved:
        output.print_line(held)
    else:
        rows = "one row" if moved == 1 else f"{moved:,} rows"
        output.print_line(f"Done: {rows} moved." if moved else "Done: there was nothing to do.")


def _format_interval(seconds: int) -> str:
    length, unit = next((length, unit) for length, unit in UNITS if seconds % length == 0)
    number = seconds // length
    return f"every {unit}" if number == 1 else f"every {number} {unit}s"
