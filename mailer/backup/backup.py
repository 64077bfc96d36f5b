"""Backup: writes all data of an installation into one encrypted file while the service runs.

A backup is a tar of named parts, compressed and encrypted (mailer/backup/encryption.py), in this order:

    manifest.json               when it was written, of which revision, which columns each table has
    files/<path>                secrets, settings, journals, departures, resources of the data folder
    tables/<name>/<number>      rows, as JSON lists, a thousand in each part
    end.json                    the number of rows of each table

The rows come from one moment of the database, read as any page reads it: no other process waits for it, and
it is the same on SQLite and PostgreSQL, whatever programs are installed. Plain text is never written to disk.
"""

import gzip
import io
import json
import os
import secrets
import tarfile
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from sqlalchemy import BigInteger, LargeBinary, Table, func, inspect, select, text, type_coerce
from sqlalchemy.orm import Session

from lists.db import Database, UtcDateTime
from lists.errors import BadInput, Conflict, NotFound, StorageError
from lists.search import SearchWord
from mailer.backup import departures_file
from mailer.backup.encryption import Decryptor, Encryptor
from mailer.coordination.heartbeat import Heartbeat
from mailer.coordination.job_runs import JobRun
from mailer.coordination.leases import Lease
from mailer.delivery import journal
from mailer.library import file_store
from mailer.settings import loading
from mailer.smtp.capabilities import RelayCapabilities
from mailer.tables import TABLES

FORMAT = 1
ROWS_PER_PART = 1_000
MIN_PASSPHRASE = 12  # characters
CHUNK_OCTETS = 1 << 20  # octets
COMPRESSION_LEVEL = 1  # the fastest: rows of one table are so alike that more gains little
EXCLUDED_TABLES = {table.__tablename__ for table in (Lease, Heartbeat, JobRun)}  # processes are not restored
EXCLUDED_TABLES |= {SearchWord.__tablename__}  # built again from the restored rows
EXCLUDED_TABLES |= {RelayCapabilities.__tablename__}  # learned again from the relays
SECRETS, RESOURCES, SETTINGS = loading.SECRETS, file_store.FOLDER, loading.SETTINGS
EXCLUDED_FILES = {f"{SECRETS}/database_url"}  # a restored installation has a database of its own
UNFINISHED = file_store.UNFINISHED

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class BackupSummary:
    """The size of a backup: rows of all tables, files, and octets of the encrypted file."""

    rows: int
    files: int
    octets: int


def list_tables() -> Sequence[Table]:
    """Return the tables of a backup, each after those that it references."""
    return [table for table in TABLES if table.name not in EXCLUDED_TABLES]


def count_rows(database: Database) -> int:
    """Count the rows to back up, for the display of progress."""
    with database.read() as session:
        return sum(session.scalar(select(func.count()).select_from(table)) or 0 for table in list_tables())


