"""`mailer db`: upgrades the database, checks it, backs it up; mailer/cli/db/restore.py restores it."""

import os
from pathlib import Path

import click

from lists.errors import Conflict
from mailer import migrations
from mailer.backup import backup
from mailer.cli import context, output, progress
from mailer.cli.db import passphrases, restore, restore_gap
from mailer.cli.parameter_types import FILE_PATH
from mailer.processes import bootstrap
from mailer.settings import loading


@click.group()
def command() -> None:
    """Keep the database: make it, bring it up to date, back it up, put it back."""


for each in (restore.restore, restore_gap.merge, restore_gap.accept_gap, restore_gap.status):
    command.add_command(each)


@command.command()
@click.option("--yes", is_flag=True, help="Do not ask first.")
def create(*, yes: bool) -> None:
    """Make a new data folder with keys and an empty database, as the first “mailer serve” does.

    Where the keys are there and the database was lost, only this makes an empty one, after a question.
    """
    settings = loading.load(os.environ)
    if bootstrap.is_lost(settings) and not yes:
        output.print_line(bootstrap.lost_sentence(settings))
        click.confirm("Make an empty database?", abort=True, err=True)
    if bootstrap.create(settings):
        output.print_line(
            f"{settings.home} is made: keys, and an empty database. Keep its secrets in a backup."
        )
    else:
        output.print_line(f"{settings.home} holds a service already. Nothing was made.")


@command.command()
def upgrade() -> None:
    """Bring the database up to date; nothing happens when it already is.

    “mailer serve” does this by itself at each start.
    """
    with context.open_database() as (_, database, _):
        steps = migrations.upgrade(database)
    for step in steps:
        output.print_line(f"Done: {step}")
    output.print_line("The database is up to date.")


@command.command("backup")
@click.argument("file", type=FILE_PATH)
@passphrases.option
@output.json_option
def write_backup(*, file: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Write everything into one sealed file, while the service runs: “mailer db backup monday.backup”.

    In it are the database, the keys, the settings in files, the journals and the departures. Without the
    passphrase nobody can read it, you neither: keep it where the backup is not. Settings that the environment
    gives, and the address of a database server, are not in it.
    """
    with context.open_service() as service:
        passphrase = passphrases.ask_new(passphrase_file)
        with progress.show_bar("Backing up", total=backup.count_rows(service.database)) as report:
            summary = backup.make(
                file.absolute(),
                passphrase,
                database=service.database,
                home=service.settings.home,
                now=service.clock.now(),
                progress=report,
            )
    if as_json:
        output.print_json(summary)
    else:
        output.print_line(
            f"{file} holds {summary.rows:,} rows and {summary.files:,} files in {summary.octets:,} octets."
        )


@command.command()
def check() -> None:
    """Check that the database is at the newest step and holds exactly what the program expects."""
    with context.open_database() as (_, database, _):
        migrations.require_up_to_date(database)
        differences = migrations.list_differences(database)
    if differences:
        raise Conflict("The database differs from what the program expects:\n" + "\n".join(differences))
    output.print_line("The database is up to date and whole.")
