"""Journal: what a worker was about to hand over and what it was answered, kept outside the database.

A database row cannot tell, after a `kill -9`, whether a message had reached the server: its outcome is
recorded a moment later, in a batch. So a worker writes sixteen bytes before each final dot and sixteen when
it is answered, straight into a file of its own that is mapped into memory: what stands there survives the
process, and writing it is no system call, at which a busy interpreter would change threads. The file is
allocated ahead, so a full disk is noticed early; nothing is sent when a line cannot be written.

The owner holds a lock on the file while it lives: a lock that can be had proves its death. The header holds
the machine's boot id: after a reboot the file may lack lines that were never flushed, and then only what it
does say counts.
"""

import fcntl
import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lists.errors import StorageTrouble

FOLDER = "journals"
SUFFIX, SETTLED = ".journal", ".settled"
HEADER = struct.Struct("<8s36s84s")  # magic, boot id, worker; as long as eight lines
LINE = struct.Struct("<cqI")  # mark, row, attempt; followed by three bytes of CRC-32
LINE_BYTES = LINE.size + 3
MAGIC = b"mailer\x002"
AHEAD = 1 << 20  # octets allocated and mapped at a time, 65,536 lines: none lies across two pieces

ABOUT = b">"  # the final dot is written next
MARKS = {"sent": b"S", "deferred": b"D", "refused": b"R", "unreachable": b"N", "unknown": b"U"}
STATES = {mark: state for state, mark in MARKS.items()}


class Journal:
    """The journal of this process; `about` and `answered` may be called from one thread only."""

    def __init__(self, folder: Path, *, worker: str, boot: str | None = None) -> None:
        """Begin a new file; raises StorageTrouble when it cannot be written."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{worker}.{secrets.token_hex(4)}"  # a worker may have one journal after another
            unfinished = folder / f"{name}.unfinished"
            self._file = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._allocated = self._end = 0
            self._piece: mmap.mmap | None = None
            self._write(HEADER.pack(MAGIC, (boot or boot_id()).encode(), worker.encode()))
            self.path = unfinished.rename(folder / f"{name}{SUFFIX}")  # nobody ever sees it unlocked
        except OSError as trouble:
            raise StorageTrouble(
                f"The journal in {folder} cannot be written: {trouble.strerror}."
            ) from trouble

    def about(self, row: int, attempt: int) -> None:
        """Write down that the final dot of this attempt is written next; raises OSError when it cannot be."""
        self._line(ABOUT, row, attempt)

    def answered(self, row: int, attempt: int, state: str) -> None:
        """Write down what became of this attempt (an Outcome's state); raises OSError when it cannot be."""
        self._line(MARKS[state], row, attempt)

    def close(self, *, settled: bool) -> None:
        """Let go of the file; `settled` says that the database knows all of it.

        A settled journal is kept for a while: an older backup that is restored does not know what it says.
        """
        if self._piece is not None:
            self._piece.close()
        if settled and self._end == HEADER.size:
            self.path.unlink()
        elif settled:
            os.ftruncate(self._file, self._end)
            self.path.rename(self.path.with_suffix(SETTLED))
        os.close(self._file)

    def _line(self, mark: bytes, row: int, attempt: int) -> None:
        line = LINE.pack(mark, row, attempt)
        self._write(line + _check(line))

    def _write(self, data: bytes) -> None:
        if self._piece is None or self._end == self._allocated:
            self._piece = self._next_piece()
        place = self._end % AHEAD
        self._piece[place : place + len(data)] = data
        self._end += len(data)

    def _next_piece(self) -> mmap.mmap:
        os.posix_fallocate(self._file, self._allocated, AHEAD)
        piece = mmap.mmap(self._file, AHEAD, offset=self._allocated)
        if self._piece is not None:
            self._piece.close()
        self._allocated += AHEAD
        return piece


@contextmanager
def writing(folder: Path, *, worker: str) -> Iterator[Journal]:
    """Begin a journal for the block; it is settled when the block ends well, else left for the rescue."""
    book = Journal(folder, worker=worker)
    try:
        yield book
    except BaseException:
        book.close(settled=False)
        raise
    book.close(settled=True)


@dataclass(frozen=True, kw_only=True)
class Testimony:
    """What a dead worker's journal says: which attempts were begun, and how those answered ended.

    `complete` is True where nothing can be missing: the machine has not been started anew since.
    """

    worker: str
    complete: bool
    begun: frozenset[tuple[int, int]] = field(repr=False)
    ended: Mapping[tuple[int, int], str] = field(repr=False)


@contextmanager
def of_the_dead(folder: Path, *, boot: str | None = None) -> Iterator[list[Testimony]]:
    """Read the journals whose owners are dead; when the block ends well they are marked as settled.

    While the block lasts their locks are held, so that no other process settles the same ones.
    """
    handles: list[tuple[int, Path]] = []
    try:
        told = []
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            handle = _take(path)
            if handle is None:
                continue
            handles.append((handle, path))
            testimony = _read(handle, boot or boot_id())
            if testimony is not None:
                told.append(testimony)
        yield told
        for _, path in handles:
            path.rename(path.with_suffix(SETTLED))
    finally:
        for handle, _ in handles:
            os.close(handle)


def read_all(folder: Path) -> Iterator[Testimony]:
    """Read every journal in a folder, as a lost machine left them; nothing is changed."""
    for path in sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{SETTLED}")]):
        with path.open("rb") as file:
            testimony = _read(file.fileno(), boot_id())
        if testimony is not None:
            yield testimony


def clear(folder: Path, *, before: datetime) -> int:
    """Delete settled journals last written before this moment; returns how many."""
    old = [path for path in folder.glob(f"*{SETTLED}") if path.stat().st_mtime < before.timestamp()]
    for path in old:
        path.unlink()
    return len(old)


def boot_id() -> str:
    """Return what names this run of the machine, 36 characters."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _take(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None  # settled by somebody else just now
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    if path.exists():
        return handle
    os.close(handle)
    return None


def _read(handle: int, boot: str) -> Testimony | None:
    """Read one journal; None for one whose owner died before its header was whole, so before it sent."""
    with os.fdopen(os.dup(handle), "rb") as file:
        file.seek(0)
        data = file.read()
    if len(data) < HEADER.size:
        return None
    magic, its_boot, worker = HEADER.unpack_from(data)
    if magic != MAGIC:
        return None
    begun: set[tuple[int, int]] = set()
    ended: dict[tuple[int, int], str] = {}
    for place in range(HEADER.size, len(data) - LINE_BYTES + 1, LINE_BYTES):
        line, check = data[place : place + LINE.size], data[place + LINE.size : place + LINE_BYTES]
        mark, row, attempt = LINE.unpack(line)
        if mark == b"\0":
            break
        if check != _check(line):
            continue  # a line that was cut short when it was written
        if mark == ABOUT:
            begun.add((row, attempt))
        elif mark in STATES:
            ended[row, attempt] = STATES[mark]
    return Testimony(
        worker=worker.rstrip(b"\0").decode(),
        complete=its_boot.decode() == boot,
        begun=frozenset(begun),
        ended=ended,
    )


def _check(line: bytes) -> bytes:
    return zlib.crc32(line).to_bytes(4, "little")[:3]
