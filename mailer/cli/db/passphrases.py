"""Passphrases: typed without echo, or read from a file; never arguments, which other accounts can see."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lists.errors import BadInput
from mailer.backup import backup
from mailer.cli.parameter_types import FILE_PATH

OPEN_TO_OTHERS = 0o077
MAX_CHARACTERS = 4_000  # of a passphrase; a device may have no end
Function = TypeVar("Function", bound=Callable[..., Any])


def option(function: Function) -> Function:
    """Give a command the option `--passphrase-file`."""
    about = "Read the passphrase from the first line of this file; a descriptor is /dev/fd/3."
    return click.option("--passphrase-file", type=FILE_PATH, help=about)(function)


def ask_new(file: Path | None) -> bytes:
    """Return a new passphrase, from the file or typed twice; raises BadInput for one that is too short."""
    return backup.check_passphrase(_read_file(file) if file else _prompt(again=True))


def ask_existing(file: Path | None) -> bytes:
    """Return the passphrase of an existing backup, from the file or typed once."""
    return (_read_file(file) if file else _prompt(again=False)).encode()


def _prompt(*, again: bool) -> str:
    if not sys.stdin.isatty():
        raise BadInput("Nobody is here to type the passphrase; give a file with --passphrase-file.")
    passphrase: str = click.prompt("Passphrase", hide_input=True, confirmation_prompt=again, err=True)
    return passphrase


def _read_file(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as stream:
            status = os.fstat(stream.fileno())
            line = stream.readline(MAX_CHARACTERS + 1).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as trouble:
        raise BadInput(f"{file} cannot be read as a file with a passphrase.") from trouble
    if len(line) > MAX_CHARACTERS:
        raise BadInput(
            f"The first line of {file} is longer than {MAX_CHARACTERS:,} characters, so it is no passphrase."
        )
    if file.is_file() and status.st_mode & OPEN_TO_OTHERS:
        raise BadInput(f"{file} can be read by others on this machine; run: chmod 600 {file}")
    return line
