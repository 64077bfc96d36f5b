"""A backup that eb00ebd sealed is put back by today's code, on both databases, whichever it was made on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import golden
from tests.databases import PostgresServer

# What processes leave behind is no part of a backup, nor are the words people are found by.
LEFT_OUT = {"alembic_version", "leases", "pulses", "runs", "search_words"}
# What a restore itself changes: what waited may have left, and it is written down that there was one.
RECKONED = {
    "attempts", "broadcasts", "editions", "events", "journeys", "outbox", "restores",
    "subscription_changes",
}  # fmt: skip
FILES = (
    "departures",
    "mailer.toml",
    "secrets/links",
    "secrets/pepper",
    "secrets/smtp_url",
    "secrets/metrics_token",
)


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path}/restored/mailer.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.empty()
    yield url
    server.drop(url)


def contents(url: str, table: str, columns: list[str]) -> list[str]:
    return sorted(repr(row) for row in golden.rows(url, table, columns=columns))


def test_the_old_backup_is_put_back(kind: str, empty_url: str, tmp_path: Path) -> None:
    home = tmp_path / "restored"
    secret = tmp_path / "passphrase"
    secret.touch(mode=0o600)
    secret.write_bytes((golden.FOLDER / "home" / "passphrase").read_bytes())
    environ = {"MAILER_HOME": str(home), "MAILER_DATABASE_URL": empty_url}
    backup = golden.FOLDER / "home" / "october.backup"
    ran = golden.command(environ, "db", "restore", backup, "--passphrase-file", secret)
    assert (ran.status, ran.refusal) == (0, "")
    then = f"sqlite:///{tmp_path}/then.db"  # as it was: later steps may have added columns
    golden.load(then)
    counted = golden.told(f"{kind}/tables.json")
    for table in sorted({*counted} - LEFT_OUT - RECKONED):
        columns = [name for name in golden.rows(then, table)[0] if name != "searchable"]
        assert contents(empty_url, table, columns) == contents(then, table, columns), table
    whose = ["id", "kind", "list", "contact_id"]
    assert set(contents(then, "outbox", whose)) <= set(contents(empty_url, "outbox", whose))
    assert set(contents(then, "attempts", ["id"])) <= set(contents(empty_url, "attempts", ["id"]))
    for name in FILES:
        assert (home / name).read_bytes() == (golden.FOLDER / "home" / name).read_bytes(), name
    digest = next((golden.FOLDER / "home" / "resources").iterdir())
    assert (home / "resources" / digest.name).read_bytes() == digest.read_bytes()
    held = golden.command(environ, "db", "status", "--json")
    assert held.json["held"] and held.json["may_have_left"] > 0
    assert golden.command(environ, "deliver", "--json").status == 2


def test_what_was_put_back_is_held_until_the_departures_of_then_are_merged(
    kind: str, installation: golden.Installation
) -> None:
    before = len(installation.messages())
    held = {"how": "''", "ended_at": "NULL", "reckoned_at": "NULL"}
    values = ", ".join(f"{key} = {value}" for key, value in held.items())
    golden.change(installation.url, f"UPDATE restores SET {values} WHERE how = 'departures'")
    installation.run("deliver", status=2)
    installation.settle()
    assert not installation.letters()
    merged = installation.run("db", "merge", installation.home / "departures", "--json").json
    assert merged["gap_settled"] and merged["damaged"] == 0 and merged["read"] > 0
    assert not installation.run("db", "status", "--json").json["held"]
    assert len(installation.messages()) >= before
