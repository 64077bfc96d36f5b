"""A backup holds everything, reveals nothing, and makes no other process wait."""

import json
from pathlib import Path

import pytest

from lists.db import Base
from lists.errors import Conflict, NotFound, StorageError
from mailer.backup import backup
from mailer.service import Service
from tests import commands
from tests.people import Person

PASSPHRASE = b"five plain words in a row"


def make_backup(service: Service, target: Path) -> backup.BackupSummary:
    return backup.make(
        target,
        PASSPHRASE,
        database=service.database,
        home=service.settings.home,
        now=service.clock.now(),
        progress=lambda _: None,
    )


def parts(target: Path) -> dict[str, bytes]:
    with target.open("rb") as file, backup.open_archive(file, PASSPHRASE) as tar:
        contents = {}
        for member in tar:
            data = tar.extractfile(member)
            assert data is not None
            contents[member.name] = data.read()
        return contents


def test_a_backup_holds_the_rows_the_keys_the_settings_and_the_journals(
    service: Service, ana: Person, ben: Person, cleo: Person, tmp_path: Path
) -> None:
    commands.mailer(service)("deliver")
    (tmp_path / "mailer.toml").write_text('motto.en = "Hello"\n')
    (tmp_path / "secrets" / "database_url").write_text("postgresql://another.example.org/mailer")
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "guide.pdf").write_bytes(b"%PDF")
    summary = make_backup(service, tmp_path / "monday")
    contents = parts(tmp_path / "monday")
    contacts = json.loads(contents["tables/contacts/000000"])
    assert [row[1] for row in contacts] == [ana.email, ben.email, cleo.email]
    for name in ("secrets/pepper", "secrets/links", "mailer.toml", "departures", "resources/guide.pdf"):
        assert contents[f"files/{name}"] == (tmp_path / name).read_bytes()
    assert any(name.startswith("files/journals/") for name in contents)
    assert (
        "files/secrets/database_url" not in contents
    )  # else a restored installation would use the old database
    end = json.loads(contents["end.json"])
    assert (end["contacts"], sum(end.values())) == (3, summary.rows)
    assert summary.octets == (tmp_path / "monday").stat().st_size


def test_nobody_else_can_read_it(service: Service, ben: Person, tmp_path: Path) -> None:
    target = tmp_path / "monday"
    make_backup(service, target)
    assert target.stat().st_mode & 0o777 == 0o600
    assert b"vecinos" not in target.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.suffix == backup.UNFINISHED]


def test_a_backup_never_overwrites_anything(service: Service, tmp_path: Path) -> None:
    (tmp_path / "monday").write_text("precious")
    with pytest.raises(Conflict, match="is there already"):
        make_backup(service, tmp_path / "monday")
    assert (tmp_path / "monday").read_text() == "precious"


def test_a_folder_that_is_missing_is_to_be_made_first(service: Service, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"There is no folder .*/missing\. Make it first: mkdir -p "):
        make_backup(service, tmp_path / "missing" / "monday")


def test_what_fails_in_the_middle_leaves_nothing_behind(
    service: Service, ben: Person, tmp_path: Path
) -> None:
    def fail(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backup.make(
            tmp_path / "monday", PASSPHRASE, database=service.database, home=tmp_path,
            now=service.clock.now(), progress=fail,
        )  # fmt: skip
    assert not [path.name for path in tmp_path.iterdir() if "monday" in path.name]
    with pytest.raises(StorageError, match="cannot be written"):
        make_backup(service, tmp_path / ("x" * 250))


def test_people_write_while_a_backup_reads_and_it_shows_one_moment(
    service: Service, ana: Person, ben: Person, tmp_path: Path
) -> None:
    def write(_: int) -> None:
        with service.database.write() as session:
            session.execute(Base.metadata.tables["subscriptions"].delete())

    summary = backup.make(
        tmp_path / "monday", PASSPHRASE, database=service.database, home=tmp_path,
        now=service.clock.now(), progress=write,
    )  # fmt: skip
    assert summary.rows
    assert json.loads(parts(tmp_path / "monday")["end.json"])["subscriptions"] == 2


def test_a_backup_by_command(service: Service, ben: Person, tmp_path: Path) -> None:
    mailer = commands.mailer(service)
    words = tmp_path / "words"
    words.touch(mode=0o600)
    words.write_text("short\n")
    target = tmp_path / "monday"
    assert "too short" in mailer("db", "backup", target, "--passphrase-file", words).refusal
    words.write_bytes(PASSPHRASE + b"\n")
    assert mailer("db", "backup", target, "--passphrase-file", words, "--json").json["files"] == 2
    assert parts(target)["files/secrets/pepper"]
    words.chmod(0o644)
    assert "chmod 600" in mailer("db", "backup", tmp_path / "b", "--passphrase-file", words).refusal
    assert "--passphrase-file" in mailer("db", "backup", tmp_path / "b").refusal
