"""Golden backup: a backup that eb00ebd made is restored by the present code, from and to both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import golden
from tests.databases import PostgresServer

# A backup contains neither the state of processes nor the search words.
LEFT_OUT = {"alembic_version", "leases", "pulses", "runs", "search_words"}
# Tables that a restore changes: queued messages may have been sent, and the restore itself is recorded.
CHANGED_BY_RESTORE = {
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


def read_contents(url: str, table: str, columns: list[str]) -> list[str]:
    return sorted(repr(row) for row in golden.rows(url, table, columns=columns))


def test_the_old_backup_is_restored(kind: str, empty_url: str, tmp_path: Path) -> None:
    home = tmp_path / "restored"
    secret = tmp_path / "passphrase"
    secret.touch(mode=0o600)
    secret.write_bytes((golden.FOLDER / "home" / "passphrase").read_bytes())
    environ = {"MAILER_HOME": str(home), "MAILER_DATABASE_URL": empty_url}
    backup = golden.FOLDER / "home" / "october.backup"
    restore = golden.command(environ, "db", "restore", backup, "--passphrase-file", secret)
    assert (restore.status, restore.refusal) == (0, "")
    old_url = f"sqlite:///{tmp_path}/then.db"  # the columns of eb00ebd: later migrations may have added some
    golden.load(old_url)
    counts = golden.told(f"{kind}/tables.json")
    for table in sorted({*counts} - LEFT_OUT - CHANGED_BY_RESTORE):
        columns = [name for name in golden.rows(old_url, table)[0] if name != "searchable"]
        assert read_contents(empty_url, table, columns) == read_contents(old_url, table, columns), table
    owner_columns = ["id", "kind", "list", "contact_id"]
    assert set(read_contents(old_url, "outbox", owner_columns)) <= set(
        read_contents(empty_url, "outbox", owner_columns)
    )
    assert set(read_contents(old_url, "attempts", ["id"])) <= set(
        read_contents(empty_url, "attempts", ["id"])
    )
    for name in FILES:
        assert (home / name).read_bytes() == (golden.FOLDER / "home" / name).read_bytes(), name
    digest = next((golden.FOLDER / "home" / "resources").iterdir())
    assert (home / "resources" / digest.name).read_bytes() == digest.read_bytes()
    status = golden.command(environ, "db", "status", "--json")
    assert status.json["held"] and status.json["may_have_left"] > 0
    assert golden.command(environ, "deliver", "--json").status == 2


def test_a_restored_service_holds_messages_until_the_departures_are_merged(
    kind: str, installation: golden.Installation
) -> None:
    before = len(installation.messages())
    unfinished = {"how": "''", "ended_at": "NULL", "reckoned_at": "NULL"}
    values = ", ".join(f"{key} = {value}" for key, value in unfinished.items())
    golden.change(installation.url, f"UPDATE restores SET {values} WHERE how = 'departures'")
    installation.run("deliver", status=2)
    installation.settle()
    assert not installation.letters()
    result = installation.run("db", "merge", installation.home / "departures", "--json").json
    assert result["gap_settled"] and result["damaged"] == 0 and result["read"] > 0
    assert not installation.run("db", "status", "--json").json["held"]
    assert len(installation.messages()) >= before
