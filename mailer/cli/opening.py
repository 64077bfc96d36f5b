"""What every command works on: the service, built from the settings, on a database that is up to date."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from mailer import logs, migrations, restores, settings, tryout
from mailer.service import Service, build

ACTOR = "command line"  # who did it, in the audit


@contextmanager
def service() -> Iterator[Service]:
    """Return the service for as long as the block lasts; one that was handed in with the context is used.

    Raises BadSettings, and Conflict for a database that is not up to date or lives in a try-out's time.
    """
    handed = click.get_current_context().find_object(Service)
    if handed is not None:
        yield handed
        return
    logs.configure()  # to the error output, so that what a script reads is the answer alone
    opened = build(settings.load(os.environ))
    try:
        migrations.require_newest(opened.database)
        opened.note_keys()
        if not opened.settings.tryout:
            with opened.database.read() as session:
                tryout.refuse_in_earnest(session)
        yield opened
    finally:
        opened.close()


@contextmanager
def sending() -> Iterator[Service]:
    """Return the service as `service` does, for a command that sends; raises Conflict while none may."""
    with service() as opened:
        with opened.database.read() as session:
            restores.refuse_while_held(session)
        yield opened
