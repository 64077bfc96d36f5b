"""Staged rows: the rows of one file before they are imported, with the result of each.

It is a private, temporary SQLite database of this process without a name: its file is deleted as it is
created, so no personal data is left when the process ends for any reason. A million rows take a few megabytes
of memory.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple

from lists import geography
from lists.addresses import Address
from lists.tables.row_parsing import ImportRow, RowResult

OUTCOMES = ("added", "already", "left", "suppressed", "declined", "wrong")
UNDECIDED = ""
BATCH_ROWS = 250  # rows that are decided, or written, in one transaction; about 10 ms of work
CACHE_KIBIBYTES = 8_000
ROWS_TABLE = """
CREATE TABLE rows (
    number INTEGER PRIMARY KEY, line INTEGER NOT NULL, email TEXT NOT NULL, key TEXT UNIQUE, digest BLOB,
    name TEXT, language TEXT, zip TEXT, since TEXT, note TEXT, more TEXT,
    outcome TEXT NOT NULL, why TEXT NOT NULL, col TEXT NOT NULL DEFAULT '', cells TEXT
)
"""
EXCLUDED_TABLE = "CREATE TABLE kept_out (key TEXT PRIMARY KEY, line INTEGER NOT NULL)"
# Rows with an empty state, and the index of its column.
BLANK_STATES_TABLE = "CREATE TABLE blank (number INTEGER NOT NULL, place INTEGER NOT NULL)"


class StagedRow(NamedTuple):
    """A row with its number in the staging table."""

    number: int
    row: ImportRow


class Decision(NamedTuple):
    """The result of a staged row: one of OUTCOMES, and why."""

    number: int
    outcome: str
    why: str


class RefusedRow(NamedTuple):
    """A row that cannot be used: its line in the file, its cells as they are there, and why."""

    line: int
    cells: Sequence[str]
    why: str


class SkipCount(NamedTuple):
    """The number of people who were skipped for a reason, and by which column ("" for none)."""

    why: str
    column: str
    number: int


class StagingTable:
    """The rows of one file; use it in a with block, which closes it."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIBIBYTES}"):
            self._database.execute(f"PRAGMA {pragma}")
        for table in (ROWS_TABLE, EXCLUDED_TABLE, BLANK_STATES_TABLE):
            self._database.execute(table)
        self._database.execute("BEGIN")

    def __enter__(self) -> "StagingTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def add(self, row: ImportRow | RowResult, cells: Sequence[str]) -> None:
        """Add a row; its cells are stored only when it cannot be used."""
        if isinstance(row, RowResult):
            cells_json = json.dumps(list(cells)) if row.outcome == "wrong" else None
            self._database.execute(
                "INSERT INTO rows (line, email, outcome, why, col, cells) VALUES (?, ?, ?, ?, ?, ?)",
                (row.line, row.email, row.outcome, row.why, row.column, cells_json),
            )
            if row.key:
                self._database.execute("INSERT OR IGNORE INTO kept_out VALUES (?, ?)", (row.key, row.line))
            return
        cursor = self._database.execute(
            "INSERT INTO rows (line, email, key, digest, name, language, zip, since, note, more, outcome,"
            " why) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')",
            (
                row.line,
                row.address.email,
                row.address.key,
                row.address.digest,
                row.name,
                row.language,
                row.place.zip if row.place else "",
                row.since,
                row.note,
                json.dumps([row.values, row.tags]) if row.values or row.tags else None,
                UNDECIDED,
            ),
        )
        if row.blank_states:
            blank_states = [(cursor.lastrowid, index) for index in row.blank_states]
            self._database.executemany("INSERT INTO blank VALUES (?, ?)", blank_states)

    def exclude_rows(self, columns: Mapping[int, str]) -> None:
        """Exclude people whom another row excludes, and those whose state is empty in these columns.

        `columns` maps indexes to names.
        """
        self._database.execute(
            "UPDATE rows SET outcome = 'declined',"
            " why = 'line ' || kept_out.line || ' of the file keeps them out'"
            " FROM kept_out WHERE rows.key = kept_out.key AND rows.outcome = ?",
            (UNDECIDED,),
        )
        for index, name in columns.items():
            self._database.execute(
                "UPDATE rows SET outcome = 'declined', col = ?,"
                " why = 'nothing says that they want mail there'"
                " WHERE outcome = ? AND number IN (SELECT number FROM blank WHERE place = ?)",
                (name, UNDECIDED, index),
            )

    def find_line(self, key: str) -> int | None:
        """Return the line of an earlier row with this address, or None."""
        record = self._database.execute("SELECT line FROM rows WHERE key = ?", (key,)).fetchone()
        return None if record is None else int(record[0])

    def batches(self, outcome: str) -> Iterator[Sequence[StagedRow]]:
        """Yield the rows with this outcome, at most BATCH_ROWS at a time, in the file's order."""
        last_number = 0
        while batch := self._database.execute(
            "SELECT number, line, email, key, digest, name, language, zip, since, note, more FROM rows"
            " WHERE outcome = ? AND key IS NOT NULL AND number > ? ORDER BY number LIMIT ?",
            (outcome, last_number, BATCH_ROWS),
        ).fetchall():
            last_number = batch[-1][0]
            yield [StagedRow(number, _make_row(*values)) for number, *values in batch]

    def decide(self, decisions: Sequence[Decision]) -> None:
        """Record decisions."""
        self._database.executemany(
            "UPDATE rows SET outcome = ?, why = ? WHERE number = ?",
            [(decision.outcome, decision.why, decision.number) for decision in decisions],
        )

    def count(self, outcome: str) -> int:
        """Return how many rows have this outcome."""
        cursor = self._database.execute("SELECT count(*) FROM rows WHERE outcome = ?", (outcome,))
        return int(cursor.fetchone()[0])

    def counts(self) -> Mapping[str, int]:
        """Return how many rows have each outcome, in the order of OUTCOMES."""
        numbers = dict(
            self._database.execute("SELECT outcome, count(*) FROM rows GROUP BY outcome").fetchall()
        )
        return {outcome: numbers.get(outcome, 0) for outcome in OUTCOMES}

    def count_skipped(self) -> Sequence[SkipCount]:
        """Return how many people were skipped for each reason and column, the most frequent first."""
        cursor = self._database.execute(
            "SELECT CASE WHEN why LIKE 'line % of the file%' THEN 'another row of the file keeps them out'"
            " ELSE why END AS reason, col, count(*) FROM rows WHERE outcome = 'declined'"
            " GROUP BY reason, col ORDER BY count(*) DESC, reason, col"
        )
        return [SkipCount(*row) for row in cursor]

    def read_results(self) -> Iterator[RowResult]:
        """Yield the result of each row, in the file's order."""
        cursor = self._database.execute("SELECT line, email, outcome, why, col FROM rows ORDER BY number")
        for line, email, outcome, why, column in cursor:
            yield RowResult(line=line, email=email, outcome=outcome, why=why, column=column)

    def read_refused(self) -> Iterator[RefusedRow]:
        """Yield the rows that cannot be used, in the file's order."""
        cursor = self._database.execute(
            "SELECT line, cells, why FROM rows WHERE cells NOT NULL ORDER BY number"
        )
        for line, cells, why in cursor:
            yield RefusedRow(line, json.loads(cells), why)


def _make_row(
    line: int,
    email: str,
    key: str,
    digest: bytes,
    name: str,
    language: str,
    zip: str,
    since: str,
    note: str,
    more: str | None,
) -> ImportRow:
    values, row_tags = json.loads(more) if more else ({}, ())
    return ImportRow(
        line=line,
        address=Address(email=email, key=key, digest=digest),
        name=name,
        language=language,
        place=geography.find(zip) if zip else None,
        since=since,
        note=note,
        values=values,
        tags=row_tags,
    )
