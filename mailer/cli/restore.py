"""`mailer db restore`, and what settles its gap before anything is sent: departures merged, or accepted."""

import os
from dataclasses import asdict
from pathlib import Path

import click

from lists.clock import Clock
from mailer.cli import opening, output, passphrases, progress
from mailer.coordination import send_hold
from mailer.monitoring import logs
from mailer.outbox import in_doubt
from mailer.processes import restore_settlement, restoring
from mailer.processes.restore_settlement import DeparturesMerge
from mailer.processes.restoring import RestoreSummary
from mailer.service import Service

SENDING_RESUMED = "Mail leaves again; start “mailer serve”."
FILE_TYPE = click.Path(path_type=Path)
STATUS_LABELS = {
    "held": "Is mail held back?",
    "backup_at": "Backup of",
    "restored_at": "Put back at",
    "may_have_left": "Messages that may have left",
    "sentence": "What to do",
}


@click.command()
@click.argument("file", type=FILE_TYPE)
@click.option(
    "--departures", type=FILE_TYPE, help="Merge this file of departures, copied off the lost machine."
)
@click.option(
    "--journals", type=FILE_TYPE, help="Ask the journals in this folder of the lost machine what left."
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
    with progress.show_bar("Putting back", total=0) as done:
        restored = restoring.restore(
            file,
            passphrase,
            environ=os.environ,
            clock=Clock(),
            progress=done,
            departures=departures,
            journals=journals,
        )
    _print_restore(restored)
    output.print_line(restored.settlement.hold_sentence or SENDING_RESUMED)


@click.command()
@click.argument("file", type=FILE_TYPE)
@output.json_option
def merge(*, file: Path, as_json: bool) -> None:
    """Merge a file of departures, after an older database was restored: “mailer db merge departures”.

    Whoever left, complained or was forgotten, by that file, is so again; who is so already stays so, and who
    joined again later stays, too. The same file twice changes nothing. A file that reaches past the backup
    settles the gap of a restore.
    """
    with opening.open_service() as service:
        with service.database.write() as session:
            now = service.clock.now()
            was_held = send_hold.find_unsettled(session) is not None
            merged = restore_settlement.merge_departures(session, service, file, now=now, actor=opening.ACTOR)
        service.database.truncate_wal()
        if as_json:
            read = merged.file
            facts = {"read": len(read.records), "damaged": read.damaged, "until": read.until}
            output.print_json({**asdict(merged.result), **facts, "gap_settled": merged.settles_gap})
            return
        _print_merge(merged)
        if was_held and not merged.settles_gap:
            output.print_line("The file ends before the backup was made, so it cannot settle the gap.")
        _print_send_hold(service)


@click.command("accept-gap")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def accept_gap(*, yes: bool) -> None:
    """Send again after a restore though no file of departures can say who left since the backup.

    Whoever left, complained or asked to be forgotten between the backup and the restore will be written to
    again. Do this only if no copy of the file of departures is left anywhere.
    """
    with opening.open_service() as service:
        with service.database.read() as session:
            held = send_hold.find_unsettled(session)
        if held is None:
            output.print_line("There is no gap to accept: nothing is held back.")
            return
        since, until = output.format_value(held.backup_at), output.format_value(held.restored_at)
        output.print_line(
            f"Who left, complained or asked to be forgotten between {since} and {until} is not known here,"
            " and will be written to again."
        )
        if not yes:
            click.confirm("Accept this gap?", abort=True, err=True)
        with service.database.write() as session:
            now = service.clock.now()
            restore_settlement.end_hold(
                session, service, how=send_hold.ACCEPTED, now=now, actor=opening.ACTOR
            )
    output.print_line("Mail leaves again.")


@click.command()
@output.json_option
def status(*, as_json: bool) -> None:
    """Say whether a restored backup holds the mail back, why, and what to do."""
    with opening.open_service() as service, service.database.read() as session:
        held = send_hold.find_unsettled(session)
        waiting = in_doubt.count_restored(session)
    told: dict[str, object] = {
        "held": held is not None,
        "backup_at": held.backup_at if held else None,
        "restored_at": held.restored_at if held else None,
        "may_have_left": waiting,
        "sentence": held.sentence if held else "Nothing holds the mail back.",
    }
    output.print_facts(told, labels=STATUS_LABELS, as_json=as_json)


def _print_restore(summary: RestoreSummary) -> None:
    of = output.format_value(summary.backup_at)
    if summary.resumed:
        output.print_line(f"Everything was back already, as it was at {of}; only the last step was missing.")
    else:
        output.print_line(
            f"{summary.rows:,} rows and {summary.files:,} files are back, as they were at {of}."
        )
    settled = summary.settlement
    if settled.settled_by_journals is not None:
        output.print_line(f"The journals settled {settled.settled_by_journals:,} messages.")
    if settled.in_doubt_count:
        output.print_line(
            f"{settled.in_doubt_count:,} messages may have left since, and wait for you:"
            " “mailer outbox unknown” shows them, “mailer outbox resolve --restored --sent” or “--resend”"
            " decides about all."
        )
    if settled.departures_merge is not None:
        _print_merge(settled.departures_merge)


def _print_merge(departures_merge: DeparturesMerge) -> None:
    read, done = departures_merge.file, departures_merge.result
    output.print_line(
        f"{len(read.records):,} departures were read, everything until {output.format_value(read.until)}."
    )
    output.print_line(
        f"Lists left: {done.left:,}. Addresses barred: {done.barred:,}. People erased: {done.erased:,}."
    )
    if read.damaged:
        output.print_line(f"Lines that were damaged, and passed over: {read.damaged:,}.")


def _print_send_hold(service: Service) -> None:
    with service.database.read() as session:
        held = send_hold.find_unsettled(session)
    output.print_line(SENDING_RESUMED if held is None else held.sentence)