def check_passphrase(passphrase: str) -> bytes:
    """Return the passphrase as octets; raises BadInput for one that is too short to protect the backup."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise BadInput(
            f"The passphrase is too short. Use {MIN_PASSPHRASE} characters or more, better five words."
        )
    return passphrase.encode()


def make(
    target: Path, passphrase: bytes, *, database: Database, home: Path, now: datetime, progress: Progress
) -> BackupSummary:
    """Write a backup into a new file that is complete or does not exist; no other process waits meanwhile.

    Raises Conflict when `target` exists already, NotFound when its folder does not, StorageError when it
    cannot be written.
    """
    if target.exists():
        raise Conflict(f"{target} is there already; a backup never overwrites anything. Choose another name.")
    try:
        if not target.parent.is_dir():
            raise NotFound(f"There is no folder {target.parent}. Make it first: mkdir -p {target.parent}")
        with _create_file(target) as file:
            encryptor = Encryptor(file, passphrase)
            with (
                gzip.GzipFile(
                    mode="wb", fileobj=cast(BinaryIO, encryptor), compresslevel=COMPRESSION_LEVEL, mtime=0
                ) as gzip_file,
                tarfile.open(mode="w|", fileobj=gzip_file) as tar,
            ):
                counts = _write_parts(tar, database=database, home=home, now=now, progress=progress)
            encryptor.close()
        return BackupSummary(**counts, octets=target.stat().st_size)
    except OSError as trouble:
        raise StorageError(f"{target} cannot be written: {trouble.strerror}.") from trouble


@contextmanager
def open_archive(file: BinaryIO, passphrase: bytes) -> Iterator[tarfile.TarFile]:
    """Open a backup to read, and check its end when the block ends; raises BadInput as `Decryptor` does."""
    decryptor = Decryptor(file, passphrase)
    with gzip.GzipFile(mode="rb", fileobj=cast(BinaryIO, decryptor)) as gzip_file:
        with tarfile.open(mode="r|", fileobj=gzip_file) as tar:
            yield tar
        while gzip_file.read(CHUNK_OCTETS):
            pass


def _write_parts(
    tar: tarfile.TarFile, *, database: Database, home: Path, now: datetime, progress: Progress
) -> dict[str, int]:
    with database.read(long=True) as session:
        _add_member(tar, "manifest.json", _encode_json(_build_manifest(session, now)))
        files = sum(_add_file(tar, home, path) for path in _list_files(home))
        counts: dict[str, int] = {}
        for table in list_tables():
            counts[table.name] = 0
            for number, part in enumerate(_read_table(session, table)):
                _add_member(tar, f"tables/{table.name}/{number:06}", _encode_json(part))
                counts[table.name] += len(part)
                progress(sum(counts.values()))
    _add_member(tar, "end.json", _encode_json(counts))
    return {"rows": sum(counts.values()), "files": files}


def _build_manifest(session: Session, now: datetime) -> Mapping[str, object]:
    names = set(inspect(session.connection()).get_table_names()) - EXCLUDED_TABLES - {"alembic_version"}
    assert names == {table.name for table in list_tables()}, (
        "every table is backed up, or named as one that is not"
    )
    return {
        "format": FORMAT,
        "made_at": now.isoformat(),
        "revision": session.scalar(text("SELECT version_num FROM alembic_version")),
        "columns": {table.name: [column.name for column in table.columns] for table in list_tables()},
        "highest": {
            table.name: session.scalar(select(func.max(table.c.id))) or 0
            for table in list_tables()
            if "id" in table.c
        },
    }


def _read_table(session: Session, table: Table) -> Iterator[list[list[Any]]]:
    """Read a table, with stored times as integers, a thousand rows at a time."""
    columns = [
        type_coerce(column, BigInteger) if isinstance(column.type, UtcDateTime) else column
        for column in table.columns
    ]
    octets = [index for index, column in enumerate(table.columns) if isinstance(column.type, LargeBinary)]
    result = session.execute(select(*columns), execution_options={"yield_per": ROWS_PER_PART})
    for part in result.partitions(ROWS_PER_PART):
        values = [list(row) for row in part]
        for row in values:
            for index in octets:
                if row[index] is not None:
                    row[index] = b64encode(row[index]).decode("ascii")
        yield values


def _list_files(home: Path) -> Iterator[Path]:
    """List the files to back up, each by its path in the data folder."""
    for name in (SETTINGS, departures_file.FILE):
        if (home / name).is_file():
            yield Path(name)
    for folder in (SECRETS, journal.FOLDER, RESOURCES):
        for path in sorted((home / folder).rglob("*")):
            place = path.relative_to(home)
            if path.is_symlink() or path.suffix == UNFINISHED or place.as_posix() in EXCLUDED_FILES:
                continue
            if path.is_file():
                yield place


def _add_file(tar: tarfile.TarFile, home: Path, place: Path) -> int:
    """Add a file as it is now: growth is cut off, a shorter file is padded, a deleted one is left out."""
    try:
        file = (home / place).open("rb")
    except FileNotFoundError:
        return 0
    with file:
        size = os.fstat(file.fileno()).st_size
        head = tarfile.TarInfo(f"files/{place.as_posix()}")
        head.size = size
        tar.addfile(head, cast(Any, _FixedSizeReader(file, size)))
    return 1


class _FixedSizeReader:
    """Reads a file as if it had the announced length: a journal may be truncated while it is read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._remaining = file, size

    def read(self, size: int) -> bytes:
        length = min(size, self._remaining)
        data = self._file.read(length).ljust(length, b"\0")
        self._remaining -= length
        return data


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    head = tarfile.TarInfo(name)
    head.size = len(data)
    tar.addfile(head, io.BytesIO(data))


def _encode_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@contextmanager
def _create_file(target: Path) -> Iterator[BinaryIO]:
    """Open a private file that gets its name when the block succeeds, and is then on the disk."""
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}{UNFINISHED}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            raise Conflict(f"{target} is there by now; a backup never overwrites anything.")
        draft.rename(target)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
