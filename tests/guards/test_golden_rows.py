"""Golden rows: the database of eb00ebd is migrated, and no row is lost."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests import golden
from tests.databases import PostgresServer

# Permissions and their evidence: no migration may change a row of these tables.
CONSENT_TABLES = (
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


def read_consent_tables(url: str, columns: dict[str, Sequence[str]]) -> dict[str, list[str]]:
    return {
        table: sorted(repr(row) for row in golden.rows(url, table, columns=columns.get(table, ())))
        for table in CONSENT_TABLES
    }


def test_every_row_of_the_old_database_exists_after_the_upgrade(
    kind: str, empty_url: str, tmp_path: Path
) -> None:
    golden.load(empty_url)
    golden.furnish(tmp_path, kind)
    counts = golden.told(f"{kind}/tables.json")
    assert golden.count(empty_url, counts) == counts
    columns = {table: list(golden.rows(empty_url, table)[0]) for table in CONSENT_TABLES}
    before = read_consent_tables(empty_url, columns)
    golden.upgrade(empty_url, tmp_path)
    environ = {"MAILER_HOME": str(tmp_path), "MAILER_DATABASE_URL": empty_url}
    check = golden.command(environ, "db", "check")
    assert (check.status, check.out) == (0, "The database is up to date and whole.\n")
    assert golden.count(empty_url, counts) == counts
    assert read_consent_tables(empty_url, columns) == before


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_golden_installation_has_a_row_in_every_table(kind: str) -> None:
    assert all(golden.told(f"{kind}/tables.json").values())
