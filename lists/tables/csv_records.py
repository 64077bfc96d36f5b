"""CSV records: detect the separator and the quoting of a file, and read its records with their line numbers.

Most programs intend RFC 4180 and few follow it: spreadsheets of other countries write semicolons, databases
write tabs, pipes or backslashes. The first records are read in every dialect, and the dialect is chosen in
which they have as many cells as the first line has names. At most one record is in memory.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from lists.errors import BadInput
from lists.tables.encoding_detection import TextEncoding

SEPARATORS: Mapping[str, str] = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
SAMPLE_RECORDS = 50
MAX_LINE = 1_000_000  # characters
SAMPLE_CHARACTERS = 200_000

# Quoting styles, each as parameters of the csv module.
QUOTING: Mapping[str, Mapping[str, Any]] = {
    "double quotes": {"quotechar": '"', "doublequote": True},
    "double quotes and backslashes": {"quotechar": '"', "doublequote": False, "escapechar": "\\"},
    "single quotes": {"quotechar": "'", "doublequote": True},
}
SEPARATOR_LINE = re.compile(r"sep=([,;\t|])\r?\n?", re.IGNORECASE)  # a first line that Excel writes and reads
Record = tuple[int, list[str]]


@dataclass(frozen=True, kw_only=True)
class CsvDialect:
    """How cells are separated and quoted: names of SEPARATORS and QUOTING."""

    separator: str
    quoting: str


def detect(file: BinaryIO, encoding: TextEncoding, *, separator_name: str = "") -> CsvDialect:
    """Return the dialect of a file; `separator_name` is one of SEPARATORS, or "" to detect it.

    A file of one column has no separator and counts as comma-separated. Raises BadInput for an unknown
    `separator_name`, and for an empty file.
    """
    if separator_name and separator_name not in SEPARATORS:
        raise BadInput(
            f"“{separator_name}” is not a separator read here. These are: {', '.join(SEPARATORS)}."
        )
    sample = "".join(islice(read_lines(file, encoding, limit=SAMPLE_CHARACTERS), SAMPLE_RECORDS * 4))
    if not sample.strip():
        raise BadInput("The file is empty. Its first line must name the columns, one of them “email”.")
    if not separator_name and (hint := SEPARATOR_LINE.match(sample)):
        separator_name = next(name for name, separator in SEPARATORS.items() if separator == hint[1])
    scores = [
        (_score_dialect(sample, CsvDialect(separator=separator, quoting=quoting)), separator, quoting)
        for separator in ([separator_name] if separator_name else SEPARATORS)
        for quoting in QUOTING_EVIDENCE
    ]
    _, separator, quoting = max(scores, key=lambda score: score[0])  # the first of equal ones
    return CsvDialect(separator=separator, quoting=quoting)


def read_records(file: BinaryIO, encoding: TextEncoding, dialect: CsvDialect) -> Iterator[Record]:
    """Yield each record with the number of the line where it begins.

    Raises BadInput, with the line, for a NUL character, a line of more than a million characters, and a
    quotation mark that is never closed or stands in the middle of a cell.
    """
    reader = _make_reader(read_lines(file, encoding), dialect)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = "is never closed" if "end of data" in str(error) else "stands in the middle of a cell"
            if "limit" in str(error):
                problem = "opens a cell that is too long"
            raise BadInput(
                f"Line {line}: a quotation mark {problem}. Correct the row and import the file again."
            ) from error
        if line > 1 or not SEPARATOR_LINE.fullmatch(SEPARATORS[dialect.separator].join(cells)):
            yield line, cells


def _score_dialect(sample: str, dialect: CsvDialect) -> tuple[float, int]:
    """Return how well the records agree with the first one: the share with as many cells, and how many."""
    if not QUOTING_EVIDENCE[dialect.quoting](sample, SEPARATORS[dialect.separator]):
        return (-1.0, 0)
    records: list[Sequence[str]] = []
    penalty = 0.0
    try:
        for cells in islice(_make_reader(io.StringIO(sample, newline=""), dialect), SAMPLE_RECORDS):
            records += [cells] if cells else []
    except csv.Error as error:
        penalty = 0.0 if "end of data" in str(error) else 1.0  # the sample may end within a cell
    if not records or len(records[0]) == 1:
        return (0.0, 0)
    width = len(records[0])
    return (sum(len(cells) == width for cells in records) / len(records) - penalty, width)


def _accept_any(_sample: str, _separator: str) -> bool:
    return True


def _has_backslash_escapes(sample: str, separator: str) -> bool:
    r"""Return whether a backslash precedes a quotation mark that ends no cell; “C:\" may end one."""
    return re.search(r"\\\"[^\r\n" + re.escape(separator) + "]", sample) is not None


def _has_single_quotes(sample: str, _separator: str) -> bool:
    """Return whether the names of the columns are in single quotes; a leading apostrophe alone is none."""
    first = sample.splitlines()[0].strip()
    return first.startswith("'") and first.endswith("'")


# The evidence required for each quoting style; of styles with equal scores the first is chosen.
QUOTING_EVIDENCE: Mapping[str, Callable[[str, str], bool]] = {
    "double quotes and backslashes": _has_backslash_escapes,
    "single quotes": _has_single_quotes,
    "double quotes": _accept_any,
}


def _make_reader(lines: Any, dialect: CsvDialect) -> Any:
    separator = SEPARATORS[dialect.separator]
    return csv.reader(lines, delimiter=separator, strict=True, **QUOTING[dialect.quoting])


def read_lines(file: BinaryIO, encoding: TextEncoding, *, limit: int = 0) -> Iterator[str]:
    """Yield the lines, each with its line ending, and no more than about `limit` characters in all.

    Raises BadInput, with the line, for a NUL character and for a line of more than a million characters.
    """
    file.seek(encoding.mark_length)
    text = io.TextIOWrapper(file, encoding=encoding.codec, newline="")
    number = characters = 0
    try:
        while line := text.readline(MAX_LINE):
            number += 1
            if len(line) >= MAX_LINE:
                raise BadInput(
                    f"Line {number} is longer than a million characters, so this is not a CSV file."
                )
            if "\0" in line:
                raise BadInput(f"Line {number} holds a NUL character, so this is not a CSV file.")
            yield line
            characters += len(line)
            if limit and characters > limit:
                return
    finally:
        with suppress(ValueError):  # the file was closed before this generator
            text.detach()  # so that the file stays open after the last line
