"""CSV writer: writes a file that only one account may read, and of which no cell is run as a formula."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lists.errors import BadInput, Conflict

OWNER_ONLY = 0o600
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets run a cell that begins with one of these
FORMULA_ESCAPE = "'"
WriteRow = Callable[[Sequence[object]], None]


def escape_formula(cell: str) -> str:
    """Return a cell so that no spreadsheet runs it as a formula."""
    return FORMULA_ESCAPE + cell if cell.startswith(FORMULA_STARTS) else cell


def unescape_formula(cell: str) -> str:
    """Return a cell without the escape of a formula."""
    return cell[1:] if cell.startswith(FORMULA_ESCAPE) and cell[1:].startswith(FORMULA_STARTS) else cell


@contextmanager
def open_writer(path: Path, columns: Sequence[str], *, byte_order_mark: bool) -> Iterator[WriteRow]:
    """Write a new CSV file (RFC 4180, UTF-8) that only this account may read; yields a row writer.

    `byte_order_mark` writes a byte order mark first, without which some spreadsheets garble accents. The file
    appears under its name only when the block ends without an error. Raises Conflict for a file that exists
    already, and BadInput for one that cannot be written.
    """
    if path.exists():
        raise Conflict(f"The file {path} is there already. Choose another name, or move it away first.")
    temporary_path = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except OSError as error:
        raise BadInput(f"The file {path} cannot be written: {error.strerror}.") from error
    try:
        with open(descriptor, "w", encoding="utf-8-sig" if byte_order_mark else "utf-8", newline="") as file:  # noqa: PTH123
            writer = csv.writer(file)
            writer.writerow([escape_formula(name) for name in columns])
            yield lambda row: writer.writerow(
                ["" if cell is None else escape_formula(str(cell)) for cell in row]
            )
            file.flush()
            os.fsync(descriptor)
        temporary_path.rename(path)
    finally:
        temporary_path.unlink(missing_ok=True)
