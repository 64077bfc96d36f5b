"""Restoring: puts a backup into an empty folder and an empty database, all or nothing.

The backup is read to its end before anything is changed. Files are placed beside a marker that every other
command refuses (mailer/backup/restore_run.py). All rows, with the settlement of their gap, are one
transaction; an embedded database is written under a hidden name and then linked to its place. So whenever
this is killed, the same command again removes what was placed and starts over, or finds the run's name in a
database that is complete.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from lists.clock import Clock
from lists.db import Database
from lists.errors import BadInput, Conflict, StorageError
from mailer import migrations, service
from mailer.backup import backup, backup_contents, departures_file, restore_run
from mailer.backup.backup_contents import BackupContents, BackupPart
from mailer.backup.restore_run import SQLITE_SUFFIXES, RestoreRun
from mailer.coordination import send_hold
from mailer.coordination.send_hold import Restore
from mailer.delivery import journal
from mailer.delivery.journal import JournalContents
from mailer.processes import restore_settlement, restored_rows
from mailer.processes.restore_settlement import RestoreSettlement
from mailer.service import Service
from mailer.settings import key_check, keys, loading
from mailer.settings.keys import Keys
from mailer.settings.loading import Settings
from mailer.tryout import time_machine

ACTOR = "command line"  # the actor in the audit
INSTALLATION_PATHS = (
    *(f"mailer.db{end}" for end in SQLITE_SUFFIXES),
    *(f"{loading.SECRETS}/{name}" for name in keys.LOSS_SENTENCES),
    departures_file.FILE,
    journal.FOLDER,
)


@dataclass(frozen=True, kw_only=True)
class RestoreSummary:
    """What was restored: from when, into which database, how many rows and files, and what is in doubt.

    `resumed` says that an earlier run had restored everything.
    """

    backup_at: datetime
    database_url: str
    rows: int
    files: int
    settlement: RestoreSettlement
    resumed: bool = False


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """The parameters of a restore, with a backup that was read to its end."""

    home: Path
    file: BinaryIO
    passphrase: bytes
    contents: BackupContents
    environ: Mapping[str, str]
    clock: Clock
    progress: Callable[[int], None]
    departures: Path | None
    journals: Sequence[JournalContents] | None


def restore(
    source: Path,
    passphrase: bytes,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    progress: Callable[[int], None],
    departures: Path | None = None,
    journals: Path | None = None,
) -> RestoreSummary:
    """Restore a backup, and hold its mail until the gap is settled, by `departures` or later.

    Files that the operator put into the new folder before (settings, secrets) stay, and so does everything
    else in it. Raises Conflict for a folder or a database that is not empty, BadInput for a file that cannot
    be read or is incomplete, StorageError for a disk that is full; then nothing was restored.
    """
    home = loading.find_home(environ)
    journal_contents = None if journals is None else _read_journals(journals)
    with _open_file(source) as file:
        contents = backup_contents.check(file, passphrase, newest=migrations.newest_revision())
        file.seek(0)
        request = RestoreRequest(
            home=home, file=file, passphrase=passphrase, contents=contents, environ=environ, clock=clock,
            progress=progress, departures=departures, journals=journal_contents,
        )  # fmt: skip
        with restore_run.translate_errors(home), restore_run.lock_folder(home):
            run = restore_run.find_interrupted(home)
            if run is not None:
                restore_record = find_restore(run, environ)
                if restore_record is not None:
                    return _finish(request, run, restore_record)
                run.undo(_database_file(run.database))
            return _restore_all(request)


def find_restore(run: RestoreRun, environ: Mapping[str, str]) -> Restore | None:
    """Return the restore that this run committed to its database, None when it did not come so far.

    Raises Conflict when the settings name another database than the run used, StorageError when that does
    not answer.
    """
    if not run.database:
        return None
    settings = loading.load(environ)
    if _name_database(settings) != run.database:
        raise Conflict(
            f"The restore that was interrupted put its rows into {run.database}, and the settings name"
            f" {_name_database(settings)}. Give the same command again with the same settings."
        )
    database = Database(settings.database_url)
    try:
        if database.file is not None and not (run.whole or run.is_placed(database.file)):
            return None
        with database.write() as session:
            migrations.acquire_lock(
                session
            )  # a server may still be about to commit for a process that was killed
            return (
                send_hold.find_by_run(session, run.name) if migrations.session_has_tables(session) else None
            )
    finally:
        database.dispose()


def _restore_all(request: RestoreRequest) -> RestoreSummary:
    places = _plan_files(request.home, request.contents)
    run = restore_run.begin(request.home, [str(place) for place in places])
    try:
        with backup_contents.open_parts(request.file, request.passphrase) as parts:
            row_parts = place_files(run, parts, places)
            settings = loading.load(request.environ)
            _require_new_database(settings)
            run = run.note_database(_name_database(settings))
            summary = fill_database(request, run, settings, row_parts)
    except BaseException:
        if find_restore(run, request.environ) is None:  # else it is complete; the next restore finishes it
            run.undo(_database_file(run.database))
        raise
    run.finish(_database_file(run.database))
    return summary


def place_files(
    run: RestoreRun, parts: Iterator[BackupPart], places: Sequence[PurePosixPath]
) -> Iterator[BackupPart]:
    """Put every file of a backup into its place; returns the parts that follow."""
    missing = set(places)
    for name, data in parts:
        if name.parts[0] != "files":
            return chain([(name, data)], parts)
        place = PurePosixPath(*name.parts[1:])
        if place in missing:
            run.place(str(place), data)
    raise BadInput(backup_contents.DAMAGED_SENTENCE)


def fill_database(
    request: RestoreRequest, run: RestoreRun, settings: Settings, parts: Iterator[BackupPart]
) -> RestoreSummary:
    """Insert every row and settle the gap as far as possible; all of it becomes visible at once."""
    file, manifest = _database_file(run.database), request.contents.manifest
    database = Database(_create_hidden_database(run, file) if file else settings.database_url)
    try:
        with database.write(long=True) as session:
            rows = restored_rows.load(session, parts, manifest, progress=request.progress)
            now = restored_rows.begin_hold(session, manifest, run=run.name, clock=request.clock)
            keys_in_use = _load_keys(session, settings)
            restored_service = service.assemble(
                settings, database=database, keys=keys_in_use, clock=request.clock
            )
            settlement = _settle(request, session, restored_service, now=now)
        if file is not None and not database.truncate_wal():
            raise StorageError(f"{file} is read by another program. Nothing was put back; try again.")
    finally:
        database.dispose()
    if file is not None:
        run.link(file)
    return RestoreSummary(
        backup_at=manifest.made_at, database_url=settings.database_url, rows=rows, files=len(run.places),
        settlement=settlement,
    )  # fmt: skip


def _load_keys(session: Session, settings: Settings) -> Keys:
    """Return the restored keys; BadSettings when the rows were not written with them."""
    folder = loading.secret_folder(settings)
    keys_in_use = keys.load(folder, create=False)
    key_check.note(session, keys_in_use, folder)
    return keys_in_use


def _settle(
    request: RestoreRequest, session: Session, restored_service: Service, *, now: datetime
) -> RestoreSettlement:
    return restore_settlement.settle(
        session,
        restored_service,
        departures=request.departures,
        journals=request.journals,
        now=now,
        actor=ACTOR,
    )


def _finish(request: RestoreRequest, run: RestoreRun, restore_record: Restore) -> RestoreSummary:
    """Finish an earlier run that was killed after it had restored everything."""
    if restore_record.backup_at != request.contents.manifest.made_at:
        raise Conflict(
            f"The backup of {restore_record.backup_at:%Y-%m-%d %H:%M} UTC was put back into {request.home}"
            " and the end of that was interrupted. Give the same command again,"
            " or put another backup into a new folder."
        )
    settings = loading.load(request.environ)
    restored_service = service.build(settings, clock=request.clock)
    try:
        migrations.upgrade(restored_service.database)  # the program may have been updated meanwhile
        with restored_service.database.write() as session:
            now = request.clock.real() + time_machine.get_offset(session)
            settlement = _settle(request, session, restored_service, now=now)
    finally:
        restored_service.close()
    run.finish(_database_file(run.database))
    return RestoreSummary(
        backup_at=restore_record.backup_at, database_url=settings.database_url, rows=0, files=0,
        settlement=settlement, resumed=True,
    )  # fmt: skip


def _plan_files(home: Path, contents: BackupContents) -> list[PurePosixPath]:
    """Return the files to place: those that the operator did not put there before.

    Raises Conflict, before anything is changed, for a folder in use and for a file that stands in the way,
    StorageError for files that the disk has no space for.
    """
    existing = [name for name in INSTALLATION_PATHS if os.path.lexists(home / name)]
    if existing:
        raise Conflict(
            f"{home} is not empty: {existing[0]} is there. Put the backup into a new folder (MAILER_HOME)."
        )
    free_octets = shutil.disk_usage(home).free
    if sum(contents.files.values()) > free_octets:
        raise StorageError(f"The files of the backup need more room than the disk of {home} has.")
    return [place for place in contents.files if not _is_provided_by_operator(home, place)]


def _is_provided_by_operator(home: Path, place: PurePosixPath) -> bool:
    """Tell whether the operator put this file there; Conflict for any other file that stands in the way."""
    for folder in reversed(place.parents):
        path = home / folder
        if path != home and (path.is_symlink() or (path.exists() and not path.is_dir())):
            raise Conflict(f"{path} is in the way: the backup needs a folder there. Take it away first.")
    target = home / place
    if not os.path.lexists(target):
        return False
    is_same = place.parts[0] != backup.RESOURCES or _digest(target) == place.stem
    if not target.is_file() or not is_same:
        raise Conflict(f"{target} is in the way: it is not what the backup has there. Take it away first.")
    return True


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name_database(settings: Settings) -> str:
    """Return a stable name of the database: the file, or the server without a password."""
    url = make_url(settings.database_url)
    if url.drivername == "sqlite":
        return f"sqlite:///{Path(url.database or '').absolute()}"
    query = {key: value for key, value in url.query.items() if key in ("host", "port")}
    return url.set(password=None, query=query).render_as_string()


def _database_file(database: str) -> Path | None:
    """Return the file of an embedded database; None for a server's, and for none."""
    return Path(database.removeprefix("sqlite:///")) if database.startswith("sqlite:///") else None


