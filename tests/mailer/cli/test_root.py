"""The root command: quick, with help, and never a traceback."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import click
import pytest

from lists.errors import BadInput, BadSettings, Conflict, MailerError, NotFound, StorageError
from mailer import cli

FLUSHED_LATE = (
    "import sys, click\nfrom mailer import cli\n"
    "command = click.Command('x', callback=lambda: sys.stdout.write('x') and 0)\n"
    "cli.LazyGroup.get_command = lambda *_: command\n"
    "cli.main(['x'])"
)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    def fail(trouble: Exception) -> None:
        @click.command()
        def command() -> None:
            raise trouble

        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: command)

    return fail


def test_help_names_every_command_that_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    printed = capsys.readouterr().out
    for name in cli.LazyGroup().list_commands(click.Context(cli.root)):
        assert f"\n  {name} " in printed
        assert cli.COMMANDS[name][1] in " ".join(printed.split())


def test_help_imports_neither_database_nor_settings() -> None:
    code = "import sys\nfrom mailer import cli\ntry: cli.main(['--help'])\nfinally: print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"sqlalchemy", "pydantic", "rich", "starlette", "jinja2"} & set(loaded.split())


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["-m", "mailer", "--help"], ["-c", FLUSHED_LATE]])
def test_an_output_that_takes_nothing_is_told_in_a_sentence(arguments: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        ran = _run_with_output(full, arguments, unbuffered)
    assert ran.stderr == cli.OUTPUT_LOST.format(fault="No space left on device") + "\n"
    assert ran.returncode == cli.EXIT_TRY_AGAIN


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["-m", "mailer", "--help"], ["-c", FLUSHED_LATE]])
def test_a_reader_who_has_enough_is_quiet(arguments: list[str], unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        ran = _run_with_output(closed, arguments, unbuffered)
    assert (ran.returncode, ran.stderr) == (cli.EXIT_READER_GONE, "")


def test_a_process_without_an_output_does_its_work() -> None:
    words = [sys.executable, "-m", "mailer", "--help"]
    ran = subprocess.run(["sh", "-c", f"{shlex.join(words)} >&-"], stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")


def _run_with_output(
    stdout: TextIO, arguments: list[str], unbuffered: str
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, *arguments]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_fault_that_is_not_of_the_output_is_not_hidden(failing: Callable[[Exception], None]) -> None:
    failing(FileNotFoundError("a fault of ours"))
    with pytest.raises(FileNotFoundError):
        cli.main(["anything"])


def test_every_command_in_the_table_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.LazyGroup().list_commands(click.Context(cli.root)):
        assert run(name, "--help") == 0
        assert "Usage: mailer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (BadInput("Write a number."), 2),
        (NotFound("There is no call 7."), 2),
        (Conflict("The call is over."), 2),
        (StorageError("The database is busy."), 75),
    ],
)
def test_a_refusal_is_one_sentence_and_a_status(
    failing: Callable[[Exception], None],
    capsys: pytest.CaptureFixture[str],
    refusal: MailerError,
    status: int,
) -> None:
    failing(refusal)
    assert run("anything") == status
    assert capsys.readouterr().err == f"{refusal}\n"


def test_several_mistakes_in_the_settings_are_a_list(
    failing: Callable[[Exception], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(BadSettings(["port is wrong.", "motto is wrong."]))
    assert run("anything") == 2
    assert "  - port is wrong.\n  - motto is wrong.\n" in capsys.readouterr().err


def test_an_unknown_command_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sned") == 2
    assert "No such command 'sned'" in capsys.readouterr().err


def test_stopping_by_hand_is_quiet(
    failing: Callable[[Exception], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(KeyboardInterrupt())
    assert run("anything") == 130
    assert "Traceback" not in capsys.readouterr().err
