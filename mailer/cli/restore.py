"""`mailer db restore`, and what settles its gap before anything is sent: departures merged, or accepted."""

import os
from dataclasses import asdict
from pathlib import Path

import click
from sqlalchemy.orm import Session

from lists import audit, forgetting
from lists.clock import Clock
from lists.forgetting import Reapplied
from mailer import gaps, journal, logs, register, restores, restoring, unknowns
from mailer.cli import opening, output, passphrases, progress
from mailer.forgetting import erase
from mailer.restores import Restore
from mailer.service import Service

FILE = click.Path(path_type=Path)
STATUS = {
    "held": "Is mail held back?",
    "backup_at": "Backup of",
    "restored_at": "Put back at",
    "may_have_left": "Messages that may have left",
    "sentence": "What to do",
}


@click.command()
@click.argument("file", type=FILE)
@click.option("--departures", type=FILE, help="Merge this file of departures, copied off the lost machine.")
@click.option("--journals", type=FILE, help="Ask the journals in this folder of the lost machine what left.")
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
    passphrase = passphrases.known(passphrase_file)
    with progress.bar("Putting back", total=0) as done:
        restored = restoring.restore(file, passphrase, environ=os.environ, clock=Clock(), progress=done)
    of = output.shown(restored.backup_at)
    output.say(f"{restored.rows:,} rows and {restored.files:,} files are back, as they were at {of}.")
    with opening.service() as service:
        may_have_left = _reckon(service, journals)
        if may_have_left:
            output.say(
                f"{may_have_left:,} messages may have left since, and wait for you: “mailer outbox unknown”"
                " shows them, “mailer outbox resolve --restored --sent” or “--resend” decides about all."
            )
        if departures is not None:
            _merge(service, departures)
        _say_held(service)


@click.command()
@click.argument("file", type=FILE)
@output.json_option
def merge(*, file: Path, as_json: bool) -> None:
    """Merge a file of departures, after an older database was restored: “mailer db merge departures”.

    Whoever left, complained or was forgotten, by that file, is so again; who is so already stays so, and who
    joined again later stays, too. The same file twice changes nothing. A file that reaches past the backup
    settles the gap of a restore.
    """
    with opening.service() as service:
        _merge(service, file, as_json=as_json)
        if not as_json:
            _say_held(service)


@click.command("accept-gap")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def accept_gap(*, yes: bool) -> None:
    """Send again after a restore though no file of departures can say who left since the backup.

    Whoever left, complained or asked to be forgotten between the backup and the restore will be written to
    again. Do this only if no copy of the file of departures is left anywhere.
    """
    with opening.service() as service:
        with service.database.read() as session:
            held = restores.held(session)
        if held is None:
            output.say("There is no gap to accept: nothing is held back.")
            return
        since, until = output.shown(held.backup_at), output.shown(held.restored_at)
        output.say(
            f"Who left, complained or asked to be forgotten between {since} and {until} is not known here,"
            " and will be written to again."
        )
        if not yes:
            click.confirm("Accept this gap?", abort=True, err=True)
        with service.database.write() as session:
            _end(session, service, how=restores.ACCEPTED)
    output.say("Mail leaves again.")


@click.command()
@output.json_option
def status(*, as_json: bool) -> None:
    """Say whether a restored backup holds the mail back, why, and what to do."""
    with opening.service() as service, service.database.read() as session:
        held = restores.held(session)
        waiting = unknowns.restored(session)
    told: dict[str, object] = {
        "held": held is not None,
        "backup_at": held.backup_at if held else None,
        "restored_at": held.restored_at if held else None,
        "may_have_left": waiting,
        "sentence": held.sentence if held else "Nothing holds the mail back.",
    }
    output.facts(told, labels=STATUS, as_json=as_json)


def _merge(service: Service, file: Path, *, as_json: bool = False) -> None:
    read = register.read(file, fingerprint=service.jobs.fingerprint)
    with service.database.write() as session:
        now = service.clock.now()
        done: Reapplied = forgetting.reapply(
            session, read.departed, erase=erase, now=now, actor=opening.ACTOR
        )
        held = restores.held(session)
        reaches = held is not None and read.until is not None and read.until >= held.backup_at
        if reaches:
            _end(session, service, how=restores.MERGED)
    service.database.empty_log()
    if as_json:
        facts = {"read": len(read.departed), "damaged": read.damaged, "until": read.until}
        output.print_json({**asdict(done), **facts, "gap_settled": reaches})
        return
    output.say(f"{len(read.departed):,} departures were read, everything until {output.shown(read.until)}.")
    output.say(
        f"Lists left: {done.left:,}. Addresses barred: {done.barred:,}. People erased: {done.erased:,}."
    )
    if read.damaged:
        output.say(f"Lines that were damaged, and passed over: {read.damaged:,}.")
    if held is not None and not reaches:
        output.say("The file ends before the backup was made, so it cannot settle the gap.")


def _reckon(service: Service, journals: Path | None) -> int:
    with service.database.write() as session:
        held = restores.held(session)
        assert held is not None
        _reckoned(session, service, held)
        if journals is not None:
            told = journal.read_all(journals)
            output.say(f"The journals settled {gaps.testify(session, told, restore=held):,} messages.")
        return unknowns.restored(session)


def _reckoned(session: Session, service: Service, held: Restore) -> None:
    """Mark what may have left, unless that was done: a restore may have ended just before it."""
    if held.reckoned_at is None:
        gaps.reckon(session, held, sources=service.sources, sequences=service.sequences)


def _end(session: Session, service: Service, *, how: str) -> None:
    held = restores.held(session)
    if held is not None:
        now = service.clock.now()
        _reckoned(session, service, held)
        restores.end(session, held, how=how, now=now)
        audit.note(session, actor=opening.ACTOR, action=f"gap {how}", subject=f"restore {held.id}", now=now)


def _say_held(service: Service) -> None:
    with service.database.read() as session:
        held = restores.held(session)
    output.say("Mail leaves again; start “mailer serve”." if held is None else held.sentence)
