"""Context: builds the service of a command from the settings, on a database that is up to date."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from lists.db import Database
from mailer import migrations
from mailer.coordination import send_hold
from mailer.monitoring import logs
from mailer.service import Service, assemble
from mailer.settings import data_folder, key_check, loading
from mailer.settings.keys import Keys
from mailer.settings.loading import Settings
from mailer.tryout import time_machine

ACTOR = "command line"  # the actor in the audit


def load_settings() -> Settings:
    """Read the settings of a data folder that holds a service.

    Raises BadSettings, and NotFound or Conflict for a folder that holds none or half a restore.
    """
    settings = loading.load(os.environ)
    data_folder.require(settings.home, os.environ)
    return settings


@contextmanager
def open_database() -> Iterator[tuple[Settings, Database, Keys]]:
    """Return settings, database and keys, for a command that uses the database itself.

    Raises as `load_settings` does, Conflict for a database without tables, and BadSettings for other keys
    than the database's.
    """
    settings = load_settings()
    database = Database(settings.database_url)
    try:
        migrations.require_tables(database)
        yield settings, database, key_check.load_keys(database, loading.secret_folder(settings))
    finally:
        database.dispose()


@contextmanager
def open_checked_service() -> Iterator[Service]:
    """Return the service, on a database that is up to date and is used with these keys and this URL.

    Raises as `open_database` does, and Conflict for a database that is not up to date, notes no keys, or is
    used with another public URL.
    """
    with open_database() as (settings, database, keys):
        migrations.require_up_to_date(database)
        service = assemble(settings, database=database, keys=keys, clock=None)
        service.require_noted()
        yield service


@contextmanager
def open_service() -> Iterator[Service]:
    """Return the service for the block; a service in the click context is used if there is one.

    Raises as `open_checked_service` does, and Conflict for a database with the clock of a try-out.
    """
    context_service = click.get_current_context().find_object(Service)
    if context_service is not None:
        yield context_service
        return
    logs.configure()  # to the error output, so that scripts read only the result
    with open_checked_service() as service:
        if not service.settings.tryout:
            with service.database.read() as session:
                time_machine.refuse_real_mail(session)
        yield service


@contextmanager
def open_sending_service() -> Iterator[Service]:
    """Return the service as `open_service` does, for a command that sends; raises Conflict during a hold."""
    with open_service() as service:
        with service.database.read() as session:
            send_hold.refuse_while_active(session)
        yield service
