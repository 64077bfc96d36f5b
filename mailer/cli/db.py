"""`mailer db`: bring the database up to date, or check that it is."""

import os

import click

from lists.db import Database
from lists.errors import Conflict
from mailer import fingerprints, migrations, settings
from mailer.cli import output
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
