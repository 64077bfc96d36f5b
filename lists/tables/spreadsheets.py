"""A CSV file that people open in a spreadsheet: for one account's eyes, and no cell of it is ever run."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lists.errors import BadInput, Conflict

OWNER_ONLY = 0o600
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a cell that begins with one of these is run, not shown
SHIELD = "'"
Write = Callable[[Sequence[object]], None]


def shielded(cell: str) -> str:
    """Return a cell so that no spreadsheet takes it for a formula."""
    return SHIELD + cell if cell.startswith(FORMULA) else cell


def bare(cell: str) -> str:
    """Return a cell as it was before it was shielded."""
    return cell[1:] if cell.startswith(SHIELD) and cell[1:].startswith(FORMULA) else cell


@contextmanager
def writing(path: Path, columns: Sequence[str], *, mark: bool) -> Iterator[Write]:
    """Write a new CSV file (RFC 4180, UTF-8) that only this account may read; what it gives writes a row.

    `mark` puts a byte order mark first, without which some spreadsheets spoil accents. The file appears under
    its name when the block ends well, and not at all when it does not. Raises Conflict for a file that is
    there already, and BadInput for one that cannot be written.
    """
    if path.exists():
        raise Conflict(f"The file {path} is there already. Choose another name, or move it away first.")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except OSError as trouble:
        raise BadInput(f"The file {path} cannot be written: {trouble.strerror}.") from trouble
    try:
        with open(descriptor, "w", encoding="utf-8-sig" if mark else "utf-8", newline="") as file:  # noqa: PTH123
            writer = csv.writer(file)
            writer.writerow([shielded(name) for name in columns])
            yield lambda row: writer.writerow(["" if cell is None else shielded(str(cell)) for cell in row])
            file.flush()
            os.fsync(descriptor)
        unfinished.rename(path)
    finally:
        unfinished.unlink(missing_ok=True)
