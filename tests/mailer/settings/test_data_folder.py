"""A command in the wrong folder says so: it names the folder, answers nothing and makes nothing."""

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

MAKERS = {"serve", "db create", "db restore"}  # what may make a data folder
SETTINGS = {"config check", "config show"}  # what looks at settings that were written before a first start
WORDS: Mapping[str, tuple[str, ...]] = {  # what a command needs beyond its required parameters
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
    """The command with a value for everything it needs."""
    found = [*name.split()]
    for parameter in COMMANDS[name].params:
        if parameter.required:
            kind = parameter.type
            value = str(file) if isinstance(kind, click.Path | click.File) else "1"
            value = str(kind.choices[0]) if isinstance(kind, click.Choice) else value
            found += [parameter.opts[-1], value] if isinstance(parameter, click.Option) else [value]
    return [*found, *(each.format(file=file) for each in WORDS.get(name, ()))]


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
    ran = run(name, home)
    assert content(tmp_path) == {**before, str(tmp_path / "file"): (tmp_path / "file").read_bytes()}
    assert home.exists() == (fill is not absent)
    if fill is prepared and name in SETTINGS:
        assert str(home) in ran.output
        return
    assert isinstance(ran.exception, NotFound), ran.output
    assert f"{home} holds no data of this service" in str(ran.exception)
    assert f"MAILER_HOME says {home}" in str(ran.exception)
    assert ran.stdout == "", "nothing is answered that a script could take for an answer"


@pytest.mark.parametrize("name", [*OTHERS, "serve", "db create"])
def test_a_restore_that_was_interrupted_is_told_by_every_command(run: Run, tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    foreign(home)
    prepared_too = home / "mailer.toml"
    prepared_too.write_text("port = 8123\n")
    (home / RESTORE_MARKER).touch()
    before = content(home)
    ran = run(name, home)
    assert isinstance(ran.exception, Conflict), ran.output
    assert f"A restore into {home} was interrupted" in str(ran.exception)
    assert content(home) == before


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "MAILER_HOME is not set, so this is the default"),
        ({"MAILER_HOME": ""}, "MAILER_HOME is empty, so this is the default"),
        ({"MAILER_HOME": "~/maler"}, "MAILER_HOME says ~/maler."),
    ],
)
def test_it_says_how_the_folder_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(NotFound, match=said):
        data_folder.require(tmp_path / "x", environ)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(loading, "default_home", lambda: tmp_path / "data")
    monkeypatch.delenv("MAILER_HOME", raising=False)
    ran = CliRunner().invoke(cli.root, ["status"], env=environ, standalone_mode=False)
    assert str(tmp_path) in str(ran.exception)
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
