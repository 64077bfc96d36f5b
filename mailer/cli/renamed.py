"""Renamed commands: an old name works for one more version, and says the new one."""

from collections.abc import Mapping
from typing import Any

import click


class RenamingGroup(click.Group):
    """A group that also accepts the old names of its commands, with a warning on the error output."""

    def __init__(self, *arguments: Any, renamed: Mapping[str, str] | None = None, **options: Any) -> None:
        """`renamed` maps each old name to the present one."""
        super().__init__(*arguments, **options)
        self._renamed = renamed or {}

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the present name and the command that the first argument names, and the other arguments."""
        name, path = args[0], ctx.command_path
        if name in self._renamed:
            present = self._renamed[name]
            click.echo(f"“{path} {name}” is now “{path} {present}”. The old name ends soon.", err=True)
            args = [present, *args[1:]]
        return super().resolve_command(ctx, args)
