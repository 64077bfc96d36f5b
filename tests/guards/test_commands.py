"""Every command the front door names is there, explains itself, and answers scripts."""

import importlib
from collections.abc import Iterator

import click
import pytest

from mailer.cli import COMMANDS, LazyGroup

THERE = LazyGroup().list_commands(click.Context(LazyGroup()))
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
        for name in THERE
        for leaf in _leaves(name, importlib.import_module(f"mailer.cli.{COMMANDS[name][0]}").command)
    ]


def test_every_command_the_front_door_names_is_there() -> None:
    assert list(COMMANDS) == THERE


@pytest.mark.parametrize("name", THERE)
def test_the_front_door_says_what_the_command_says(name: str) -> None:
    module, line = COMMANDS[name]
    command = importlib.import_module(f"mailer.cli.{module}").command
    assert len(line) <= 65  # one line of help on the narrowest terminal
    assert command.help


def test_every_command_and_every_option_explains_itself() -> None:
    silent = [
        f"{name} {parameter.opts[0]}"
        for name, command in _all()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert not silent
    assert not [name for name, command in _all() if not command.help]


def test_every_command_that_tells_facts_answers_scripts() -> None:
    mute = [
        name
        for name, command in _all()
        if name.split()[-1] in FACTS and "as_json" not in {parameter.name for parameter in command.params}
    ]
    assert not mute