def _require_new_database(settings: Settings) -> None:
    """Raise Conflict for a database that is not new, StorageError for one that does not answer."""
    file = _database_file(_name_database(settings))
    existing = [
        f"{file}{suffix}" for suffix in SQLITE_SUFFIXES if file and os.path.lexists(f"{file}{suffix}")
    ]
    if existing:
        raise Conflict(f"The database is not empty: {existing[0]} is there. Name a new one in the settings.")
    if file is None:
        database = Database(settings.database_url)
        try:
            with database.read() as session:
                restored_rows.require_empty(session)
        finally:
            database.dispose()


def _create_hidden_database(run: RestoreRun, place: Path) -> str:
    """Create the hidden file of an embedded database, for this account alone; returns its URL."""
    hidden = run.hidden_path(place)
    os.close(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    return URL.create("sqlite", database=str(hidden)).render_as_string()


def _read_journals(journals: Path) -> list[JournalContents]:
    try:
        return list(journal.read_all(journals))
    except OSError as trouble:
        raise BadInput(f"{journals} cannot be read: {trouble.strerror}.") from trouble


@contextmanager
def _open_file(source: Path) -> Iterator[BinaryIO]:
    try:
        file = source.open("rb")
    except OSError as trouble:
        raise BadInput(f"{source} cannot be read: {trouble.strerror}.") from trouble
    with file:
        if not file.seekable():
            raise BadInput(f"{source} is read twice, so it must be a file.")
        yield file
