"""A lost or changed key is detected, while people depend on it, before another key is used."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lists import keyed_hash
from lists.db import Database
from lists.errors import BadSettings, Conflict
from lists.identity import erasure
from mailer.settings import key_check, keys
from mailer.settings.keys import Keys
from mailer.settings.loading import Settings, secret_folder
from tests.clocks import StoppedClock
from tests.people import Person

KeyLoader = Callable[[], Keys]


@pytest.fixture
def load_keys(settings: Settings, database: Database, keys: Keys) -> KeyLoader:
    """Read the keys as a start does, with a database that notes them."""
    with database.write() as session:
        key_check.note(session, keys, secret_folder(settings))
    return lambda: key_check.load_keys(database, secret_folder(settings))


def test_the_first_start_on_an_empty_database_makes_both_keys(
    empty_database: Database, tmp_path: Path
) -> None:
    with pytest.raises(BadSettings, match="pepper is missing"):
        key_check.load_keys(empty_database, tmp_path / "data" / "secrets")
    assert not (tmp_path / "data").exists()
    created = key_check.load_keys(empty_database, tmp_path / "data" / "secrets", create=True)
    assert created == keys.load(tmp_path / "data" / "secrets", create=False)


@pytest.mark.parametrize("name", ["pepper", "links"])
def test_a_lost_key_is_never_made_anew_while_somebody_is_known(
    load_keys: KeyLoader, settings: Settings, ben: Person, name: str
) -> None:
    (secret_folder(settings) / name).unlink()
    with pytest.raises(BadSettings, match=f"secrets/{name} is missing.*Put the file back from a backup"):
        load_keys()
    assert not (secret_folder(settings) / name).exists()


def test_a_lost_pepper_is_noticed_when_only_the_forgotten_are_left(
    load_keys: KeyLoader, settings: Settings, database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        erasure.erase_person(session, cleo.address, now=clock.now(), actor="test")
    (secret_folder(settings) / "pepper").unlink()
    with pytest.raises(BadSettings, match="which addresses must never be written to"):
        load_keys()


@pytest.mark.parametrize("name", ["pepper", "links"])
def test_another_key_is_noticed(load_keys: KeyLoader, settings: Settings, ben: Person, name: str) -> None:
    (secret_folder(settings) / name).write_text("ab" * 32)
    with pytest.raises(
        BadSettings, match=f"secrets/{name} is not the key that the database was written with"
    ):
        load_keys()


def test_a_database_from_before_there_were_fingerprints_keeps_its_keys(
    settings: Settings, database: Database, keys: Keys, ben: Person
) -> None:
    assert key_check.load_keys(database, secret_folder(settings)) == keys
    (secret_folder(settings) / "pepper").unlink()
    with pytest.raises(BadSettings, match="is missing"):
        key_check.load_keys(database, secret_folder(settings))


def test_a_database_that_knows_nobody_yet_keeps_the_keys_it_was_noted_with(
    load_keys: KeyLoader, settings: Settings, database: Database
) -> None:
    folder = secret_folder(settings)
    for name in ("pepper", "links"):
        (folder / name).unlink()
    with pytest.raises(BadSettings, match="copy secrets/pepper from the machine that served this database"):
        key_check.load_keys(database, folder, create=True)
    assert not list(folder.iterdir())
    keys.load(folder)  # as if a second machine had made its own
    with pytest.raises(BadSettings) as raised:
        load_keys()
    assert len(raised.value.mistakes) == 2


def test_noting_never_overwrites(
    load_keys: KeyLoader, settings: Settings, database: Database, keys: Keys
) -> None:
    other = Keys(pepper=b"p" * 32, links=keys.links)
    with pytest.raises(BadSettings, match="pepper is not the key"), database.write() as session:
        key_check.note(session, other, secret_folder(settings))
    assert load_keys() == keys


def test_a_database_that_says_no_keys_is_worked_on_by_nobody_but_the_first_start(
    settings: Settings, database: Database, keys: Keys
) -> None:
    with database.read() as session, pytest.raises(Conflict, match="Start “mailer serve” once"):
        key_check.require_noted(session, keys, secret_folder(settings))


def test_a_fingerprint_tells_nothing_of_the_key(keys: Keys) -> None:
    for name, key in (("pepper", keys.pepper), ("links", keys.links)):
        digest = key_check.compute_fingerprints(keys)[name]
        assert len(digest) == keyed_hash.OCTETS
        assert digest not in key and key[:8] not in digest
    assert key_check.compute_fingerprints(keys)["pepper"] != key_check.compute_fingerprints(keys)["links"]
