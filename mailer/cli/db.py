"""`mailer db`: bring the database up to date, or check that it is."""

import os

import click

from lists.db import Database
from lists.errors import Conflict
from mailer import migrations, settings
from mailer.cli import output


@click.group()
def command() -> None:
    """Bring the database up to date, or check that it is."""


@command.command()
def upgrade() -> None:
    """Bring the database up to date; nothing happens when it already is.

    “mailer serve” does this by itself at each start.
    """
    steps = migrations.upgrade(_database())
    for step in steps:
        output.say(f"Done: {step}")
    output.say("The database is up to date.")


@command.command()
def check() -> None:
    """Check that the database is at the newest step and holds exactly what the program expects."""
    database = _database()
    migrations.require_newest(database)
    found = migrations.differences(database)
    if found:
        raise Conflict("The database differs from what the program expects:\n" + "\n".join(found))
    output.say("The database is up to date and whole.")


def _database() -> Database:
    found = settings.load(os.environ)
    settings.keys(found)  # makes the data folder, private to this account, when it is not there yet
    return Database(found.database_url)
