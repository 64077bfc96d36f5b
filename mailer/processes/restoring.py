"""Restoring: a sealed backup put back into an empty folder and an empty database, all or nothing.

The backup is read to its end before anything is touched. Files are placed beside a marker that every other
command refuses (mailer/backup/placements.py). All rows, with what settles their gap, are one transaction; an
embedded database is made aside and then linked to its place. So whenever this is killed, the same command
again takes away what was placed and begins anew, or finds the run's name in a database that is whole.
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
from mailer.backup import backup, backup_contents, departures_file, placements
from mailer.backup.backup_contents import Contents, Part
from mailer.backup.placements import BESIDE_SQLITE, Run
from mailer.coordination import send_hold
from mailer.coordination.send_hold import Restore
from mailer.delivery import journal
from mailer.delivery.journal import JournalContents
from mailer.processes import restore_settlement, restored_rows
from mailer.processes.restore_settlement import Settled
from mailer.service import Service
from mailer.settings import key_check, keys, loading
from mailer.settings.keys import Keys
from mailer.settings.loading import Settings
from mailer.tryout import time_machine

ACTOR = "command line"  # who did it, in the audit
IN_USE = (
    *(f"mailer.db{end}" for end in BESIDE_SQLITE),
    *(f"{loading.SECRETS}/{name}" for name in keys.WITHOUT),
    departures_file.FILE,
    journal.FOLDER,
)


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was put back: from when, into which database, how many rows and files, and what is in doubt.

    `resumed` says that an earlier run had put back everything.
    """

    backup_at: datetime
    database_url: str
    rows: int
    files: int
    settled: Settled
    resumed: bool = False


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a restore is asked to do, with a backup that was read to its end."""

    home: Path
    file: BinaryIO
    passphrase: bytes
    contents: Contents
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
) -> Restored:
    """Put a backup back, and hold it: nothing is sent before its gap is settled, by `departures` or later.

    Files that the operator put into the new folder before (settings, secrets) stay, and whatever else lies in
    it. Raises Conflict for a folder or a database that is not empty, BadInput for a file that cannot be read
    or is not whole, StorageError for a disk that is full; then nothing was put back.
    """
    home = loading.home_of(environ)
    testimony = None if journals is None else _testimony(journals)
    with _opened(source) as file:
        contents = backup_contents.check(file, passphrase, newest=migrations.newest())
        file.seek(0)
        order = Order(
            home=home, file=file, passphrase=passphrase, contents=contents, environ=environ, clock=clock,
            progress=progress, departures=departures, journals=testimony,
        )  # fmt: skip
        with placements.told(home), placements.alone(home):
            run = placements.interrupted(home)
            if run is not None:
                made = made_by(run, environ)
                if made is not None:
                    return _finish(order, run, made)
                run.undo(_file(run.database))
            return _put_back(order)


def made_by(run: Run, environ: Mapping[str, str]) -> Restore | None:
    """Return the restore that this run brought into its database, None when it did not come so far.

    Raises Conflict when the settings name another database than it had, StorageError when that does not
    answer.
    """
    if not run.database:
        return None
    found = loading.load(environ)
    if _named(found) != run.database:
        raise Conflict(
            f"The restore that was interrupted put its rows into {run.database}, and the settings name"
            f" {_named(found)}. Give the same command again with the same settings."
        )
    database = Database(found.database_url)
    try:
        if database.file is not None and not (run.whole or run.is_placed(database.file)):
            return None
        with database.write() as session:
            migrations.wait_turn(
                session
            )  # a server may still be about to commit for a process that was killed
            return send_hold.find_by_run(session, run.name) if migrations.are_there(session) else None
    finally:
        database.dispose()


def _put_back(order: Order) -> Restored:
    places = _plan(order.home, order.contents)
    run = placements.begin(order.home, [str(place) for place in places])
    try:
        with backup_contents.parts(order.file, order.passphrase) as parts:
            rest = place_files(run, parts, places)
            found = loading.load(order.environ)
            _require_new(found)
            run = run.note_database(_named(found))
            restored = fill_database(order, run, found, rest)
    except BaseException:
        if made_by(run, order.environ) is None:  # else it is whole, and the next restore says so
            run.undo(_file(run.database))
        raise
    run.finish(_file(run.database))
    return restored


def place_files(run: Run, parts: Iterator[Part], places: Sequence[PurePosixPath]) -> Iterator[Part]:
    """Put every file of a backup into its place; returns the parts that follow."""
    wanted = set(places)
    for name, data in parts:
        if name.parts[0] != "files":
            return chain([(name, data)], parts)
        place = PurePosixPath(*name.parts[1:])
        if place in wanted:
            run.place(str(place), data)
    raise BadInput(backup_contents.DAMAGED)


def fill_database(order: Order, run: Run, found: Settings, parts: Iterator[Part]) -> Restored:
    """Bring every row into the database and settle their gap as far as can be; all of it is seen at once."""
    place, manifest = _file(run.database), order.contents.manifest
    database = Database(_url_aside(run, place) if place else found.database_url)
    try:
        with database.write(long=True) as session:
            rows = restored_rows.load(session, parts, manifest, progress=order.progress)
            now = restored_rows.begin(session, manifest, run=run.name, clock=order.clock)
            secret = _keys(session, found)
            built = service.assemble(found, database=database, keys=secret, clock=order.clock)
            settled = _settle(order, session, built, now=now)
        if place is not None and not database.truncate_wal():
            raise StorageError(f"{place} is read by another program. Nothing was put back; try again.")
    finally:
        database.dispose()
    if place is not None:
        run.link(place)
    return Restored(
        backup_at=manifest.made_at, database_url=found.database_url, rows=rows, files=len(run.places),
        settled=settled,
    )  # fmt: skip


def _keys(session: Session, found: Settings) -> Keys:
    """Return the keys that were put back; BadSettings when the rows were not written with them."""
    folder = loading.secret_folder(found)
    secret = keys.kept_in(folder, making=False)
    key_check.note(session, secret, folder)
    return secret


def _settle(order: Order, session: Session, built: Service, *, now: datetime) -> Settled:
    return restore_settlement.settle(
        session, built, departures=order.departures, journals=order.journals, now=now, actor=ACTOR
    )


def _finish(order: Order, run: Run, made: Restore) -> Restored:
    """Go on where an earlier run was killed that had put back everything."""
    if made.backup_at != order.contents.manifest.made_at:
        raise Conflict(
            f"The backup of {made.backup_at:%Y-%m-%d %H:%M} UTC was put back into {order.home} and the end of"
            " that was interrupted. Give the same command again, or put another backup into a new folder."
        )
    found = loading.load(order.environ)
    built = service.build(found, clock=order.clock)
    try:
        migrations.upgrade(built.database)  # the program may have been updated meanwhile
        with built.database.write() as session:
            now = order.clock.real() + time_machine.get_offset(session)
            settled = _settle(order, session, built, now=now)
    finally:
        built.close()
    run.finish(_file(run.database))
    return Restored(
        backup_at=made.backup_at, database_url=found.database_url, rows=0, files=0, settled=settled,
        resumed=True,
    )  # fmt: skip


def _plan(home: Path, contents: Contents) -> list[PurePosixPath]:
    """Return the files to place: those that the operator did not put there before.

    Raises Conflict, before anything is touched, for a folder in use and for what stands in the way,
    StorageError for files that the disk has no room for.
    """
    found = [name for name in IN_USE if os.path.lexists(home / name)]
    if found:
        raise Conflict(
            f"{home} is not empty: {found[0]} is there. Put the backup into a new folder (MAILER_HOME)."
        )
    room = shutil.disk_usage(home).free
    if sum(contents.files.values()) > room:
        raise StorageError(f"The files of the backup need more room than the disk of {home} has.")
    return [place for place in contents.files if not _is_there(home, place)]


def _is_there(home: Path, place: PurePosixPath) -> bool:
    """Tell whether the operator put this file there; Conflict for anything else that stands in the way."""
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


def _named(found: Settings) -> str:
    """Return where the rows go, the same each time: the file, or the server without a password."""
    url = make_url(found.database_url)
    if url.drivername == "sqlite":
        return f"sqlite:///{Path(url.database or '').absolute()}"
    where = {key: value for key, value in url.query.items() if key in ("host", "port")}
    return url.set(password=None, query=where).render_as_string()


def _file(database: str) -> Path | None:
    """Return the file of an embedded database; None for a server's, and for none."""
    return Path(database.removeprefix("sqlite:///")) if database.startswith("sqlite:///") else None


