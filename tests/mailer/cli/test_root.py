"""The root command: quick, with help, and never a traceback."""

import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from lists.errors import BadInput, BadSettings, Conflict, MailerError, NotFound, StorageError
from mailer import cli


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
