"""Journal: a worker's file of the messages it was about to send and their outcomes, outside the database.

After a `kill -9` a database row cannot show whether a message had reached the server, because its outcome is
recorded a moment later, in a batch. So a worker writes sixteen bytes before each final dot and sixteen after
the reply, directly into its journal, which is mapped into memory: the content survives the process, and
writing it needs no system call, at which a busy interpreter would switch threads. The file is allocated
ahead, so a full disk is noticed early; no message is sent when a line cannot be written.

The owner holds a lock on the file while its process exists, even while it is frozen: a lock that can be
acquired proves that the process has ended, and one that cannot proves that it exists. The header holds the
boot id of the machine: after a reboot the file may lack lines that were never flushed, and then a missing
line proves nothing.
"""

import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lists.errors import BadInput, StorageError
from mailer import file_lock

FOLDER = "journals"
SUFFIX, SETTLED_SUFFIX, UNFINISHED = ".journal", ".settled", ".unfinished"
HEADER = struct.Struct("<8s36s84s")  # magic, boot id, worker; the length of eight lines
LINE = struct.Struct("<cqI")  # mark, row, attempt; followed by three bytes of CRC-32
LINE_BYTES = LINE.size + 3
MAGIC = b"mailer\x002"
CHUNK_OCTETS = 1 << 20  # octets allocated and mapped at a time, 65,536 lines: no line crosses two chunks
MAX_JOURNAL_OCTETS = 16 * CHUNK_OCTETS  # octets, half a million messages
CARRY_OVER_OCTETS = 1 << 18  # octets, 8,192 messages: several times the largest claim

BEFORE_DOT = b">"  # the final dot is written next
MARKS = {"sent": b"S", "deferred": b"D", "refused": b"R", "unreachable": b"N", "unknown": b"U"}
STATES = {mark: state for state, mark in MARKS.items()}


class Journal:
    """The journal of this process; `record_start` and `record_outcome` may be called from one thread only.

    A file that grew to MAX_JOURNAL_OCTETS is settled, and the journal continues in a new one, so that a
    rescue after months does not read millions of lines. The new file starts with the attempts without an
    outcome and with the newest lines: a worker claims no more rows before its results are recorded, so all
    outcomes that are not recorded are among these lines.
    """

    def __init__(self, folder: Path, *, worker: str, boot: str | None = None) -> None:
        """Begin a new file; raises StorageError when it cannot be written."""
        self._folder, self._worker = folder, worker
        self._header = HEADER.pack(MAGIC, (boot or read_boot_id()).encode(), worker.encode())
        self._unanswered: dict[int, int] = {}  # row → attempt, without an outcome
        self._file = self._new_file()

    @property
    def path(self) -> Path:
        """Return the path of the present file."""
        return self._file.path

    def record_start(self, row: int, attempt: int) -> None:
        """Write that the final dot of this attempt is sent next; raises OSError when it cannot be written."""
        if self._file.size >= MAX_JOURNAL_OCTETS:
            self._rotate()
        self._write_line(BEFORE_DOT, row, attempt)
        self._unanswered[row] = attempt

    def record_outcome(self, row: int, attempt: int, state: str) -> None:
        """Write the outcome of this attempt, an Outcome's state; raises OSError when it cannot be written."""
        self._write_line(MARKS[state], row, attempt)
        self._unanswered.pop(row, None)

    def close(self, *, is_settled: bool) -> None:
        """Close the file; `is_settled`: the database holds all its outcomes.

        A settled journal is kept for a while, because a restored backup may lack its outcomes.
        """
        self._file.close(is_settled=is_settled)

    def _write_line(self, mark: bytes, row: int, attempt: int) -> None:
        self._file.write(_pack(mark, row, attempt))

    def _new_file(self, lines: bytes = b"") -> "_File":
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{self._worker}.{secrets.token_hex(4)}"  # a worker may have several files in turn
            return _File(self._folder / name, self._header + lines)
        except OSError as trouble:
            raise StorageError(
                f"The journal in {self._folder} cannot be written: {trouble.strerror}."
            ) from trouble

    def _rotate(self) -> None:
        open_lines = b"".join(_pack(BEFORE_DOT, row, attempt) for row, attempt in self._unanswered.items())
        with suppress(StorageError):  # then this file grows, and the next line tries again
            next_file = self._new_file(open_lines + self._file.read_newest(CARRY_OVER_OCTETS))
            previous, self._file = self._file, next_file
            previous.close(is_settled=True)


class _File:
    """One file of a journal, locked, allocated and mapped by chunks; `size` is the octets written."""

    def __init__(self, base: Path, first_octets: bytes) -> None:
        """Create the file; it gets its name once it is locked and these first octets are written."""
        unfinished = base.with_name(base.name + UNFINISHED)
        self._handle = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        file_lock.acquire(self._handle)
        self._allocated = self.size = 0
        self._chunk: mmap.mmap | None = None
        for first in range(0, len(first_octets), LINE_BYTES):
            self.write(first_octets[first : first + LINE_BYTES])
        self.path = unfinished.rename(base.with_name(base.name + SUFFIX))

    def write(self, line: bytes) -> None:
        """Write at most one line; raises OSError when it cannot be written."""
        if self._chunk is None or self.size == self._allocated:
            self._chunk = self._map_next_chunk()
        offset = self.size % CHUNK_OCTETS
        self._chunk[offset : offset + len(line)] = line
        self.size += len(line)

    def read_newest(self, octets: int) -> bytes:
        """Return the newest lines, at most this many octets."""
        return os.pread(self._handle, octets, max(self.size - octets, HEADER.size))

    def close(self, *, is_settled: bool) -> None:
        """Close the file, and settle it where `is_settled` is true."""
        if self._chunk is not None:
            self._chunk.close()
        if is_settled:
            _settle(self._handle, self.path, self.size)
        os.close(self._handle)

    def _map_next_chunk(self) -> mmap.mmap:
        os.posix_fallocate(self._handle, self._allocated, CHUNK_OCTETS)
        chunk = mmap.mmap(self._handle, CHUNK_OCTETS, offset=self._allocated)
        if self._chunk is not None:
            self._chunk.close()
        self._allocated += CHUNK_OCTETS
        return chunk


