"""Parameter types: whole numbers that every database can hold, and paths that the system can look up."""

from pathlib import Path
from typing import Any

import click

MAX_ROW = 2**63 - 1  # the largest number of a row
MAX_INTEGER = 2**31 - 1  # the largest value of an INTEGER on PostgreSQL
MAX_ROWS_SHOWN = 1_000_000
MAX_NAME_SHOWN = 60


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


class FilePath(click.Path):
    """A path that the system can look up, whether there is something or not; else a sentence says why."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; fails for a name that is too long, and for a folder of others."""
        path = Path(value)
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            pass  # the command says it, or makes it
        except (OSError, ValueError) as trouble:
            reason = trouble.strerror if isinstance(trouble, OSError) else "the name holds a zero octet"
            name = str(path)
            shown = name if len(name) <= MAX_NAME_SHOWN else f"{name[:MAX_NAME_SHOWN]}…"
            self.fail(f"The file {shown} cannot be used: {reason}. Please give another name.", param, ctx)
        return path


ROW = StoredNumber(MAX_ROW)
INTEGER = StoredNumber(MAX_INTEGER)  # a version, or how many
LIMIT = click.IntRange(1, MAX_ROWS_SHOWN)
FILE_PATH = FilePath()
