"""Unread columns: what stands in columns that nobody reads, while it may say who wants no mail.

Such a column stops the file, because the people whom it would keep out would be written to. It is looked at
while the rows are read; a column with nothing in any cell stops nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from lists.tables import column_mapping, consent_cells, optout_columns
from lists.tables.column_mapping import ABOUT_MAIL, FIELDS, Columns

MOST_VALUES = 1_000  # different ones of a column that are counted
FEW = 12  # a column with no more different cells than this may be one of states
VALUES_SHOWN = 3
COLUMNS_SHOWN = 6
SAY = {True: "Say", False: "Take these rows out of the file, or say"}


class Column:
    """One column that may say who wants no mail: by its heading, or by a cell that was seen."""

    def __init__(self, place: int, name: str, *, mapped: bool) -> None:
        self.place, self.name = place, name
        self.values: Counter[str] = Counter()
        self.by_heading = not mapped and optout_columns.in_heading(name)
        self._group = optout_columns.is_group(name)
        self._suspect: Counter[str] = Counter()

    def see(self, text: str) -> None:
        """Look at one cell that has something in it."""
        if text in self.values or len(self.values) < MOST_VALUES:
            self.values[text] += 1
        if not self.by_heading and optout_columns.in_cell(text, group=self._group):
            self._suspect[text] += 1

    def stops(self) -> Counter[str]:
        """Return the cells for which this column stops the file; none when it does not."""
        if self.by_heading or self._is_no_address() or self._is_of_states():
            return self.values
        return self._suspect

    def _is_of_states(self) -> bool:
        return len(self.values) <= FEW and optout_columns.in_all(self.values)

    def _is_no_address(self) -> bool:
        """Tell whether the heading is a word for mail, and something else than addresses stands under it."""
        said = (text for text in self.values if "@" not in text and consent_cells.answer(text) != "nothing")
        return optout_columns.asks_for_mail(self.name) and any(said)


class Unread:
    """Every column of a file of which nobody has said what it tells about mail."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.states = dict.fromkeys(
            columns.places("state"), False
        )  # where anything stood in a column of states
        known = ABOUT_MAIL | (FIELDS.keys() - {"tags"})
        looked_at = [
            (place, name)
            for place, (name, found) in enumerate(zip(columns.columns, columns.fields, strict=True))
            if found not in known and place not in columns.waived and place not in columns.silent
        ]
        self._watched = [
            Column(place, name, mapped=place in columns.mapped)
            for place, name in looked_at
            if not optout_columns.is_of_another_channel(name)
        ]

    @property
    def looks(self) -> bool:
        """Whether there is any column to look at."""
        return bool(self._watched or self.states)

    def see(self, cells: Sequence[str], plain: Callable[[str], str]) -> None:
        """Look at the cells of one row; `plain` takes from a cell what surrounds its text."""
        for place in self.states:
            if place < len(cells) and plain(cells[place]):
                self.states[place] = True
        for column in self._watched:
            if column.place < len(cells) and (text := plain(cells[column.place])):
                column.see(text)

    def sentence(self, shown: Callable[[str], str]) -> str:
        """Return what stops the file and what to type, "" when nothing does; `shown` cuts a cell short."""
        found = [(column, column.stops()) for column in self._watched]
        stopping = [(column, values) for column, values in found if values]
        told = [
            _told(column, values, column_mapping.said_as(self._columns.columns, column.place), shown)
            for column, values in stopping[:COLUMNS_SHOWN]
        ]
        if len(stopping) > COLUMNS_SHOWN:
            told.append(f"So may {len(stopping) - COLUMNS_SHOWN} more columns.")
        return "\n".join(told)


def _told(column: Column, values: Counter[str], name: str, shown: Callable[[str], str]) -> str:
    often = [f"“{shown(text)}” ({number:,}×)" for text, number in values.most_common(VALUES_SHOWN)]
    more = len(values) - len(often)
    listed = ", ".join(often) + (f" and {more:,} more" if more > 0 else "")
    heading = f"The column “{shown(column.name)}”" if column.name else "A column without a heading"
    number = f" ({name})" if name != column.name else ""
    return (
        f"{heading}{number} may say who wants no mail, and it is not understood. In it: {listed}."
        f" {SAY[column.by_heading]} what the column is:\n"
        f'  --map "{name}=state"        words there say it, such as subscribed and unsubscribed\n'
        f'  --map "{name}=refused"      a yes or a date there means that they want no mail\n'
        f'  --map "{name}=agreed"       only a yes there means that they want mail\n'
        f'  --ignore-column "{name}"    it says nothing about mail'
    )
