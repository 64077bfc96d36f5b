"""Fixtures of the tests of the golden installation; see tests/golden.py."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests import golden
from tests.databases import PostgresServer
from tests.golden import Installation


@pytest.fixture(scope="session")
def golden_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden installation's SQLite file, migrated to the present version."""
    home = tmp_path_factory.mktemp("golden")
    golden.furnish(home, "sqlite")
    url = f"sqlite:///{home}/mailer.db"
    golden.load(url)
    golden.upgrade(url, home)
    return home / "mailer.db"


@pytest.fixture(scope="session")
def golden_database(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of the golden installation's PostgreSQL database, migrated to the present version."""
    home = tmp_path_factory.mktemp("golden")
    golden.furnish(home, "postgresql")
    url = postgres_server.empty()
    golden.load(url)
    golden.upgrade(url, home)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of database; the test runs once on each."""
    return str(request.param)


@pytest.fixture
def golden_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a copy of the golden database, in the folder of the test."""
    if kind == "sqlite":
        file: Path = request.getfixturevalue("golden_file")
        shutil.copy(file, tmp_path / "mailer.db")
        yield f"sqlite:///{tmp_path}/mailer.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.copy(request.getfixturevalue("golden_database"))
    yield url
    server.drop(url)


@pytest.fixture
def installation(kind: str, golden_url: str, tmp_path: Path) -> Iterator[Installation]:
    """The golden installation, running, after a restart of its machine."""
    golden.furnish(tmp_path, kind)
    with capture_logs():
        running = golden.opened(tmp_path, golden_url)
        yield running
        running.service.close()
