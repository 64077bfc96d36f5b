"""Commands: every command of the table exists, has help texts, and prints JSON for scripts."""

import importlib
from collections.abc import Iterator

import click
import pytest

from mailer.cli import COMMANDS, LazyGroup
from mailer.cli.parameter_types import FilePath

NAMES = LazyGroup().list_commands(click.Context(LazyGroup()))
MAX_STORED = 2**63 - 1  # the largest integer of both databases
FACTS = ("list", "show", "stats", "status")


def _leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _leaves(f"{path} {name}", inner)
    else:
        yield path, command


def _all() -> list[tuple[str, click.Command]]:
    return [
        leaf
        for name in NAMES
        for leaf in _leaves(name, importlib.import_module(f"mailer.cli.{COMMANDS[name][0]}").command)
    ]


def test_every_command_of_the_table_exists() -> None:
    assert list(COMMANDS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_a_short_line_in_the_table_and_a_help_text(name: str) -> None:
    module, line = COMMANDS[name]
    command = importlib.import_module(f"mailer.cli.{module}").command
    assert len(line) <= 65  # one line of help on the narrowest terminal
    assert command.help


def test_every_command_and_every_option_has_a_help_text() -> None:
    options_without_help = [
        f"{name} {parameter.opts[0]}"
        for name, command in _all()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert not options_without_help
    assert not [name for name, command in _all() if not command.help]


def test_every_command_that_prints_facts_prints_json() -> None:
    commands_without_json = [
        name
        for name, command in _all()
        if name.split()[-1] in FACTS and "as_json" not in {parameter.name for parameter in command.params}
    ]
    assert not commands_without_json


def test_every_whole_number_has_a_limit() -> None:
    unlimited = {
        f"{name} {parameter.name}"
        for name, command in _all()
        for parameter in command.params
        if isinstance(parameter.type, click.types.IntParamType) and not _has_limits(parameter.type)
    }
    assert not unlimited, "use a type of mailer/cli/parameter_types.py"
    assert not any(
        isinstance(parameter.type, click.types.FloatParamType)
        for _, command in _all()
        for parameter in command.params
    )


def _has_limits(kind: click.types.IntParamType) -> bool:
    if not isinstance(kind, click.IntRange) or kind.min is None or kind.max is None:
        return False
    return -MAX_STORED <= kind.min <= kind.max <= MAX_STORED


def test_every_path_is_looked_up_before_the_command_begins() -> None:
    kinds = {
        f"{name} {parameter.name}": type(parameter.type)
        for name, command in _all()
        for parameter in command.params
        if isinstance(parameter.type, click.Path)
    }
    assert kinds
    assert {name for name, kind in kinds.items() if kind is not FilePath} == set()
