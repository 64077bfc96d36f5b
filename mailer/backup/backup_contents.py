"""Backup contents: checks every part of a backup before any of it is used.

A backup was encrypted with the passphrase, but perhaps not by this program: names, sizes and order are
checked as those of an untrusted file.
"""

import gzip
import json
import os
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO

from lists.errors import BadInput, Conflict
from mailer.backup import backup, departures_file
from mailer.delivery import journal

MAX_PART_OCTETS = 1 << 30  # octets of a part that is read into memory: rows, the manifest
MAX_FILES = 1_000_000
MAX_COMPRESSION_RATIO = 1_100  # octets that one compressed octet can stand for (zlib: 1,032)
ALLOWED_FILES = {backup.SETTINGS, departures_file.FILE}
ALLOWED_FOLDERS = {backup.SECRETS, backup.RESOURCES, journal.FOLDER}
FORMAT_ERRORS = (
    tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError,
    ValueError, KeyError, TypeError, AttributeError, RecursionError,
)  # fmt: skip
DAMAGED_SENTENCE = "The file is damaged or was cut short. Nothing was put back."

BackupPart = tuple[PurePosixPath, IO[bytes]]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The header of a backup: its time, its revision, and the columns and highest ids of its tables."""

    made_at: datetime
    revision: str
    columns: Mapping[str, Sequence[str]]
    highest: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class BackupContents:
    """A backup that was read to its end: its manifest, and the path and size (octets) of each file."""

    manifest: Manifest
    files: Mapping[PurePosixPath, int]


def check(source: BinaryIO, passphrase: bytes, *, newest: str) -> BackupContents:
    """Read a backup to its end and return what it holds; `newest` is this program's newest revision.

    Raises BadInput for the wrong passphrase, and for a file that is damaged, cut short, or names files
    outside their folders; Conflict for one that a newer program wrote.
    """
    max_octets = os.fstat(source.fileno()).st_size * MAX_COMPRESSION_RATIO
    with _translate_errors(), backup.open_archive(source, passphrase) as tar:
        members = _read_members(tar, max_octets=max_octets)
        manifest = _read_manifest(members, newest)
        files: dict[PurePosixPath, int] = {}
        kind = "files"
        for name, size, _ in members:
            if kind == "end.json":
                raise BadInput(DAMAGED_SENTENCE)
            previous_kind, kind = kind, name.parts[0]
            if kind == "files" == previous_kind:
                _add_file(files, PurePosixPath(*name.parts[1:]), size)
            elif (
                kind == "files"
                or (kind == "tables" and name.parts[1] not in manifest.columns)
                or kind not in ("tables", "end.json")
                or size > MAX_PART_OCTETS
            ):
                raise BadInput(DAMAGED_SENTENCE)
        if kind != "end.json":
            raise BadInput("The backup was cut short. Nothing was put back.")
        return BackupContents(manifest=manifest, files=files)


@contextmanager
def open_parts(source: BinaryIO, passphrase: bytes) -> Iterator[Iterator[BackupPart]]:
    """Yield the parts after the manifest, of a backup that was checked; raises BadInput as `check` does."""
    with _translate_errors(), backup.open_archive(source, passphrase) as tar:
        members = _read_members(tar)
        next(members)
        yield ((name, data) for name, _, data in members)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except FORMAT_ERRORS as trouble:
        raise BadInput(DAMAGED_SENTENCE) from trouble


def _read_members(
    tar: tarfile.TarFile, *, max_octets: int = sys.maxsize
) -> Iterator[tuple[PurePosixPath, int, IO[bytes]]]:
    for member in tar:
        if member.size > max_octets:
            raise BadInput(DAMAGED_SENTENCE)  # tarfile would read for years to find the end of it
        data = tar.extractfile(member) if member.isreg() else None
        if data is None:
            raise BadInput("The backup holds something that is not a file. Nothing was put back.")
        yield PurePosixPath(member.name), member.size, data


def _read_manifest(members: Iterator[tuple[PurePosixPath, int, IO[bytes]]], newest: str) -> Manifest:
    name, size, data = next(members, (PurePosixPath(), 0, None))
    if data is None or name != PurePosixPath("manifest.json") or size > MAX_PART_OCTETS:
        raise BadInput(DAMAGED_SENTENCE)
    values: dict[str, Any] = json.load(data)
    if values["format"] != backup.FORMAT or values["revision"] > newest:
        raise Conflict("This backup was made by a newer version of the program. Update the program first.")
    made_at = datetime.fromisoformat(values["made_at"])
    if made_at.tzinfo is None:
        raise BadInput(DAMAGED_SENTENCE)
    return Manifest(
        made_at=made_at,
        revision=values["revision"],
        columns={str(table): [str(column) for column in names] for table, names in values["columns"].items()},
        highest={str(table): int(number) for table, number in values["highest"].items()},
    )


def _add_file(files: dict[PurePosixPath, int], place: PurePosixPath, size: int) -> None:
    """Add one file to those of a backup; raises BadInput for a path that no backup contains."""
    top = place.parts[0] if place.parts else ""
    is_allowed = top in (ALLOWED_FOLDERS if len(place.parts) > 1 else ALLOWED_FILES)
    is_unsafe = ".." in place.parts or "\0" in str(place) or place.suffix == backup.UNFINISHED
    if (
        not is_allowed
        or is_unsafe
        or str(place) in backup.EXCLUDED_FILES
        or place in files
        or len(files) >= MAX_FILES
    ):
        raise BadInput("The backup holds a file that belongs nowhere here. Nothing was put back.")
    files[place] = size
