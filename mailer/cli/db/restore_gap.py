"""`mailer db merge`, `accept-gap` and `status`: settle the gap of a restore, or tell about it."""

from dataclasses import asdict
from pathlib import Path

import click

from mailer.cli import context, output
from mailer.cli.parameter_types import FILE_PATH
from mailer.coordination import send_hold
from mailer.outbox import in_doubt
from mailer.processes import restore_settlement
from mailer.processes.restore_settlement import DeparturesMerge
from mailer.service import Service

SENDING_RESUMED = "Mail leaves again; start “mailer serve”."
STATUS_LABELS = {
    "held": "Is mail held back?",
    "backup_at": "Backup of",
    "restored_at": "Put back at",
    "may_have_left": "Messages that may have left",
    "sentence": "What to do",
}


@click.command()
@click.argument("file", type=FILE_PATH)
@output.json_option
def merge(*, file: Path, as_json: bool) -> None:
    """Merge a file of departures, after an older database was restored: “mailer db merge departures”.

    Whoever left, complained or was forgotten, by that file, is so again; who is so already stays so, and who
    joined again later stays, too. The same file twice changes nothing. A file that reaches past the backup
    settles the gap of a restore.
    """
    with context.open_service() as service:
        with service.database.write() as session:
            now = service.clock.now()
            was_held = send_hold.find_unsettled(session) is not None
            departures_merge = restore_settlement.merge_departures(
                session, service, file, now=now, actor=context.ACTOR
            )
        service.database.truncate_wal()
        if as_json:
            departures = departures_merge.file
            facts = {
                "read": len(departures.records),
                "damaged": departures.damaged,
                "until": departures.until,
            }
            output.print_json(
                {**asdict(departures_merge.result), **facts, "gap_settled": departures_merge.settles_gap}
            )
            return
        print_merge(departures_merge)
        if was_held and not departures_merge.settles_gap:
            output.print_line("The file ends before the backup was made, so it cannot settle the gap.")
        if was_held:
            _print_send_hold(service)
        else:
            output.print_line("No mail was held back.")


@click.command("accept-gap")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def accept_gap(*, yes: bool) -> None:
    """Send again after a restore though no file of departures can say who left since the backup.

    Whoever left, complained or asked to be forgotten between the backup and the restore will be written to
    again. Do this only if no copy of the file of departures is left anywhere.
    """
    with context.open_service() as service:
        with service.database.read() as session:
            hold = send_hold.find_unsettled(session)
        if hold is None:
            output.print_line("There is no gap to accept: nothing is held back.")
            return
        since, until = output.format_value(hold.backup_at), output.format_value(hold.restored_at)
        output.print_line(
            f"Who left, complained or asked to be forgotten between {since} and {until} is not known here,"
            " and will be written to again."
        )
        if not yes:
            click.confirm("Accept this gap?", abort=True, err=True)
        with service.database.write() as session:
            now = service.clock.now()
            restore_settlement.end_hold(
                session, service, how=send_hold.ACCEPTED, now=now, actor=context.ACTOR
            )
    output.print_line("Mail leaves again.")


@click.command()
@output.json_option
def status(*, as_json: bool) -> None:
    """Say whether a restored backup holds the mail back, why, and what to do."""
    with context.open_service() as service, service.database.read() as session:
        hold = send_hold.find_unsettled(session)
        waiting = in_doubt.count_restored(session)
    facts: dict[str, object] = {
        "held": hold is not None,
        "backup_at": hold.backup_at if hold else None,
        "restored_at": hold.restored_at if hold else None,
        "may_have_left": waiting,
        "sentence": hold.sentence if hold else "Nothing holds the mail back.",
    }
    output.print_facts(facts, labels=STATUS_LABELS, as_json=as_json)


def print_merge(departures_merge: DeparturesMerge) -> None:
    """Print what the merge of a file of departures did."""
    departures, result = departures_merge.file, departures_merge.result
    output.print_line(
        f"{len(departures.records):,} departures were read,"
        f" everything until {output.format_value(departures.until)}."
    )
    output.print_line(
        f"Lists left: {result.left:,}. Addresses barred: {result.barred:,}. People erased: {result.erased:,}."
    )
    if departures.damaged:
        output.print_line(f"Lines that were damaged, and passed over: {departures.damaged:,}.")


def _print_send_hold(service: Service) -> None:
    with service.database.read() as session:
        hold = send_hold.find_unsettled(session)
    output.print_line(SENDING_RESUMED if hold is None else hold.sentence)
