"""Journal: what a worker was about to hand over and what it was answered, kept outside the database.

A database row cannot tell, after a `kill -9`, whether a message had reached the server: its outcome is
recorded a moment later, in a batch. So a worker writes sixteen bytes before each final dot and sixteen when
it is answered, straight into a file of its own that is mapped into memory: what stands there survives the
process, and writing it is no system call, at which a busy interpreter would change threads. The file is
allocated ahead, so a full disk is noticed early; nothing is sent when a line cannot be written.

The owner holds a lock on the file while it lives, however still it stands: a lock that can be had proves its
death, and one that cannot its life. The header holds the machine's boot id: after a reboot the file may lack
lines that were never flushed, and then only what it does say counts.
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
SUFFIX, SETTLED, UNFINISHED = ".journal", ".settled", ".unfinished"
HEADER = struct.Struct("<8s36s84s")  # magic, boot id, worker; as long as eight lines
LINE = struct.Struct("<cqI")  # mark, row, attempt; followed by three bytes of CRC-32
LINE_BYTES = LINE.size + 3
MAGIC = b"mailer\x002"
CHUNK_OCTETS = 1 << 20  # octets allocated and mapped at a time, 65,536 lines: none lies across two pieces
JOURNAL_OCTETS_MOST = 16 * CHUNK_OCTETS  # octets, half a million messages
CARRY_OVER_OCTETS = 1 << 18  # octets, 8,192 messages: several times what a worker ever claims at once

BEFORE_DOT = b">"  # the final dot is written next
MARKS = {"sent": b"S", "deferred": b"D", "refused": b"R", "unreachable": b"N", "unknown": b"U"}
STATES = {mark: state for state, mark in MARKS.items()}


class Journal:
    """The journal of this process; `about` and `answered` may be called from one thread only.

    A file that grew to LONGEST is settled, and the journal goes on in a new one, so that a rescue after
    months has not millions of lines to read. What is open goes along, and so do the newest lines: a worker
    claims no more before what it knows is recorded, so those that are not are among them.
    """

    def __init__(self, folder: Path, *, worker: str, boot: str | None = None) -> None:
        """Begin a new file; raises StorageError when it cannot be written."""
        self._folder, self._worker = folder, worker
        self._header = HEADER.pack(MAGIC, (boot or read_boot_id()).encode(), worker.encode())
        self._unanswered: dict[int, int] = {}  # the attempt of each row that was begun and not answered
        self._file = self._new_file()

    @property
    def path(self) -> Path:
        """Return where the present file is."""
        return self._file.path

    def record_dot(self, row: int, attempt: int) -> None:
        """Write down that the final dot of this attempt is written next; raises OSError when it cannot be."""
        if self._file.size >= JOURNAL_OCTETS_MOST:
            self._rotate()
        self._line(BEFORE_DOT, row, attempt)
        self._unanswered[row] = attempt

    def record_outcome(self, row: int, attempt: int, state: str) -> None:
        """Write down what became of this attempt (an Outcome's state); raises OSError when it cannot be."""
        self._line(MARKS[state], row, attempt)
        self._unanswered.pop(row, None)

    def close(self, *, settled: bool) -> None:
        """Let go of the file; `settled` says that the database knows all of it.

        A settled journal is kept for a while: an older backup that is restored does not know what it says.
        """
        self._file.close(settled=settled)

    def _line(self, mark: bytes, row: int, attempt: int) -> None:
        self._file.write(_pack(mark, row, attempt))

    def _new_file(self, lines: bytes = b"") -> "_File":
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{self._worker}.{secrets.token_hex(4)}"  # a worker may have one file after another
            return _File(self._folder / name, self._header + lines)
        except OSError as trouble:
            raise StorageError(
                f"The journal in {self._folder} cannot be written: {trouble.strerror}."
            ) from trouble

    def _rotate(self) -> None:
        opened = b"".join(_pack(BEFORE_DOT, row, attempt) for row, attempt in self._unanswered.items())
        with suppress(StorageError):  # then this one grows, and the next line tries again
            before, self._file = (
                self._file,
                self._new_file(opened + self._file.read_newest(CARRY_OVER_OCTETS)),
            )
            before.close(settled=True)


class _File:
    """One file of a journal, locked, allocated and mapped a piece at a time; `size` is what is written."""

    def __init__(self, place: Path, begin: bytes) -> None:
        """Make the file with these first bytes; nobody ever sees it without them, or unlocked."""
        unfinished = place.with_name(place.name + UNFINISHED)
        self._handle = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        file_lock.acquire(self._handle)
        self._allocated = self.size = 0
        self._piece: mmap.mmap | None = None
        for first in range(0, len(begin), LINE_BYTES):
            self.write(begin[first : first + LINE_BYTES])
        self.path = unfinished.rename(place.with_name(place.name + SUFFIX))

    def write(self, line: bytes) -> None:
        """Write down as much as a line; raises OSError when it cannot be."""
        if self._piece is None or self.size == self._allocated:
            self._piece = self._next_piece()
        place = self.size % CHUNK_OCTETS
        self._piece[place : place + len(line)] = line
        self.size += len(line)

    def read_newest(self, octets: int) -> bytes:
        """Return the newest lines, at most so many octets of them."""
        return os.pread(self._handle, octets, max(self.size - octets, HEADER.size))

    def close(self, *, settled: bool) -> None:
        """Let go of it."""
        if self._piece is not None:
            self._piece.close()
        if settled:
            _settle(self._handle, self.path, self.size)
        os.close(self._handle)

    def _next_piece(self) -> mmap.mmap:
        os.posix_fallocate(self._handle, self._allocated, CHUNK_OCTETS)
        piece = mmap.mmap(self._handle, CHUNK_OCTETS, offset=self._allocated)
        if self._piece is not None:
            self._piece.close()
        self._allocated += CHUNK_OCTETS
        return piece


@contextmanager
def open_new(folder: Path, *, worker: str) -> Iterator[Journal]:
    """Begin a journal for the block; it is settled when the block ends well, else left for the rescue."""
    book = Journal(folder, worker=worker)
    try:
        yield book
    except BaseException:
        book.close(settled=False)
        raise
    book.close(settled=True)


@dataclass(frozen=True, kw_only=True)
class JournalContents:
    """What a dead worker's journal says: which attempts were begun, and how those answered ended.

    `complete` is True where nothing can be missing: the machine has not been started anew since.
    """

    worker: str
    is_complete: bool
    started_attempts: frozenset[tuple[int, int]] = field(repr=False)
    outcomes: Mapping[tuple[int, int], str] = field(repr=False)


@contextmanager
def settle_dead(folder: Path, *, boot: str | None = None) -> Iterator[list[JournalContents]]:
    """Read the journals whose owners are dead; when the block ends well they are marked as settled.

    While the block lasts their locks are held, so that no other process settles the same ones.
    """
    taken: list[tuple[int, Path, int]] = []
    try:
        told = []
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            handle = _open_locked(path)
            if handle is None:
                continue
            testimony, size = _read(handle, boot or read_boot_id())
            taken.append((handle, path, size))
            if testimony is not None:
                told.append(testimony)
        yield told
        for handle, path, size in taken:
            _settle(handle, path, size)
    finally:
        for handle, _, _ in taken:
            os.close(handle)


def list_living_workers(folder: Path) -> frozenset[str]:
    """Return the workers whose journals here are held locked: they live, though they may stand still."""
    alive = set()
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if file_lock.is_held(file.fileno()):
                _, _, worker = HEADER.unpack(file.read(HEADER.size).ljust(HEADER.size, b"\0"))
                alive.add(worker.rstrip(b"\0").decode())
    return frozenset(alive)


def read_all(folder: Path) -> Iterator[JournalContents]:
    """Read every journal in a folder, as a lost machine left them; nothing is changed.

    Raises BadInput for a folder that holds none: it is probably another one than was meant.
    """
    found = sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{SETTLED}")])
    if not found:
        raise BadInput(f"{folder} holds no journals. Give the folder {FOLDER} of the lost machine.")
    for path in found:
        with path.open("rb") as file:
            testimony, _ = _read(file.fileno(), read_boot_id())
        if testimony is not None:
            yield testimony


def delete_settled(folder: Path, *, before: datetime) -> int:
    """Delete settled journals, and those never begun, last written before this moment; returns how many."""
    gone = [*folder.glob(f"*{SETTLED}"), *folder.glob(f"*{UNFINISHED}")]
    old = [path for path in gone if path.stat().st_mtime < before.timestamp()]
    for path in old:
        path.unlink()
    return len(old)


def read_boot_id() -> str:
    """Return what names this run of the machine, 36 characters."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _open_locked(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None  # settled by somebody else just now
    if file_lock.try_acquire(handle) and path.exists():
        return handle
    os.close(handle)
    return None


def _settle(handle: int, path: Path, size: int) -> None:
    """Keep the lines of a journal for a while, without what was allocated ahead; one without any is gone."""
    if size <= HEADER.size:
        path.unlink()
        return
    os.ftruncate(handle, size)
    path.rename(path.with_suffix(SETTLED))


def _read(handle: int, boot: str) -> tuple[JournalContents | None, int]:
    """Read one journal, and how many octets of it are written.

    None for one whose owner died before its header was whole, so before it sent.
    """
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        data = file.read()
    if len(data) < HEADER.size:
        return None, len(data)
    magic, its_boot, worker = HEADER.unpack_from(data)
    if magic != MAGIC:
        return None, len(data)
    begun: set[tuple[int, int]] = set()
    ended: dict[tuple[int, int], str] = {}
    size = len(data)
    for place in range(HEADER.size, len(data) - LINE_BYTES + 1, LINE_BYTES):
        line, check = data[place : place + LINE.size], data[place + LINE.size : place + LINE_BYTES]
        mark, row, attempt = LINE.unpack(line)
        if mark == b"\0":
            size = place
            break
        if check != _checksum(line):
            continue  # a line that was cut short when it was written
        if mark == BEFORE_DOT:
            begun.add((row, attempt))
        elif mark in STATES:
            ended[row, attempt] = STATES[mark]
    testimony = JournalContents(
        worker=worker.rstrip(b"\0").decode(),
        is_complete=its_boot.decode() == boot,
        started_attempts=frozenset(begun),
        outcomes=ended,
    )
    return testimony, size


def _pack(mark: bytes, row: int, attempt: int) -> bytes:
    line = LINE.pack(mark, row, attempt)
    return line + _checksum(line)


def _checksum(line: bytes) -> bytes:
    return zlib.crc32(line).to_bytes(4, "little")[:3]