def _require_new(found: Settings) -> None:
    """Raise Conflict for a database that is not new, StorageError for one that does not answer."""
    place = _file(_named(found))
    there = [f"{place}{end}" for end in BESIDE_SQLITE if place and os.path.lexists(f"{place}{end}")]
    if there:
        raise Conflict(f"The database is not empty: {there[0]} is there. Name a new one in the settings.")
    if place is None:
        database = Database(found.database_url)
        try:
            with database.read() as session:
                restored_rows.require_empty(session)
        finally:
            database.dispose()


def _url_aside(run: Run, place: Path) -> str:
    """Make the file aside that an embedded database grows in, for this account alone; returns its URL."""
    aside = run.aside(place)
    os.close(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    return URL.create("sqlite", database=str(aside)).render_as_string()


def _testimony(journals: Path) -> list[JournalContents]:
    try:
        return list(journal.read_all(journals))
    except OSError as trouble:
        raise BadInput(f"{journals} cannot be read: {trouble.strerror}.") from trouble


@contextmanager
def _opened(source: Path) -> Iterator[BinaryIO]:
    try:
        file = source.open("rb")
    except OSError as trouble:
        raise BadInput(f"{source} cannot be read: {trouble.strerror}.") from trouble
    with file:
        if not file.seekable():
            raise BadInput(f"{source} is read twice, so it must be a file.")
        yield file
