"""`mailer jobs`: lists the scheduled jobs, and runs one by hand."""

import click

from mailer.cli import context, output
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
    with context.open_service() as service:
        jobs = service.jobs.all()
    rows = [
        {"name": job.name, "about": job.about, "every_seconds": int(job.every.total_seconds())}
        for job in jobs
    ]
    if as_json:
        output.print_json(rows)
        return
    table_rows = [
        {**row, "every": _format_interval(int(job.every.total_seconds()))}
        for row, job in zip(rows, jobs, strict=True)
    ]
    output.print_rows(table_rows, columns=COLUMNS, as_json=False)


@command.command()
@click.argument("name")
@output.json_option
def run(*, name: str, as_json: bool) -> None:
    """Run one job now: “mailer jobs run fill-sequence”.

    Running a job more often than it runs by itself does no harm: it only does what is left to do. No mail
    leaves by this; “mailer deliver” does that. After a restore, nothing is put into the outbox before its gap
    is settled, which is said here.
    """
    with context.open_service() as service:
        row_count = service.jobs.get(name).run()
        with service.database.read() as session:
            restore = send_hold.find_unsettled(session)
    hold_sentence = "" if restore is None else restore.sentence
    if as_json:
        output.print_json({"name": name, "moved": row_count, "held": hold_sentence})
    elif hold_sentence and not row_count:
        output.print_line(hold_sentence)
    else:
        phrase = "one row" if row_count == 1 else f"{row_count:,} rows"
        output.print_line(f"Done: {phrase} moved." if row_count else "Done: there was nothing to do.")


def _format_interval(seconds: int) -> str:
    length, unit = next((length, unit) for length, unit in UNITS if seconds % length == 0)
    number = seconds // length
    return f"every {unit}" if number == 1 else f"every {number} {unit}s"
