"""Placed files: those that a restore puts into a data folder, and how they are removed again.

```
(nothing) ─marker written→ under way ─all in place, hidden names and marker removed→ (whole)
                               └─ failed, or killed and restored again: undone → (nothing)
```
Each file is first written under a hidden name beside its place, and then linked to its place: a link never
replaces anything. While both names are one file, the file in place is this run's, and nothing else is ever
removed. The marker, which every other command refuses, names the run and its places before the first file is
written. It has one JSON object a line: the run, then where its rows go, then that all is in place.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from lists.errors import Conflict, StorageError
from mailer import file_lock
from mailer.directory_sync import sync_directory
from mailer.settings.data_folder import RESTORE_MARKER

UNFINISHED = ".unfinished"  # backups leave such files out
SQLITE_SUFFIXES = ("", "-wal", "-shm", "-journal")
MAX_MARKER_OCTETS = 1 << 28  # octets


@dataclass(frozen=True, kw_only=True)
class RestoreRun:
    """One run of a restore: its name, the places of its files and the folders it makes, below `home`.

    `database` is where its rows go, "" before that is decided; `whole` says that all is in place.
    """

    home: Path
    name: str
    places: Sequence[str]
    folders: Sequence[str]
    database: str = ""
    whole: bool = False

    def hidden_path(self, target: Path) -> Path:
        """Return the hidden name beside a place; a long name is shortened."""
        return target.with_name(f".{target.name[:150]}.{self.name}{UNFINISHED}")

    def place(self, place: str, data: IO[bytes]) -> None:
        """Write one file, for this account alone, and link it to its place; Conflict when that exists."""
        target = self.home / place
        hidden = self.hidden_path(target)
        handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(data, file)
            file.flush()
            os.fsync(file.fileno())
        self.link(target)

    def link(self, target: Path) -> None:
        """Link a hidden file to its place; raises Conflict when that exists."""
        try:
            target.hardlink_to(self.hidden_path(target))
        except FileExistsError:
            raise Conflict(f"{target} has come to be meanwhile. Take it away and try again.") from None
        sync_directory(target.parent)

    def is_placed(self, target: Path) -> bool:
        """Tell whether the file in this place was put there by this run."""
        try:
            return os.path.samestat(self.hidden_path(target).lstat(), target.lstat())
        except (FileNotFoundError, NotADirectoryError):
            return False

    def note_database(self, database: str) -> "RestoreRun":
        """Write down where the rows go, before any row is written there."""
        _append(self.home / RESTORE_MARKER, {"database": database})
        return replace(self, database=database)

    def undo(self, database: Path | None) -> None:
        """Remove what this run placed, with `database`, and the marker; may be killed and repeated."""
        if database is not None:
            self._remove(database)
            for suffix in SQLITE_SUFFIXES[1:]:
                _unlink(Path(f"{self.hidden_path(database)}{suffix}"))
        for place in self.places:
            self._remove(self.home / place)
        for folder in reversed(self.folders):
            with suppress(OSError):  # not empty: another program put something there
                (self.home / folder).rmdir()
        self._remove_marker()

    def finish(self, database: Path | None) -> None:
        """Keep everything in its place: remove the hidden names, then the marker."""
        _append(self.home / RESTORE_MARKER, {"whole": True})
        for target in [*(self.home / place for place in self.places), *([database] if database else [])]:
            _unlink(self.hidden_path(target))
        self._remove_marker()

    def _remove(self, target: Path) -> None:
        if self.is_placed(target):
            target.unlink()
        _unlink(self.hidden_path(target))

    def _remove_marker(self) -> None:
        _unlink(self.home / RESTORE_MARKER)
        sync_directory(self.home)


def begin(home: Path, places: Iterable[str]) -> RestoreRun:
    """Write the marker of a new run, and make the folders that its places need."""
    names = list(places)
    parents = {str(folder): None for place in names for folder in reversed(Path(place).parents)}
    folders = [folder for folder in parents if not (home / folder).exists()]
    run = RestoreRun(home=home, name=secrets.token_hex(8), places=names, folders=folders)
    _append(home / RESTORE_MARKER, {"name": run.name, "places": names, "folders": folders})
    sync_directory(home)
    for folder in folders:
        (home / folder).mkdir(mode=0o700, exist_ok=True)
    return run


def find_interrupted(home: Path) -> RestoreRun | None:
    """Return the run that was interrupted in this folder; one that placed nothing has no places.

    Raises Conflict for a marker that no restore wrote.
    """
    try:
        handle = os.open(home / RESTORE_MARKER, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        lines = file.read(MAX_MARKER_OCTETS).split(b"\n")[
            :-1
        ]  # what follows the last line break was truncated
    values: dict[str, Any] = {"name": "", "places": [], "folders": []}
    try:
        for line in lines:
            values |= json.loads(line).items()
        return RestoreRun(home=home, **values)
    except (ValueError, TypeError, AttributeError):
        raise Conflict(
            f"{home / RESTORE_MARKER} was written by no restore. See what it is, and take it away."
        ) from None


@contextmanager
def lock_folder(home: Path) -> Iterator[None]:
    """Make the folder if it is missing, and hold its lock: one restore at a time.

    A folder that this call made is removed again when the block fails and the folder is empty.
    """
    new_folders = [folder for folder in (home, *home.parents) if not folder.exists()]
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(handle, home)
        yield
    except BaseException:
        for folder in new_folders:
            with suppress(OSError):
                folder.rmdir()
        raise
    finally:
        os.close(handle)


@contextmanager
def translate_errors(home: Path) -> Iterator[None]:
    """Raise StorageError with a sentence for an error of the disk."""
    try:
        yield
    except OSError as trouble:
        raise StorageError(
            f"{home} cannot be written: {trouble.strerror or trouble}. Mend that, then restore again."
        ) from trouble


def _lock(handle: int, home: Path) -> None:
    if not file_lock.try_acquire(handle):
        raise Conflict(f"Another restore into {home} is under way. Wait for its end.")


def _append(path: Path, line: object) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
