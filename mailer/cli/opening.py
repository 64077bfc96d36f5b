"""What every command works on: the service, built from the settings, on a database that is up to date."""

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

ACTOR = "command line"  # who did it, in the audit


def load_settings() -> Settings:
    """Read the settings of a data folder that holds a service.

    Raises BadSettings, and NotFound or Conflict for a folder that holds none or half a restore.
    """
    found = loading.load(os.environ)
    data_folder.require(found.home, os.environ)
    return found


@contextmanager
def open_database() -> Iterator[tuple[Settings, Database, Keys]]:
    """Return settings, database and keys, for a command that looks at the database itself.

    Raises as `load_settings` does, Conflict for a database without tables, and BadSettings for other keys
    than its.
    """
    found = load_settings()
    opened = Database(found.database_url)
    try:
        migrations.require_tables(opened)
        yield found, opened, key_check.load_keys(opened, loading.secret_folder(found))
    finally:
        opened.dispose()


@contextmanager
def open_checked_service() -> Iterator[Service]:
    """Return the service, over a database that is up to date and is used with these keys and this URL.

    Raises as `open_database` does, and Conflict for a database that is not up to date, says nothing of its
    keys, or is used with another public URL.
    """
    with open_database() as (found, opened, secret):
        migrations.require_up_to_date(opened)
        service = assemble(found, database=opened, keys=secret, clock=None)
        service.require_noted()
        yield service


@contextmanager
def open_service() -> Iterator[Service]:
    """Return the service for as long as the block lasts; one that was handed in with the context is used.

    Raises as `open_checked_service` does, and Conflict for a database that lives in a try-out's time.
    """
    handed = click.get_current_context().find_object(Service)
    if handed is not None:
        yield handed
        return
    logs.configure()  # to the error output, so that what a script reads is the answer alone
    with open_checked_service() as opened:
        if not opened.settings.tryout:
            with opened.database.read() as session:
                time_machine.refuse_real_mail(session)
        yield opened


@contextmanager
def open_sending_service() -> Iterator[Service]:
    """Return the service as `open_service` does, for a command that sends; raises Conflict while none may."""
    with open_service() as opened:
        with opened.database.read() as session:
            send_hold.refuse_while_held(session)
        yield opened
