"""A first start creates everything, whenever it is killed; a lost database is never replaced silently."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lists.db import Database
from lists.errors import BadSettings, Conflict
from mailer import cli, migrations, service
from mailer.processes import bootstrap
from mailer.settings import key_check, keys
from mailer.settings.loading import Settings, secret_folder
from tests import people
from tests.clocks import StoppedClock


def settings_of(home: Path, database: Database) -> Settings:
    return Settings(home=home, database_url=database.url)


def run(home: Path, database: Database, *words: str) -> Result:
    environ = {"MAILER_HOME": str(home), "MAILER_DATABASE_URL": database.url}
    return CliRunner().invoke(cli.root, words, env=environ, standalone_mode=False)


def test_a_first_start_makes_keys_and_tables_and_notes_the_keys(
    empty_database: Database, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path / "home", empty_database)
    bootstrap.start(settings)
    assert migrations.is_up_to_date(empty_database)
    loaded_keys = keys.load(secret_folder(settings), create=False)
    with empty_database.read() as session:
        key_check.require_noted(session, loaded_keys, secret_folder(settings))
    bootstrap.start(settings)  # and the next start changes nothing
    assert keys.load(secret_folder(settings), create=False) == loaded_keys
    instance = service.build(settings)
    instance.require_noted()
    instance.close()


@pytest.mark.parametrize("last", ["folder", "tables", "pepper", "links"])
def test_a_first_start_that_was_killed_is_gone_on_with(
    empty_database: Database, tmp_path: Path, last: str
) -> None:
    settings = settings_of(tmp_path / "home", empty_database)
    keys.make_folder(secret_folder(settings))
    if last != "folder":
        migrations.upgrade(empty_database)
    if last in ("pepper", "links"):
        keys.load(secret_folder(settings))
    if last == "pepper":
        (secret_folder(settings) / "links").unlink()
    bootstrap.start(settings)
    service.build(settings).close()


def test_of_two_first_starts_on_one_database_exactly_one_notes_its_keys(
    empty_database: Database, tmp_path: Path
) -> None:
    """Two machines: each has a folder and keys of its own."""
    homes = [settings_of(tmp_path / name, empty_database) for name in ("one", "two")]

    def start(settings: Settings) -> str:
        try:
            bootstrap.start(settings)
        except BadSettings as refusal:
            return str(refusal)
        return ""

    with ThreadPoolExecutor(2) as threads:
        refusals = list(threads.map(start, homes))
    assert sorted(bool(each) for each in refusals) == [False, True], refusals
    refused_settings = homes[0 if refusals[0] else 1]
    assert "copy secrets/pepper from the machine that served this database first" in "".join(refusals)
    with pytest.raises((BadSettings, Conflict)):
        bootstrap.start(refused_settings)
    accepted_settings = homes[1 if refusals[0] else 0]
    service.build(accepted_settings).require_noted()


def test_a_second_machine_with_keys_of_its_own_is_refused_while_nobody_is_known_and_notes_nothing(
    empty_database: Database, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    bootstrap.start(settings_of(first, empty_database))
    for words in (["status"], ["work"], ["deliver"], ["db", "upgrade"], ["config", "check"], ["serve"]):
        ran = run(second, empty_database, *words)
        assert isinstance(ran.exception, Exception), words
        assert not second.exists()  # not even the first start of a second machine makes keys
    keys.load(second / "secrets")
    for words in (["status"], ["work"], ["deliver"], ["db", "upgrade"], ["config", "check"], ["serve"]):
        ran = run(second, empty_database, *words)
        assert "copy secrets/links from the machine that served this database first" in str(ran.exception)
        assert run(first, empty_database, "status").exception is None
    for name in keys.LOSS_SENTENCES:
        (second / "secrets" / name).write_text((first / "secrets" / name).read_text())
    assert run(second, empty_database, "status").exception is None


def test_a_database_that_was_lost_is_refused_until_it_is_said_that_an_empty_one_is_meant(
    empty_database: Database, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    keys.load(home / "secrets")
    for words in (["serve"], ["status"], ["work"], ["contact", "find", "ana"], ["config", "check"]):
        assert "empty or missing" in str(run(home, empty_database, *words).exception)
        assert "db restore" in str(run(home, empty_database, *words).exception)
    assert not migrations.has_tables(empty_database)
    if empty_database.file is not None:
        assert not empty_database.file.exists()
    assert run(home, empty_database, "db", "create").exception is not None  # without a confirmation
    assert not migrations.has_tables(empty_database)
    assert "is made" in run(home, empty_database, "db", "create", "--yes").output
    assert run(home, empty_database, "status").exception is None
    assert "holds a service already" in run(home, empty_database, "db", "create").output


def test_keys_that_people_depend_on_are_not_made_by_setting_up_again(
    database: Database, settings: Settings, clock: StoppedClock
) -> None:
    with database.write() as session:
        people.cleo(session, now=clock.now())
    for name in keys.LOSS_SENTENCES:
        (secret_folder(settings) / name).unlink()
    for start in (bootstrap.start, bootstrap.create):
        with pytest.raises(BadSettings, match="pepper is missing"):
            start(settings)
    assert not list(secret_folder(settings).iterdir())
