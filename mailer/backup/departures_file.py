"""Departures file: an append-only file of departures, to copy off the machine and merge after a restore.

A line holds what happened, the list, when (UTC), the keyed hash of the address, and a checksum:

    left interest 2026-10-20T15:00:00.000000Z 5f0c…(32 digits) 1c291ca3

`key` lines name the pepper of the hashes, `seen` lines say that the file is complete until then. Lines are
only appended, by several processes at once if need be, and damaged lines are skipped.
"""

import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lists import departures
from lists.db import Database
from lists.departures import LEFT, DepartureRecord
from lists.errors import BadInput, StorageError
from lists.suppressions import REASONS
from mailer import file_lock
from mailer.directory_sync import sync_directory

FILE = "departures"  # in the data folder
BATCH_SIZE = 1_000
SEEN_INTERVAL = timedelta(hours=1)
MAX_LINE_OCTETS = 200  # octets
MAX_OCTETS = 1 << 30  # of a file to merge: ten million departures
KEY, SEEN = "key", "seen"
NO_VALUE = "-"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
LINE_PATTERN = re.compile(
    rf"({LEFT}|{KEY}|{SEEN}|{'|'.join(REASONS)}) ([a-z0-9_-]{{1,40}})"
    r" (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([0-9a-f]{32}|-) ([0-9a-f]{8})"
)


@dataclass(frozen=True, kw_only=True)
class DeparturesFile:
    """The contents of a file: the departures, until when it is complete, and the number of damaged lines."""

    records: Sequence[DepartureRecord] = field(repr=False)
    until: datetime | None
    damaged: int


def append_new(database: Database, folder: Path, *, fingerprint: bytes, now: datetime) -> int:
    """Append the pending departures of the database and delete them there; returns how many.

    `fingerprint` is the pepper's. A process that ends in between leaves a line that is written twice, which
    changes nothing. Raises StorageError when the file cannot be written; then all stay in the database.
    """
    total = 0
    path = folder / FILE
    while True:
        with database.read() as session:
            pending = departures.list_pending(session, limit=BATCH_SIZE)
        lines = [
            _format_line(each.what, each.list or NO_VALUE, each.at, each.digest.hex()) for _, each in pending
        ]
        _append(path, lines, fingerprint=fingerprint, now=now, last=len(pending) < BATCH_SIZE)
        if pending:
            with database.write() as session:
                departures.delete_written(session, [number for number, _ in pending])
        total += len(pending)
        if len(pending) < BATCH_SIZE:
            return total


def read(path: Path, *, fingerprint: bytes) -> DeparturesFile:
    """Read a file of departures; damaged or truncated lines are skipped and counted.

    Raises BadInput for a file that cannot be read, is no such file, or was written under another pepper: its
    hashes would match no address.
    """
    try:
        if path.stat().st_size > MAX_OCTETS:
            raise BadInput(f"{path} is larger than a file of departures can be.")
        lines = path.read_bytes().decode("ascii", errors="replace").splitlines()
    except OSError as trouble:
        raise BadInput(f"{path} cannot be read: {trouble.strerror}.") from trouble
    entries = [_parse_line(line) for line in lines if line]
    valid = [entry for entry in entries if entry is not None]
    if lines and not valid:
        raise BadInput(f"{path} is not a file of departures: no line of it can be read.")
    if any(what == KEY and digest != fingerprint.hex() for what, _, _, digest in valid):
        raise BadInput(f"{path} was written with another pepper, so nobody in it can be recognized.")
    records = [
        DepartureRecord(what=what, list="" if name == NO_VALUE else name, digest=bytes.fromhex(digest), at=at)
        for what, name, at, digest in valid
        if what not in (KEY, SEEN)
    ]
    until = max((at for _, _, at, _ in valid), default=None)
    return DeparturesFile(records=records, until=until, damaged=len(entries) - len(valid))


def _append(path: Path, lines: Sequence[str], *, fingerprint: bytes, now: datetime, last: bool) -> None:
    """Append whole lines, and a `seen` line when the last line is old and no departure is pending."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            file_lock.acquire(file)
            end = os.lseek(file, 0, os.SEEK_END)
            tail = os.pread(file, MAX_LINE_OCTETS, max(end - MAX_LINE_OCTETS, 0)).decode(
                "ascii", errors="replace"
            )
            newest = _parse_line(tail.rstrip("\n").rpartition("\n")[2])
            new_lines = list(lines)
            if last and (newest is None or newest[2] <= now - SEEN_INTERVAL):
                new_lines.append(_format_line(SEEN, NO_VALUE, now, NO_VALUE))
            if not new_lines:
                return
            if end == 0:
                new_lines.insert(0, _format_line(KEY, NO_VALUE, now, fingerprint.hex()))
            separator = "" if tail.endswith("\n") or end == 0 else "\n"  # a crash truncated the last line
            data = (separator + "".join(new_lines)).encode("ascii")
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        finally:
            os.close(file)
        if end == 0:
            sync_directory(path.parent)
    except OSError as trouble:
        raise StorageError(f"{path} cannot be written: {trouble.strerror}.") from trouble


def _format_line(what: str, name: str, at: datetime, digest: str) -> str:
    content = f"{what} {name} {at.astimezone(UTC).strftime(TIME_FORMAT)} {digest}"
    line = f"{content} {_checksum(content)}"
    assert LINE_PATTERN.fullmatch(line), "every written line can be read"
    return f"{line}\n"


def _parse_line(line: str) -> tuple[str, str, datetime, str] | None:
    match = LINE_PATTERN.fullmatch(line)
    if match is None or _checksum(line[:-9]) != match[5]:
        return None
    if (match[4] == NO_VALUE) != (match[1] == SEEN):
        return None
    try:
        at = datetime.strptime(match[3], TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return match[1], match[2], at, match[4]


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode('ascii', errors='replace')):08x}"
