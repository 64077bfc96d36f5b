"""Undeclared columns: columns with no declared meaning that may say who wants no mail.

Such a column stops the import, because people whom it would exclude would be written to. Its cells are
inspected while the rows are read; a column without any text stops nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from lists.tables import column_mapping, refusal_wording, yes_no_cells
from lists.tables.column_mapping import FIELDS, MAIL_STATUS_FIELDS, ColumnMapping

MAX_VALUES = 1_000  # distinct cells of a column that are counted
MAX_STATES = 12  # distinct cells, at most, of a column of states
VALUES_SHOWN = 3
COLUMNS_SHOWN = 6
INSTRUCTIONS = {True: "Say", False: "Take these rows out of the file, or say"}


class SuspectColumn:
    """One column that may say who wants no mail: by its heading, or by one of its cells."""

    def __init__(self, index: int, name: str, *, mapped: bool) -> None:
        self.index, self.name = index, name
        self.values: Counter[str] = Counter()
        self.by_heading = not mapped and refusal_wording.matches_heading(name)
        self._is_group = refusal_wording.is_group_heading(name)
        self._suspect_cells: Counter[str] = Counter()

    def inspect(self, text: str) -> None:
        """Count one cell that is not empty."""
        if text in self.values or len(self.values) < MAX_VALUES:
            self.values[text] += 1
        if not self.by_heading and refusal_wording.matches_cell(text, group=self._is_group):
            self._suspect_cells[text] += 1

    def find_stopping_cells(self) -> Counter[str]:
        """Return the cells for which this column stops the import; none when it does not."""
        if self.by_heading or self._is_mail_answer() or self._is_state_column():
            return self.values
        return self._suspect_cells

    def _is_state_column(self) -> bool:
        return len(self.values) <= MAX_STATES and refusal_wording.is_state_column(self.values)

    def _is_mail_answer(self) -> bool:
        """Return whether the heading is a word for mail, and cells other than addresses are under it."""
        answers = (
            text for text in self.values if "@" not in text and yes_no_cells.parse_answer(text) != "nothing"
        )
        return refusal_wording.is_mail_heading(self.name) and any(answers)


class UnreadColumns:
    """Every column of a file whose meaning for mail was not declared."""

    def __init__(self, mapping: ColumnMapping) -> None:
        self._mapping = mapping
        # Column of states → whether any of its cells has a text.
        self.state_columns = dict.fromkeys(mapping.find_indexes("state"), False)
        known_fields = MAIL_STATUS_FIELDS | (FIELDS.keys() - {"tags"})
        candidates = [
            (index, name)
            for index, (name, field_name) in enumerate(zip(mapping.columns, mapping.fields, strict=True))
            if field_name not in known_fields
            and index not in mapping.waived_indexes
            and index not in mapping.silent_indexes
        ]
        self._suspects = [
            SuspectColumn(index, name, mapped=index in mapping.mapped_indexes)
            for index, name in candidates
            if not refusal_wording.is_other_channel(name)
        ]

    @property
    def has_columns(self) -> bool:
        """Whether there is any column to inspect."""
        return bool(self._suspects or self.state_columns)

    def inspect(self, cells: Sequence[str], clean_cell: Callable[[str], str]) -> None:
        """Inspect the cells of one row; `clean_cell` removes from a cell what surrounds its text."""
        for index in self.state_columns:
            if index < len(cells) and clean_cell(cells[index]):
                self.state_columns[index] = True
        for column in self._suspects:
            if column.index < len(cells) and (text := clean_cell(cells[column.index])):
                column.inspect(text)

    def describe(self, make_printable: Callable[[str], str]) -> str:
        """Return which columns stop the import and what to type, or ""; `make_printable` shortens a cell."""
        suspects = [(column, column.find_stopping_cells()) for column in self._suspects]
        stopping = [(column, values) for column, values in suspects if values]
        sentences = [
            _describe_column(
                column,
                values,
                column_mapping.format_reference(self._mapping.columns, column.index),
                make_printable,
            )
            for column, values in stopping[:COLUMNS_SHOWN]
        ]
        if len(stopping) > COLUMNS_SHOWN:
            sentences.append(f"So may {len(stopping) - COLUMNS_SHOWN} more columns.")
        return "\n".join(sentences)


def _describe_column(
    column: SuspectColumn, values: Counter[str], name: str, make_printable: Callable[[str], str]
) -> str:
    frequent_values = [
        f"“{make_printable(text)}” ({number:,}×)" for text, number in values.most_common(VALUES_SHOWN)
    ]
    remaining = len(values) - len(frequent_values)
    value_list = ", ".join(frequent_values) + (f" and {remaining:,} more" if remaining > 0 else "")
    heading = f"The column “{make_printable(column.name)}”" if column.name else "A column without a heading"
    reference = f" ({name})" if name != column.name else ""
    return (
        f"{heading}{reference} may say who wants no mail, and it is not understood. In it: {value_list}."
        f" {INSTRUCTIONS[column.by_heading]} what the column is:\n"
        f'  --map "{name}=state"        words there say it, such as subscribed and unsubscribed\n'
        f'  --map "{name}=refused"      a yes or a date there means that they want no mail\n'
        f'  --map "{name}=agreed"       only a yes there means that they want mail\n'
        f'  --ignore-column "{name}"    it says nothing about mail'
    )
