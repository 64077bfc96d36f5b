"""`mailer db`: bring the database up to date, or check that it is."""

import os
from dataclasses import asdict
from pathlib import Path

import click

from lists import forgetting
from lists.db import Database
from lists.errors import Conflict
from mailer import backups, fingerprints, migrations, register, settings
from mailer.cli import opening, output, passphrases, progress
from mailer.keys import Keys


@click.group()
def command() -> None:
    """Bring the database up to date, or check that it is."""


@command.command()
def upgrade() -> None:
    """Bring the database up to date; nothing happens when it already is.

    “mailer serve” does this by itself at each start.
    """
    database, keys = _opened()
    steps = migrations.upgrade(database)
    with database.write() as session:
        fingerprints.note(session, keys)
    for step in steps:
        output.say(f"Done: {step}")
    output.say("The database is up to date.")


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@passphrases.option
@output.json_option
def backup(*, file: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Write everything into one sealed file, while the service runs: “mailer db backup monday.backup”.

    In it are the database, the keys, the settings in files, the journals and the departures. Without the
    passphrase nobody can read it, you neither: keep it where the backup is not. Settings that the environment
    gives, and the address of a database server, are not in it.
    """
    passphrase = passphrases.new(passphrase_file)
    with (
        opening.service() as service,
        progress.bar("Backing up", total=backups.rows(service.database)) as done,
    ):
        made = backups.make(
            file.absolute(),
            passphrase,
            database=service.database,
            home=service.settings.home,
            now=service.clock.now(),
            progress=done,
        )
    if as_json:
        output.print_json(made)
    else:
        output.say(f"{file} holds {made.rows:,} rows and {made.files:,} files in {made.octets:,} octets.")


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@output.json_option
def merge(*, file: Path, as_json: bool) -> None:
    """Merge a file of departures, after an older database was restored: “mailer db merge departures”.

    Whoever left, complained or was forgotten, by that file, is so again; who is so already stays so, and who
    joined again later stays, too. The same file twice changes nothing.
    """
    with opening.service() as service:
        read = register.read(file, fingerprint=service.jobs.fingerprint)
        with service.database.write() as session:
            done = forgetting.reapply(session, read.departed, now=service.clock.now(), actor=opening.ACTOR)
    if as_json:
        output.print_json(
            {**asdict(done), "read": len(read.departed), "damaged": read.damaged, "until": read.until}
        )
        return
    output.say(f"{len(read.departed):,} departures were read, everything until {output.shown(read.until)}.")
    output.say(
        f"Lists left: {done.left:,}. Addresses barred: {done.barred:,}. People erased: {done.erased:,}."
    )
    if read.damaged:
        output.say(f"Lines that were damaged, and passed over: {read.damaged:,}.")


@command.command()
def check() -> None:
    """Check that the database is at the newest step and holds exactly what the program expects."""
    database, _ = _opened()
    migrations.require_newest(database)
    found = migrations.differences(database)
    if found:
        raise Conflict("The database differs from what the program expects:\n" + "\n".join(found))
    output.say("The database is up to date and whole.")


def _opened() -> tuple[Database, Keys]:
    """Return the database and its keys; refuses other keys, and makes those of a new database."""
    found = settings.load(os.environ)
    database = Database(found.database_url)
    return database, fingerprints.keys_of(database, settings.secret_folder(found))
