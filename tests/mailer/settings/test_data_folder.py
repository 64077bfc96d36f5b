"""A command in a wrong folder is refused: it names the folder, prints nothing else and makes nothing."""

import importlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lists.errors import Conflict, NotFound
from mailer import cli
from mailer.settings import data_folder, loading
from mailer.settings.data_folder import RESTORE_MARKER

MAKERS = {"serve", "db create", "db restore"}  # these may make a data folder
SETTINGS = {"config check", "config show"}  # these read settings that were written before a first start
WORDS: Mapping[str, tuple[str, ...]] = {  # the parameters that a command needs beyond the required ones
    "db backup": ("--passphrase-file", "{file}"),
    "list import": ("--consent", "the sheet of October 4"),
    "resource add": ("--link", "https://example.org/"),
    "outbox resolve": ("1", "--sent"),
    "postoffice advance": ("--next",),
}


def leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from leaves(f"{path} {name}", inner)
    else:
        yield path, command


COMMANDS = dict(
    leaf
    for name, (module, _) in cli.COMMANDS.items()
    for leaf in leaves(name, importlib.import_module(f"mailer.cli.{module}").command)
)
OTHERS = [name for name in COMMANDS if name not in MAKERS]


def words(name: str, file: Path) -> list[str]:
    """Return the command with a value for each required parameter."""
    arguments = [*name.split()]
    for parameter in COMMANDS[name].params:
        if parameter.required:
            kind = parameter.type
            value = str(file) if isinstance(kind, click.Path | click.File) else "1"
            value = str(kind.choices[0]) if isinstance(kind, click.Choice) else value
            arguments += [parameter.opts[-1], value] if isinstance(parameter, click.Option) else [value]
    return [*arguments, *(each.format(file=file) for each in WORDS.get(name, ()))]


Run = Callable[[str, Path], Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command on a data folder."""
    file = tmp_path / "file"
    file.touch(mode=0o600)
    file.write_text("---\nsubject: x\n---\nx\n")

    def run(name: str, home: Path) -> Result:
        environ = {"MAILER_HOME": str(home)}
        return CliRunner().invoke(cli.root, words(name, file), env=environ, standalone_mode=False)

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def absent(home: Path) -> None:
    pass


def empty(home: Path) -> None:
    home.mkdir()


def foreign(home: Path) -> None:
    (home / "secrets").mkdir(parents=True, mode=0o700)
    (home / "resources").mkdir()
    (home / "resources" / "notes.txt").write_text("mine")
    (home / "mailer.db").write_text("not a database")


def prepared(home: Path) -> None:
    home.mkdir()
    (home / "mailer.toml").write_text("port = 8123\n")


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("fill", [absent, empty, foreign, prepared])
def test_no_command_makes_anything_in_a_folder_that_is_not_its_own(
    run: Run, tmp_path: Path, name: str, fill: Callable[[Path], None]
) -> None:
    home = tmp_path / "home"
    fill(home)
    before = content(tmp_path)
    result = run(name, home)
    assert content(tmp_path) == {**before, str(tmp_path / "file"): (tmp_path / "file").read_bytes()}
    assert home.exists() == (fill is not absent)
    if fill is prepared and name in SETTINGS:
        assert str(home) in result.output
        return
    assert isinstance(result.exception, NotFound), result.output
    assert f"{home} holds no data of this service" in str(result.exception)
    assert f"MAILER_HOME says {home}" in str(result.exception)
    assert result.stdout == "", "nothing is answered that a script could take for an answer"


@pytest.mark.parametrize("name", [*OTHERS, "serve", "db create"])
def test_a_restore_that_was_interrupted_is_told_by_every_command(run: Run, tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    foreign(home)
    settings_file = home / "mailer.toml"
    settings_file.write_text("port = 8123\n")
    (home / RESTORE_MARKER).touch()
    before = content(home)
    result = run(name, home)
    assert isinstance(result.exception, Conflict), result.output
    assert f"A restore into {home} was interrupted" in str(result.exception)
    assert content(home) == before


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "MAILER_HOME is not set, so this is the default"),
        ({"MAILER_HOME": ""}, "MAILER_HOME is empty, so this is the default"),
        ({"MAILER_HOME": "~/maler"}, "MAILER_HOME says ~/maler."),
    ],
)
def test_it_says_how_the_folder_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], sentence: str
) -> None:
    with pytest.raises(NotFound, match=sentence):
        data_folder.require(tmp_path / "x", environ)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(loading, "default_home", lambda: tmp_path / "data")
    monkeypatch.delenv("MAILER_HOME", raising=False)
    result = CliRunner().invoke(cli.root, ["status"], env=environ, standalone_mode=False)
    assert str(tmp_path) in str(result.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["pepper", "links"])
def test_a_folder_that_lost_one_key_is_still_a_service_and_the_key_is_named(
    run: Run, tmp_path: Path, name: str
) -> None:
    home = tmp_path / "home"
    assert run("db create", home).exception is None
    (home / "secrets" / name).unlink()
    assert f"secrets/{name} is missing" in str(run("status", home).exception)
    shutil.rmtree(home / "secrets")
    assert "holds no data" in str(run("status", home).exception)
