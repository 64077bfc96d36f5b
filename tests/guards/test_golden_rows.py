"""The database of eb00ebd is brought up to date, and nobody and nothing of it is lost."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests import golden
from tests.databases import PostgresServer

# Who may be written to, and what proves it: no step of an upgrade may change any of it.
CONSENT = (
    "absences", "consents", "contacts", "declines", "departures", "fingerprints", "mailing_lists", "mergers",
    "subscriptions", "suppressions",
)  # fmt: skip


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path}/mailer.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.empty()
    yield url
    server.drop(url)


def consent(url: str, columns: dict[str, Sequence[str]]) -> dict[str, list[str]]:
    return {
        table: sorted(repr(row) for row in golden.rows(url, table, columns=columns.get(table, ())))
        for table in CONSENT
    }


def test_every_row_of_the_old_database_is_there_after_the_upgrade(
    kind: str, empty_url: str, tmp_path: Path
) -> None:
    golden.load(empty_url)
    golden.furnish(tmp_path, kind)
    counted = golden.told(f"{kind}/tables.json")
    assert golden.count(empty_url, counted) == counted
    columns = {table: list(golden.rows(empty_url, table)[0]) for table in CONSENT}
    before = consent(empty_url, columns)
    golden.upgrade(empty_url, tmp_path)
    environ = {"MAILER_HOME": str(tmp_path), "MAILER_DATABASE_URL": empty_url}
    checked = golden.command(environ, "db", "check")
    assert (checked.status, checked.out) == (0, "The database is up to date and whole.\n")
    assert golden.count(empty_url, counted) == counted
    assert consent(empty_url, columns) == before


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_golden_installation_has_something_in_every_table(kind: str) -> None:
    assert all(golden.told(f"{kind}/tables.json").values())
