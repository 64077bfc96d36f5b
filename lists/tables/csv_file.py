"""CSV file: a file of rows: its encoding and dialect, the names of its columns, and its records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import SEEK_END
from itertools import islice
from typing import BinaryIO

from lists.errors import BadInput
from lists.tables import address_lines, csv_records, encoding_detection
from lists.tables.csv_records import Record
from lists.tables.encoding_detection import TextEncoding

MAX_BYTES = 500_000_000
SAMPLE_LINES = 20


@dataclass(frozen=True, kw_only=True)
class TableFile:
    """An opened file; `columns` are the names in the line `header_line`, which is 0 for a roster.

    `records` can be iterated once and yields the rows after the names of the columns.
    """

    encoding: TextEncoding
    separator: str
    form: str
    columns: Sequence[str]
    header_line: int
    records: Iterator[Record]


def read(file: BinaryIO, *, encoding: str = "", separator: str = "") -> TableFile:
    """Return the table in a file that was opened for reading bytes.

    `encoding` and `separator` are names of lists.tables.encoding_detection and lists.tables.csv_records, or
    "" to detect them. Raises BadInput for a file that cannot be read as a whole, now or while the records are
    read.
    """
    if file.seek(0, SEEK_END) > MAX_BYTES:
        raise BadInput(f"The file is larger than {MAX_BYTES // 1_000_000} MB. Split it and import the parts.")
    text_encoding = encoding_detection.detect(file, encoding_name=encoding)
    first_lines = [*islice(csv_records.read_lines(file, text_encoding), SAMPLE_LINES)]
    if not separator and address_lines.is_roster(first_lines):
        return TableFile(
            encoding=text_encoding,
            separator="",
            form="a roster, an address a line",
            columns=address_lines.COLUMNS,
            header_line=0,
            records=address_lines.read_records(csv_records.read_lines(file, text_encoding)),
        )
    dialect = csv_records.detect(file, text_encoding, separator_name=separator)
    records = csv_records.read_records(file, text_encoding, dialect)
    header_line, names = next((record for record in records if any(record[1])), (1, []))
    return TableFile(
        encoding=text_encoding,
        separator=dialect.separator,
        form=f"cells parted by {dialect.separator}, {dialect.quoting}",
        columns=[name.strip() for name in names],
        header_line=header_line,
        records=records,
    )
