"""Register: the append-only file of departures, to be copied off the machine and merged after a restore.

A line is what happened, the list, when (UTC), the keyed hash of the address, and a checksum:

    left interest 2026-10-20T15:00:00.000000Z 5f0c…(32 digits) 1c291ca3

`key` lines name the pepper that the hashes were made with, `seen` lines say that until then the file holds
everything. Lines are only ever added, several processes at once may, and what is damaged is passed over.
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
    """What a file says: the departures, until when it holds everything, and how many lines were damaged."""

    records: Sequence[DepartureRecord] = field(repr=False)
    until: datetime | None
    damaged: int


def append_new(database: Database, folder: Path, *, fingerprint: bytes, now: datetime) -> int:
    """Append what the database has not handed over yet, and take it out there; returns how many.

    `fingerprint` is the pepper's. Whoever dies in between leaves a line that is written twice, which changes
    nothing. Raises StorageError when the file cannot be written; then everything stays in the database.
    """
    total = 0
    path = folder / FILE
    while True:
        with database.read() as session:
            waiting = departures.list_pending(session, limit=BATCH_SIZE)
        lines = [
            _format_line(each.what, each.list or NO_VALUE, each.at, each.digest.hex()) for _, each in waiting
        ]
        _append(path, lines, fingerprint=fingerprint, now=now, last=len(waiting) < BATCH_SIZE)
        if waiting:
            with database.write() as session:
                departures.delete_pending(session, [number for number, _ in waiting])
        total += len(waiting)
        if len(waiting) < BATCH_SIZE:
            return total


def read(path: Path, *, fingerprint: bytes) -> DeparturesFile:
    """Read a file of departures; lines that are damaged or cut short are passed over and counted.

    Raises BadInput for a file that cannot be read, is none, or was written under another pepper: its hashes
    would not be found.
    """
    try:
        if path.stat().st_size > MAX_OCTETS:
            raise BadInput(f"{path} is larger than a file of departures can be.")
        lines = path.read_bytes().decode("ascii", errors="replace").splitlines()
    except OSError as trouble:
        raise BadInput(f"{path} cannot be read: {trouble.strerror}.") from trouble
    read = [_parse_line(line) for line in lines if line]
    good = [entry for entry in read if entry is not None]
    if lines and not good:
        raise BadInput(f"{path} is not a file of departures: no line of it can be read.")
    if any(what == KEY and digest != fingerprint.hex() for what, _, _, digest in good):
        raise BadInput(f"{path} was written with another pepper, so nobody in it can be recognized.")
    departed = [
        DepartureRecord(what=what, list="" if name == NO_VALUE else name, digest=bytes.fromhex(digest), at=at)
        for what, name, at, digest in good
        if what not in (KEY, SEEN)
    ]
    until = max((at for _, _, at, _ in good), default=None)
    return DeparturesFile(records=departed, until=until, damaged=len(read) - len(good))


def _append(path: Path, lines: Sequence[str], *, fingerprint: bytes, now: datetime, last: bool) -> None:
    """Append whole lines, and a `seen` line when there was none for long and nothing waits any more."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            file_lock.acquire(file)
            end = os.lseek(file, 0, os.SEEK_END)
            tail = os.pread(file, MAX_LINE_OCTETS, max(end - MAX_LINE_OCTETS, 0)).decode(
                "ascii", errors="replace"
            )
            newest = _parse_line(tail.rstrip("\n").rpartition("\n")[2])
            adding = list(lines)
            if last and (newest is None or newest[2] <= now - SEEN_INTERVAL):
                adding.append(_format_line(SEEN, NO_VALUE, now, NO_VALUE))
            if not adding:
                return
            if end == 0:
                adding.insert(0, _format_line(KEY, NO_VALUE, now, fingerprint.hex()))
            begin = "" if tail.endswith("\n") or end == 0 else "\n"  # the last line was cut short by a crash
            data = (begin + "".join(adding)).encode("ascii")
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        finally:
            os.close(file)
        if end == 0:
            _sync_folder(path.parent)
    except OSError as trouble:
        raise StorageError(f"{path} cannot be written: {trouble.strerror}.") from trouble


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _format_line(what: str, name: str, at: datetime, digest: str) -> str:
    said = f"{what} {name} {at.astimezone(UTC).strftime(TIME_FORMAT)} {digest}"
    line = f"{said} {_checksum(said)}"
    assert LINE_PATTERN.fullmatch(line), "what is written can be read again"
    return f"{line}\n"


def _parse_line(line: str) -> tuple[str, str, datetime, str] | None:
    found = LINE_PATTERN.fullmatch(line)
    if found is None or _checksum(line[:-9]) != found[5]:
        return None
    if (found[4] == NO_VALUE) != (found[1] == SEEN):
        return None
    try:
        at = datetime.strptime(found[3], TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return found[1], found[2], at, found[4]


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode('ascii', errors='replace')):08x}"
