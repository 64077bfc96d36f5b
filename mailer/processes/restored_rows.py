"""Restored rows: inserts the rows of a backup into an empty database, within one transaction."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import LargeBinary, MetaData, Table, insert, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from lists import search
from lists.clock import Clock
from lists.errors import BadInput, Conflict
from mailer import migrations
from mailer.backup.backup_contents import DAMAGED_SENTENCE, BackupPart, Manifest
from mailer.coordination import send_hold
from mailer.tryout import time_machine

IDS_AHEAD = 1_000_000  # ids assigned after the backup stand in links, which must not lead to other people


def load(
    session: Session, parts: Iterator[BackupPart], manifest: Manifest, *, progress: Callable[[int], None]
) -> int:
    """Create the tables of the backup's revision, insert every row, upgrade; returns how many rows.

    Raises Conflict for a database that is not empty, BadInput for rows that do not fit or are incomplete.
    """
    migrations.acquire_lock(session)
    require_empty(session)
    migrations.upgrade_within(session, to=manifest.revision)
    try:
        rows = _insert(session, parts, manifest.columns, progress)
    except (SQLAlchemyError, ValueError, TypeError, KeyError) as trouble:
        raise BadInput(DAMAGED_SENTENCE) from trouble
    migrations.upgrade_within(session)
    _move_ids_ahead(session, manifest.highest)
    return rows


def require_empty(session: Session) -> None:
    """Raise Conflict, with what to do, for a database that holds any table."""
    if inspect(session.connection()).get_table_names():
        raise Conflict(
            "The database is not empty. Name a new one in MAILER_DATABASE_URL, or in the new folder's"
            " secrets/database_url."
        )


def begin_hold(session: Session, manifest: Manifest, *, run: str, clock: Clock) -> datetime:
    """Note which run restored these rows, so that nothing is sent; returns the database's present time."""
    now = clock.real() + time_machine.get_offset(session)
    send_hold.begin(session, backup_at=manifest.made_at, run=run, now=now)
    search.reset_index(session)
    return now


def _insert(
    session: Session,
    parts: Iterator[BackupPart],
    columns: Mapping[str, Sequence[str]],
    progress: Callable[[int], None],
) -> int:
    metadata = MetaData()
    metadata.reflect(session.connection())
    counts = dict.fromkeys(columns, 0)
    for name, data in parts:
        if name.parts[0] != "tables":
            if json.load(data) != counts:
                raise BadInput("The backup is not whole. Nothing was put back.")
            return sum(counts.values())
        table = metadata.tables[name.parts[1]]
        rows = _decode_rows(table, columns[table.name], json.load(data))
        session.execute(insert(table), rows)
        counts[table.name] += len(rows)
        progress(sum(counts.values()))
    raise BadInput("The backup was cut short. Nothing was put back.")


def _decode_rows(
    table: Table, columns: Sequence[str], values: Sequence[Sequence[Any]]
) -> list[dict[str, Any]]:
    octets = [name for name in columns if isinstance(table.c[name].type, LargeBinary)]
    rows = [dict(zip(columns, row, strict=True)) for row in values]
    for row in rows:
        for name in octets:
            if row[name] is not None:
                row[name] = b64decode(row[name])
    return rows


def _move_ids_ahead(session: Session, highest: Mapping[str, int]) -> None:
    """Let the ids of new rows begin far after every number that the lost machine can have assigned."""
    connection = session.connection()
    names = highest.keys() & set(inspect(connection).get_table_names())
    if connection.dialect.name == "postgresql":
        statement = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :number)")
        for name in names:
            session.execute(statement, {"name": name, "number": highest[name] + IDS_AHEAD})
        return
    with_sequence = set(
        session.scalars(text("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'"))
    )
    for name in with_sequence & names:
        session.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
        row = {"name": name, "number": highest[name] + IDS_AHEAD}
        session.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)"), row)