@contextmanager
def open_new(folder: Path, *, worker: str) -> Iterator[Journal]:
    """Begin a journal for the block; settle it unless the block raises, which leaves it to the rescue."""
    journal = Journal(folder, worker=worker)
    try:
        yield journal
    except BaseException:
        journal.close(is_settled=False)
        raise
    journal.close(is_settled=True)


@dataclass(frozen=True, kw_only=True)
class JournalContents:
    """The contents of one journal: the attempts that were begun, and the outcomes of those that ended.

    `is_complete`: no line can be missing, because the machine has not been restarted since.
    """

    worker: str
    is_complete: bool
    started_attempts: frozenset[tuple[int, int]] = field(repr=False)
    outcomes: Mapping[tuple[int, int], str] = field(repr=False)


@contextmanager
def settle_ended(folder: Path, *, boot: str | None = None) -> Iterator[list[JournalContents]]:
    """Read the journals whose processes have ended; settle them when the block ends without an error.

    During the block their locks are held, so that no other process settles them.
    """
    locked_files: list[tuple[int, Path, int]] = []
    try:
        journals = []
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            handle = _open_locked(path)
            if handle is None:
                continue
            contents, size = _read(handle, boot or read_boot_id())
            locked_files.append((handle, path, size))
            if contents is not None:
                journals.append(contents)
        yield journals
        for handle, path, size in locked_files:
            _settle(handle, path, size)
    finally:
        for handle, _, _ in locked_files:
            os.close(handle)


def list_living_workers(folder: Path) -> frozenset[str]:
    """Return the workers whose journals in this folder are locked: they exist, but may be frozen."""
    workers = set()
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if file_lock.is_held(file.fileno()):
                _, _, worker = HEADER.unpack(file.read(HEADER.size).ljust(HEADER.size, b"\0"))
                workers.add(worker.rstrip(b"\0").decode())
    return frozenset(workers)


def read_all(folder: Path) -> Iterator[JournalContents]:
    """Read every journal in the folder of a lost machine, without changing anything.

    Raises BadInput for a folder without journals, which is probably the wrong one.
    """
    paths = sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{SETTLED_SUFFIX}")])
    if not paths:
        raise BadInput(f"{folder} holds no journals. Give the folder {FOLDER} of the lost machine.")
    for path in paths:
        with path.open("rb") as file:
            contents, _ = _read(file.fileno(), read_boot_id())
        if contents is not None:
            yield contents


def delete_settled(folder: Path, *, before: datetime) -> int:
    """Delete settled and unfinished journals that were last written before this moment; returns how many."""
    paths = [*folder.glob(f"*{SETTLED_SUFFIX}"), *folder.glob(f"*{UNFINISHED}")]
    old_paths = [path for path in paths if path.stat().st_mtime < before.timestamp()]
    for path in old_paths:
        path.unlink()
    return len(old_paths)


def read_boot_id() -> str:
    """Return the boot id of the machine, 36 characters."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _open_locked(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None  # just settled by another process
    if file_lock.try_acquire(handle) and path.exists():
        return handle
    os.close(handle)
    return None


def _settle(handle: int, path: Path, size: int) -> None:
    """Truncate a journal to its lines and mark it as settled; delete one without lines."""
    if size <= HEADER.size:
        path.unlink()
        return
    os.ftruncate(handle, size)
    path.rename(path.with_suffix(SETTLED_SUFFIX))


def _read(handle: int, boot: str) -> tuple[JournalContents | None, int]:
    """Return the contents of one journal, and how many octets of it are written.

    The contents are None where the process ended before the header was complete, so before it sent.
    """
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        data = file.read()
    if len(data) < HEADER.size:
        return None, len(data)
    magic, boot_id, worker = HEADER.unpack_from(data)
    if magic != MAGIC:
        return None, len(data)
    started_attempts: set[tuple[int, int]] = set()
    outcomes: dict[tuple[int, int], str] = {}
    size = len(data)
    for offset in range(HEADER.size, len(data) - LINE_BYTES + 1, LINE_BYTES):
        line, check = data[offset : offset + LINE.size], data[offset + LINE.size : offset + LINE_BYTES]
        mark, row, attempt = LINE.unpack(line)
        if mark == b"\0":
            size = offset
            break
        if check != _checksum(line):
            continue  # an incomplete line
        if mark == BEFORE_DOT:
            started_attempts.add((row, attempt))
        elif mark in STATES:
            outcomes[row, attempt] = STATES[mark]
    contents = JournalContents(
        worker=worker.rstrip(b"\0").decode(),
        is_complete=boot_id.decode() == boot,
        started_attempts=frozenset(started_attempts),
        outcomes=outcomes,
    )
    return contents, size


def _pack(mark: bytes, row: int, attempt: int) -> bytes:
    line = LINE.pack(mark, row, attempt)
    return line + _checksum(line)


def _checksum(line: bytes) -> bytes:
    return zlib.crc32(line).to_bytes(4, "little")[:3]
