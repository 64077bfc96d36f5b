"""Bootstrap: the first start creates data folder, database and keys; every later start compares them.

The database is created before the keys, and the keys before they are noted in it. So a first start that was
killed at any moment is continued by the next, and keys without a database mean that the database was lost.
"""

from lists.db import Database
from lists.errors import Conflict
from mailer import migrations
from mailer.settings import data_folder, key_check, keys, public_url
from mailer.settings.loading import Settings, secret_folder


def start(settings: Settings) -> None:
    """Create what is missing at the first start, upgrade the database, and note keys and public URL.

    Raises Conflict for a database that was lost or does not fit this version, for an unfinished restore, and
    for another public URL than the noted one; BadSettings for other keys than the noted ones.
    """
    if is_lost(settings):
        raise Conflict(lost_sentence(settings))
    create(settings)


def is_lost(settings: Settings) -> bool:
    """Tell whether the keys exist without their database; Conflict for an unfinished restore."""
    data_folder.refuse_unfinished(settings.home)
    if not data_folder.has_keys(settings.home):
        return False
    database = Database(settings.database_url)
    try:
        return not migrations.has_tables(database)
    finally:
        database.dispose()


def lost_sentence(settings: Settings) -> str:
    """Return the sentence that the database was lost, and what to do."""
    return (
        f"The keys of this service are in {settings.home}, but its database is empty or missing. Put a backup"
        " back into a new folder (“mailer db restore”), or the database where database_url says it is. If a"
        " new, empty database is meant, and everybody who left may be forgotten: “mailer db create”."
    )


def create(settings: Settings) -> bool:
    """Do what the first start does, also where the database was lost; tells whether anything was missing.

    Raises as `start` does, except for a lost database.
    """
    data_folder.refuse_unfinished(settings.home)
    folder = secret_folder(settings)
    database = Database(settings.database_url)
    try:
        is_new = not data_folder.has_keys(settings.home) or not migrations.has_tables(database)
        if migrations.has_tables(database):
            key_check.require(database, folder)  # before a second machine creates anything
        keys.make_folder(folder)  # an embedded database may be in the folder around it
        migrations.upgrade(database)
        migrations.require_match(database)
        loaded_keys = key_check.load_keys(database, folder, create=True)
        with database.write() as session:
            key_check.note(session, loaded_keys, folder)
            public_url.note(session, settings)
        return is_new
    finally:
        database.dispose()
