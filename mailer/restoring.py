"""Restoring: a sealed backup put back into an empty folder and an empty database, all or nothing."""

import json
import shutil
import tarfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Any

from sqlalchemy import LargeBinary, MetaData, Table, insert, inspect, text
from sqlalchemy.orm import Session

from lists import search
from lists.clock import Clock
from lists.db import Database
from lists.errors import BadInput, Conflict
from mailer import backups, journal, migrations, register, restores, settings, tryout

IDS_AHEAD = 1_000_000  # numbers given out after the backup stand in links, which must reach nobody else
IN_USE = ("mailer.db", "secrets/pepper", "secrets/links", register.FILE, journal.FOLDER)
PLACES = {backups.SETTINGS, backups.SECRETS, backups.RESOURCES, journal.FOLDER, register.FILE}

Part = tuple[PurePosixPath, IO[bytes]]


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was put back: from when, into which database, how many rows and files."""

    backup_at: datetime
    database_url: str
    rows: int
    files: int


def restore(
    source: Path,
    passphrase: bytes,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Callable[[int], None],
) -> Restored:
    """Put a backup back, and hold it: nothing is sent before its gap is settled.

    Files that the operator put into the new folder before (settings, secrets) stay. Raises Conflict for a
    folder or a database that is not empty, BadInput for a file that cannot be read or is not whole; then
    nothing was put back.
    """
    home = settings.load(environ).home
    _require_empty(home)
    try:
        file = source.open("rb")
    except OSError as trouble:
        raise BadInput(f"{source} cannot be read: {trouble.strerror}.") from trouble
    with file, _undone(home) as placed:
        try:
            with backups.reading(file, passphrase) as tar:
                return _put_back(_parts(tar), home, placed, environ=environ, clock=clock, progress=progress)
        except (tarfile.TarError, EOFError, ValueError, KeyError) as trouble:
            raise BadInput("The file is damaged or was cut short. Nothing was put back.") from trouble


def _put_back(
    parts: Iterator[Part],
    home: Path,
    placed: list[Path],
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Callable[[int], None],
) -> Restored:
    _, first = next(parts)
    manifest = json.load(first)
    if manifest["format"] != backups.FORMAT or manifest["revision"] > migrations.newest():
        raise Conflict("This backup was made by a newer version of the program. Update the program first.")
    rest: Iterator[Part] = parts
    for name, data in parts:
        if name.parts[0] != "files":
            rest = chain([(name, data)], parts)
            break
        _place(home, PurePosixPath(*name.parts[1:]), data, placed)
    database = Database(settings.load(environ).database_url)
    try:
        _require_no_tables(database)
        migrations.upgrade(database, to=manifest["revision"])
        backup_at = datetime.fromisoformat(manifest["made_at"])
        with database.write(long=True) as session:
            rows = _load(session, rest, manifest["columns"], progress)
            _move_ids_ahead(session, database.dialect, manifest["highest"])
            now = clock.real() + tryout.offset(session)
            restores.begin(session, backup_at=backup_at, now=now)
        migrations.upgrade(database)
        with database.write() as session:
            search.begin_anew(session)
    finally:
        database.dispose()
    return Restored(backup_at=backup_at, database_url=database.url, rows=rows, files=len(placed))


def _parts(tar: tarfile.TarFile) -> Iterator[Part]:
    for member in tar:
        data = tar.extractfile(member)
        if data is None:
            raise BadInput("The backup holds something that is not a file.")
        yield PurePosixPath(member.name), data


def _place(home: Path, place: PurePosixPath, data: IO[bytes], placed: list[Path]) -> None:
    """Write one file into its place in the data folder, unless the operator has put one there."""
    if place.is_absolute() or ".." in place.parts or place.parts[0] not in PLACES:
        raise BadInput("The backup holds a file that belongs nowhere here.")
    target = home / place
    if target.exists():
        return
    for folder in reversed(target.relative_to(home).parents):
        (home / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    target.touch(mode=0o600)
    placed.append(target)
    with target.open("wb") as file:
        shutil.copyfileobj(data, file)


def _load(
    session: Session,
    parts: Iterator[Part],
    columns: Mapping[str, Sequence[str]],
    progress: Callable[[int], None],
) -> int:
    """Insert every row into the tables as they were then; returns how many."""
    known = MetaData()
    known.reflect(session.connection())
    counted = dict.fromkeys(columns, 0)
    for name, data in parts:
        if name.parts[0] != "tables":
            if json.load(data) != counted:
                raise BadInput("The backup is not whole. Nothing was put back.")
            return sum(counted.values())
        table = known.tables[name.parts[1]]
        rows = _rows(table, columns[table.name], json.load(data))
        session.execute(insert(table), rows)
        counted[table.name] += len(rows)
        progress(sum(counted.values()))
    raise BadInput("The backup was cut short. Nothing was put back.")


def _rows(table: Table, columns: Sequence[str], read: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    octets = [name for name in columns if isinstance(table.c[name].type, LargeBinary)]
    rows = [dict(zip(columns, row, strict=True)) for row in read]
    for row in rows:
        for name in octets:
            if row[name] is not None:
                row[name] = b64decode(row[name])
    return rows


def _move_ids_ahead(session: Session, dialect: str, highest: Mapping[str, int]) -> None:
    """Let new rows begin far behind every number that the lost machine can have given out."""
    if dialect == "postgresql":
        ahead = text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :number)")
        for name, number in highest.items():
            session.execute(ahead, {"name": name, "number": number + IDS_AHEAD})
        return
    counting = set(session.scalars(text("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'")))
    for name in counting & set(highest):
        session.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
        row = {"name": name, "number": highest[name] + IDS_AHEAD}
        session.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)"), row)


def _require_empty(home: Path) -> None:
    found = [name for name in IN_USE if (home / name).exists()]
    if found:
        raise Conflict(
            f"{home} is not empty: {found[0]} is there. Put the backup into a new folder (MAILER_HOME)."
        )


def _require_no_tables(database: Database) -> None:
    with database.read() as session:
        if inspect(session.connection()).get_table_names():
            raise Conflict(
                "The database is not empty. Name a new one in MAILER_DATABASE_URL, or in the new folder's"
                " secrets/database_url."
            )


@contextmanager
def _undone(home: Path) -> Iterator[list[Path]]:
    """Give a list of the files that are put back; they are taken away again when the block fails."""
    placed: list[Path] = []
    try:
        yield placed
    except BaseException:
        for path in [*placed, *home.glob("mailer.db*")]:
            path.unlink(missing_ok=True)
        for folder in (home / journal.FOLDER, home / backups.RESOURCES):
            shutil.rmtree(folder, ignore_errors=True)
        raise
