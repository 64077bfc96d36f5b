"""`mailer db restore`: puts a backup back into an empty folder."""

import os
from pathlib import Path

import click

from lists.clock import Clock
from mailer.cli import output, progress
from mailer.cli.db import passphrases, restore_gap
from mailer.cli.parameter_types import FILE_PATH
from mailer.monitoring import logs
from mailer.processes import restoring
from mailer.processes.restoring import RestoreSummary


@click.command()
@click.argument("file", type=FILE_PATH)
@click.option(
    "--departures", type=FILE_PATH, help="Merge this file of departures, copied off the lost machine."
)
@click.option(
    "--journals", type=FILE_PATH, help="Ask the journals in this folder of the lost machine what left."
)
@passphrases.option
def restore(
    *, file: Path, departures: Path | None, journals: Path | None, passphrase_file: Path | None
) -> None:
    """Put a backup back into an empty folder: “mailer db restore monday.backup --departures departures”.

    Nothing is sent before the departures are merged or the gap is accepted. What waited at the backup, and
    what was due since, may have left from the lost machine: it waits for you (“mailer outbox unknown”), and
    the steps of follow-ups that were due count as sent. Stop the old machine first, if it still runs.
    """
    logs.configure()
    passphrase = passphrases.ask_existing(passphrase_file)
    with progress.show_bar("Putting back", total=0) as report:
        summary = restoring.restore(
            file,
            passphrase,
            environ=os.environ,
            clock=Clock(),
            progress=report,
            departures=departures,
            journals=journals,
        )
    _print_restore(summary)
    output.print_line(summary.settlement.hold_sentence or restore_gap.SENDING_RESUMED)


def _print_restore(summary: RestoreSummary) -> None:
    backup_time = output.format_value(summary.backup_at)
    if summary.resumed:
        output.print_line(
            f"Everything was back already, as it was at {backup_time}; only the last step was missing."
        )
    else:
        output.print_line(
            f"{summary.rows:,} rows and {summary.files:,} files are back, as they were at {backup_time}."
        )
    settlement = summary.settlement
    if settlement.settled_by_journals is not None:
        output.print_line(f"The journals settled {settlement.settled_by_journals:,} messages.")
    if settlement.in_doubt_count:
        output.print_line(
            f"{settlement.in_doubt_count:,} messages may have left since, and wait for you:"
            " “mailer outbox unknown” shows them, “mailer outbox resolve --restored --sent” or “--resend”"
            " decides about all."
        )
    if settlement.departures_merge is not None:
        restore_gap.print_merge(settlement.departures_merge)
