"""File store: checks files of staff and stores them in the data folder under the hash of their content.

Only the extension of a file's name is used, and only the types of mailer/library/file_types.py are stored. A
file is complete or absent: it is written under a temporary name and then renamed. A job deletes files that no
version needs any more, a day later, so that a file that is being stored again is not lost.
"""

import hashlib
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from lists.errors import BadInput, NotFound, StorageError
from mailer.directory_sync import sync_directory
from mailer.library import file_types

FOLDER = "resources"  # in the data folder; backups contain it
UNFINISHED = ".unfinished"  # backups omit these
MAX_OCTETS = 500 * 1024 * 1024
CHUNK_OCTETS = 1024 * 1024
MIN_AGE = timedelta(days=1)

log = structlog.get_logger()

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A stored file: the SHA-256 of its content in hexadecimal, its kind and its size in octets."""

    digest: str
    kind: str
    size: int


def store_file(path: Path, *, home: Path) -> StoredFile:
    """Check a file and store a copy of it in the data folder.

    Raises NotFound where there is none, BadInput for a type that is not allowed, an extension that does not
    match the content, and a file that is empty or larger than MAX_OCTETS; StorageError when it cannot be
    written.
    """
    extension = path.suffix.lower().removeprefix(".")
    kind = file_types.find_kind(extension)
    folder = home / FOLDER
    unfinished = folder / f"{os.getpid()}-{os.urandom(4).hex()}{UNFINISHED}"
    source = _open_file(path)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        digest, size = _copy_file(source, unfinished)
        file_types.check_content(unfinished, kind)
        unfinished.replace(folder / digest)
        sync_directory(folder)
    except OSError as error:
        raise StorageError(f"The file cannot be kept in {folder}: {error.strerror}.") from error
    finally:
        os.close(source)
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return StoredFile(digest=digest, kind=kind, size=size)


def find_path(digest: str, *, home: Path) -> Path | None:
    """Return the path of the content with this hash; None where it does not exist."""
    assert _DIGEST.fullmatch(digest), "what leads to a file is a hash from a row, never from a request"
    path = home / FOLDER / digest
    return path if path.is_file() and not path.is_symlink() else None


def require_path(digest: str, *, home: Path) -> Path:
    """Return the path of the content with this hash; logs an error and raises NotFound if it is missing."""
    path = find_path(digest, home=home)
    if path is None:
        log.error("the file of a resource is missing", file=digest)
        raise NotFound("The file is not there.")
    return path


def delete_unneeded(home: Path, *, needed_digests: frozenset[str], real: datetime) -> int:
    """Delete files that no version needs and that are older than MIN_AGE; returns how many files."""
    deleted = 0
    folder = home / FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        is_managed = _DIGEST.fullmatch(path.name) or path.suffix == UNFINISHED
        if not is_managed or path.name in needed_digests:
            continue
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime < (real - MIN_AGE).timestamp():
                path.unlink()
                deleted += 1
    return deleted


def _open_file(path: Path) -> int:
    """Open a regular file; raises BadInput for anything that could block or never end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise NotFound(f"There is no file {path}.") from error
    except OSError as error:
        raise BadInput(f"The file {path} cannot be read by this account: {error.strerror}.") from error
    status = os.fstat(handle)
    sentence = ""
    if not stat.S_ISREG(status.st_mode):
        sentence = f"{path} is not a file."
    elif not status.st_size:
        sentence = f"The file {path} is empty."
    elif status.st_size > MAX_OCTETS:
        sentence = _TOO_LARGE
    if sentence:
        os.close(handle)
        raise BadInput(sentence)
    return handle


_TOO_LARGE = f"The file is larger than {MAX_OCTETS // 1024**2} MB. Put it on another site and give its link."


def _copy_file(source: int, unfinished: Path) -> tuple[str, int]:
    """Copy a file; returns the hash and the length of the copy."""
    hasher, size = hashlib.sha256(), 0
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as target:
        while piece := os.read(source, CHUNK_OCTETS):
            hasher.update(piece)
            size += target.write(piece)
            if size > MAX_OCTETS:  # it grew while it was read
                raise BadInput(_TOO_LARGE)
        target.flush()
        os.fsync(target.fileno())
    return hasher.hexdigest(), size
