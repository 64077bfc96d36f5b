"""Unread columns: what stands in columns that nobody reads, while it may say who wants no mail.

Such a column stops the file, because the people whom it would keep out would be written to. It is looked at
while the rows are read; a column with nothing in any cell stops nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from lists.tables import column_mapping, consent_cells, optout_columns
from lists.tables.column_mapping import FIELDS, MAIL_STATUS_FIELDS, ColumnMapping

MAX_VALUES = 1_000  # different ones of a column that are counted
MAX_STATES = 12  # a column with no more different cells than this may be one of states
VALUES_SHOWN = 3
COLUMNS_SHOWN = 6
INSTRUCTIONS = {True: "Say", False: "Take these rows out of the file, or say"}


class SuspectColumn:
    """One column that may say who wants no mail: by its heading, or by a cell that was seen."""

    def __init__(self, index: int, name: str, *, mapped: bool) -> None:
        self.index, self.name = index, name
        self.values: Counter[str] = Counter()
        self.by_heading = not mapped and optout_columns.matches_heading(name)
        self._is_group = optout_columns.is_group_heading(name)
        self._suspect_cells: Counter[str] = Counter()

    def inspect(self, text: str) -> None:
        """Look at one cell that has something in it."""
        if text in self.values or len(self.values) < MAX_VALUES:
            self.values[text] += 1
        if not self.by_heading and optout_columns.matches_cell(text, group=self._is_group):
            self._suspect_cells[text] += 1

    def find_stopping_cells(self) -> Counter[str]:
        """Return the cells for which this column stops the file; none when it does not."""
        if self.by_heading or self._is_mail_answer() or self._is_state_column():
            return self.values
        return self._suspect_cells

    def _is_state_column(self) -> bool:
        return len(self.values) <= MAX_STATES and optout_columns.is_state_column(self.values)

    def _is_mail_answer(self) -> bool:
        """Tell whether the heading is a word for mail, and something else than addresses stands under it."""
        said = (
            text for text in self.values if "@" not in text and consent_cells.parse_answer(text) != "nothing"
        )
        return optout_columns.is_mail_heading(self.name) and any(said)


class UnreadColumns:
    """Every column of a file of which nobody has said what it tells about mail."""

    def __init__(self, mapping: ColumnMapping) -> None:
        self._mapping = mapping
        self.state_columns = dict.fromkeys(
            mapping.find_indexes("state"), False
        )  # where anything stood in a column of states
        known = MAIL_STATUS_FIELDS | (FIELDS.keys() - {"tags"})
        looked_at = [
            (place, name)
            for place, (name, found) in enumerate(zip(mapping.columns, mapping.fields, strict=True))
            if found not in known
            and place not in mapping.waived_indexes
            and place not in mapping.silent_indexes
        ]
        self._suspects = [
            SuspectColumn(place, name, mapped=place in mapping.mapped_indexes)
            for place, name in looked_at
            if not optout_columns.is_other_channel(name)
        ]

    @property
    def has_columns(self) -> bool:
        """Whether there is any column to look at."""
        return bool(self._suspects or self.state_columns)

    def inspect(self, cells: Sequence[str], clean_cell: Callable[[str], str]) -> None:
        """Look at the cells of one row; `clean_cell` takes from a cell what surrounds its text."""
        for place in self.state_columns:
            if place < len(cells) and clean_cell(cells[place]):
                self.state_columns[place] = True
        for column in self._suspects:
            if column.index < len(cells) and (text := clean_cell(cells[column.index])):
                column.inspect(text)

    def describe(self, make_printable: Callable[[str], str]) -> str:
        """Return what stops the file and what to type, or ""; `make_printable` cuts a cell short."""
        found = [(column, column.find_stopping_cells()) for column in self._suspects]
        stopping = [(column, values) for column, values in found if values]
        told = [
            _describe_column(
                column,
                values,
                column_mapping.format_reference(self._mapping.columns, column.index),
                make_printable,
            )
            for column, values in stopping[:COLUMNS_SHOWN]
        ]
        if len(stopping) > COLUMNS_SHOWN:
            told.append(f"So may {len(stopping) - COLUMNS_SHOWN} more columns.")
        return "\n".join(told)


def _describe_column(
    column: SuspectColumn, values: Counter[str], name: str, make_printable: Callable[[str], str]
) -> str:
    often = [f"“{make_printable(text)}” ({number:,}×)" for text, number in values.most_common(VALUES_SHOWN)]
    more = len(values) - len(often)
    listed = ", ".join(often) + (f" and {more:,} more" if more > 0 else "")
    heading = f"The column “{make_printable(column.name)}”" if column.name else "A column without a heading"
    number = f" ({name})" if name != column.name else ""
    return (
        f"{heading}{number} may say who wants no mail, and it is not understood. In it: {listed}."
        f" {INSTRUCTIONS[column.by_heading]} what the column is:\n"
        f'  --map "{name}=state"        words there say it, such as subscribed and unsubscribed\n'
        f'  --map "{name}=refused"      a yes or a date there means that they want no mail\n'
        f'  --map "{name}=agreed"       only a yes there means that they want mail\n'
        f'  --ignore-column "{name}"    it says nothing about mail'
    )
