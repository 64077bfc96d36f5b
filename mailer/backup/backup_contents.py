"""Backup contents: the parts of a backup, checked as a whole before anything of it is used.

Everything in a backup was sealed by someone who knows the passphrase, but perhaps not by this program: names,
sizes and order are checked as those of a stranger's file.
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
    """What a backup says of itself: its moment, its step, and the columns and highest ids of its tables."""

    made_at: datetime
    revision: str
    columns: Mapping[str, Sequence[str]]
    highest: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class BackupContents:
    """A backup that was read to its end: its manifest, and the place and size (octets) of each file."""

    manifest: Manifest
    files: Mapping[PurePosixPath, int]


def check(source: BinaryIO, passphrase: bytes, *, newest: str) -> BackupContents:
    """Read a backup to its end and keep nothing but what it holds; `newest` is this program's last step.

    Raises BadInput for the wrong passphrase, and for a file that is damaged, cut short, or names files
    outside their places; Conflict for one that a newer program made.
    """
    most = os.fstat(source.fileno()).st_size * MAX_COMPRESSION_RATIO
    with _translate_errors(), backup.open_archive(source, passphrase) as tar:
        members = _read_members(tar, most=most)
        manifest = _read_manifest(members, newest)
        files: dict[PurePosixPath, int] = {}
        kind = "files"
        for name, size, _ in members:
            if kind == "end.json":
                raise BadInput(DAMAGED_SENTENCE)
            before, kind = kind, name.parts[0]
            if kind == "files" == before:
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
    """Give the parts after the manifest, of a backup that was checked; raises BadInput as `check` does."""
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
    tar: tarfile.TarFile, *, most: int = sys.maxsize
) -> Iterator[tuple[PurePosixPath, int, IO[bytes]]]:
    for member in tar:
        if member.size > most:
            raise BadInput(DAMAGED_SENTENCE)  # tarfile would look for the end of it for years
        data = tar.extractfile(member) if member.isreg() else None
        if data is None:
            raise BadInput("The backup holds something that is not a file. Nothing was put back.")
        yield PurePosixPath(member.name), member.size, data


def _read_manifest(members: Iterator[tuple[PurePosixPath, int, IO[bytes]]], newest: str) -> Manifest:
    name, size, data = next(members, (PurePosixPath(), 0, None))
    if data is None or name != PurePosixPath("manifest.json") or size > MAX_PART_OCTETS:
        raise BadInput(DAMAGED_SENTENCE)
    told: dict[str, Any] = json.load(data)
    if told["format"] != backup.FORMAT or told["revision"] > newest:
        raise Conflict("This backup was made by a newer version of the program. Update the program first.")
    made_at = datetime.fromisoformat(told["made_at"])
    if made_at.tzinfo is None:
        raise BadInput(DAMAGED_SENTENCE)
    return Manifest(
        made_at=made_at,
        revision=told["revision"],
        columns={str(table): [str(column) for column in listed] for table, listed in told["columns"].items()},
        highest={str(table): int(number) for table, number in told["highest"].items()},
    )


def _add_file(files: dict[PurePosixPath, int], place: PurePosixPath, size: int) -> None:
    """Add one file to those of a backup; raises BadInput for a place where no backup puts one."""
    first = place.parts[0] if place.parts else ""
    known = first in (ALLOWED_FOLDERS if len(place.parts) > 1 else ALLOWED_FILES)
    strange = ".." in place.parts or "\0" in str(place) or place.suffix == backup.UNFINISHED
    if (
        not known
        or strange
        or str(place) in backup.EXCLUDED_FILES
        or place in files
        or len(files) >= MAX_FILES
    ):
        raise BadInput("The backup holds a file that belongs nowhere here. Nothing was put back.")
    files[place] = size
