"""Deposit: a file that staff hand in, checked and kept in the data folder under the hash of its content.

Nothing of its own name is used but the ending, and that must be in KINDS and agree with how the content
begins. A file is whole or not there: it is written aside and then moved. What no version needs any more is
deleted by a job, a day later, so that nobody who just hands in the same file loses it.
"""

import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from lists.errors import BadInput, NotFound, StorageTrouble

FOLDER = "resources"  # in the data folder; backups carry it
UNFINISHED = ".unfinished"  # backups leave these out
MOST_OCTETS = 500 * 1024 * 1024
LEADING = 4_096  # octets that tell what a file is
PIECE = 1024 * 1024
SPARED = timedelta(days=1)

log = structlog.get_logger()

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ODF = b"mimetypeapplication/vnd.oasis.opendocument."  # OpenDocument 1.3, part 2, section 3.3: at octet 30


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of file: how it is announced to browsers, and whether content with this beginning is one."""

    media: str
    begins: Callable[[bytes], bool]
    part: str = ""  # what must be inside, where it is a ZIP archive


def _office(name: str) -> str:
    return f"application/vnd.openxmlformats-officedocument.{name}"


def _zipped(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04")


def _text(head: bytes) -> bool:
    whole = head if len(head) < LEADING else head[:-3]  # a letter may be cut at the end
    try:
        whole.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not any(octet < 32 and octet not in b"\t\n\r\f" for octet in whole)


KINDS: Mapping[str, Kind] = {
    "pdf": Kind(media="application/pdf", begins=lambda head: head.startswith(b"%PDF-")),
    "pptx": Kind(media=_office("presentationml.presentation"), begins=_zipped, part="ppt/presentation.xml"),
    "docx": Kind(media=_office("wordprocessingml.document"), begins=_zipped, part="word/document.xml"),
    "odp": Kind(
        media="application/vnd.oasis.opendocument.presentation",
        begins=lambda head: _zipped(head) and head[30:].startswith(_ODF + b"presentation"),
    ),
    "odt": Kind(
        media="application/vnd.oasis.opendocument.text",
        begins=lambda head: _zipped(head) and head[30:].startswith(_ODF + b"text"),
    ),
    "mp4": Kind(media="video/mp4", begins=lambda head: head[4:8] == b"ftyp"),
    "png": Kind(media="image/png", begins=lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    "jpg": Kind(media="image/jpeg", begins=lambda head: head.startswith(b"\xff\xd8\xff")),
    "txt": Kind(media="text/plain; charset=utf-8", begins=_text),
}
SAME = {"jpeg": "jpg"}


@dataclass(frozen=True, kw_only=True)
class Deposit:
    """A file that is kept: the SHA-256 of its content in hexadecimal, its kind and its octets."""

    digest: str
    kind: str
    size: int


def keep(path: Path, *, home: Path) -> Deposit:
    """Check a file and keep a copy of it in the data folder.

    Raises NotFound where there is none, BadInput for a type that is not allowed, an ending that its content
    belies, and what is empty or larger than MOST_OCTETS; StorageTrouble when it cannot be written.
    """
    ending = path.suffix.lower().removeprefix(".")
    kind = SAME.get(ending, ending)
    if kind not in KINDS:
        raise BadInput(f"A file of the type “{ending[:10]}” is not kept. These are: {', '.join(KINDS)}.")
    folder = home / FOLDER
    aside = folder / f"{os.getpid()}-{os.urandom(4).hex()}{UNFINISHED}"
    source = _opened(path)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        digest, size = _copied(source, aside)
        _check(aside, kind)
        aside.replace(folder / digest)
        _flush(folder)
    except OSError as trouble:
        raise StorageTrouble(f"The file cannot be kept in {folder}: {trouble.strerror}.") from trouble
    finally:
        os.close(source)
        with suppress(OSError):
            aside.unlink(missing_ok=True)
    return Deposit(digest=digest, kind=kind, size=size)


def place(digest: str, *, home: Path) -> Path | None:
    """Return where the content with this hash is kept; None where it is not there."""
    assert _DIGEST.fullmatch(digest), "what leads to a file is a hash from a row, never a visitor's word"
    path = home / FOLDER / digest
    return path if path.is_file() and not path.is_symlink() else None


def find(digest: str, *, home: Path) -> Path:
    """Return where the content with this hash is kept; where it is gone, tell operators; raises NotFound."""
    path = place(digest, home=home)
    if path is None:
        log.error("the file of a resource is missing", file=digest)
        raise NotFound("The file is not there.")
    return path


def clear(home: Path, *, needed: frozenset[str], real: datetime) -> int:
    """Delete what no version needs and nobody has just handed in; returns how many files."""
    gone = 0
    folder = home / FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        ours = _DIGEST.fullmatch(path.name) or path.suffix == UNFINISHED
        if not ours or path.name in needed:
            continue
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime < (real - SPARED).timestamp():
                path.unlink()
                gone += 1
    return gone


def _opened(path: Path) -> int:
    """Open a plain file, and nothing that could block or never end."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise NotFound(f"There is no file {path}.") from error
    except OSError as error:
        raise BadInput(f"The file {path} cannot be read by this account: {error.strerror}.") from error
    found = os.fstat(handle)
    sentence = ""
    if not stat.S_ISREG(found.st_mode):
        sentence = f"{path} is not a file."
    elif not found.st_size:
        sentence = f"The file {path} is empty."
    elif found.st_size > MOST_OCTETS:
        sentence = _TOO_LARGE
    if sentence:
        os.close(handle)
        raise BadInput(sentence)
    return handle


_TOO_LARGE = f"The file is larger than {MOST_OCTETS // 1024**2} MB. Put it on another site and give its link."


def _copied(source: int, aside: Path) -> tuple[str, int]:
    """Copy a file and return the hash and the length of what was copied."""
    told, size = hashlib.sha256(), 0
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as target:
        while piece := os.read(source, PIECE):
            told.update(piece)
            size += target.write(piece)
            if size > MOST_OCTETS:  # it grew while it was read
                raise BadInput(_TOO_LARGE)
        target.flush()
        os.fsync(target.fileno())
    return told.hexdigest(), size


def _check(path: Path, kind: str) -> None:
    """Raise BadInput unless the content is of the kind that the ending promises."""
    wanted = KINDS[kind]
    with path.open("rb") as file:
        good = wanted.begins(file.read(LEADING))
    if good and wanted.part:
        try:
            with zipfile.ZipFile(path) as archive:
                good = wanted.part in archive.namelist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            good = False
    if not good:
        raise BadInput(
            f"The file ends in .{kind}, but its content is something else. Save it again as {kind}."
        )


def _flush(folder: Path) -> None:
    """Make sure that the new name survives a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
