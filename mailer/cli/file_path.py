"""File path: the type of every argument and option that names a file or a folder."""

from pathlib import Path
from typing import Any

import click

MAX_NAME_SHOWN = 60


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


FILE_PATH = FilePath()
