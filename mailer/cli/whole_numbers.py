"""Whole numbers: the types of arguments and options, each with a limit that every database can hold."""

from typing import Any

import click

MAX_ROW = 2**63 - 1  # the largest number of a row
MAX_INTEGER = 2**31 - 1  # the largest value of an INTEGER on PostgreSQL
MAX_ROWS_SHOWN = 1_000_000


class StoredNumber(click.IntRange):
    """A number that something was given; zero and numbers below it are never given, and not found later."""

    def __init__(self, largest: int) -> None:
        super().__init__(-largest, largest)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number; fails with a sentence for one that is too large to be stored anywhere."""
        number: int = click.INT.convert(value, param, ctx)
        if abs(number) > (self.max or 0):
            self.fail("That is larger than any number here. Please look at the number again.", param, ctx)
        return number


ROW = StoredNumber(MAX_ROW)
INTEGER = StoredNumber(MAX_INTEGER)  # a version, or how many
LIMIT = click.IntRange(1, MAX_ROWS_SHOWN)
