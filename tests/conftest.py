"""Fixtures of every test: databases, a clock, settings, keys, and the three people."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from lists import db
from lists.db import Database
from mailer import service as composition
from mailer.compose.tokens import Links, Tokens
from mailer.service import Service
from mailer.settings.keys import Keys
from mailer.settings.loading import Settings
from mailer.tryout import time_machine
from tests import databases, people
from tests.clocks import StoppedClock
from tests.people import PEPPER, Person
from tests.relays import World


def missing(program: str) -> None:
    """Skip a test whose program is not installed; with CI=true it fails instead."""
    sentence = f"{program} is not installed; scripts/test installs it where it is root"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


@pytest.fixture(autouse=True)
def restore_umask() -> Iterator[None]:
    """Restore the umask that a command has changed, so that it does not affect the next test."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def sqlite_files(tmp_path_factory: pytest.TempPathFactory) -> databases.SqliteFiles:
    """The SQLite file that tests copy."""
    return databases.SqliteFiles(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[databases.PostgresServer]:
    """The PostgreSQL server of this test run, started by the first test that uses it."""
    programs = databases.postgres_programs()
    if programs is None:
        missing("PostgreSQL")
        return
    with databases.postgres(programs) as server:
        server.make_template()
        yield server


@pytest.fixture
def sqlite_url(sqlite_files: databases.SqliteFiles, tmp_path: Path) -> str:
    """The URL of a fresh SQLite database with every table."""
    return sqlite_files.fresh(tmp_path)


@pytest.fixture
def postgresql_url(postgres_server: databases.PostgresServer) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database with every table."""
    url = postgres_server.fresh()
    yield url
    postgres_server.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database with every table; the test runs once on each kind of database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh database with every table; the test runs once on each kind of database."""
    fresh_database = Database(database_url)
    yield fresh_database
    fresh_database.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table, as at the first start; the test runs once on each kind of database."""
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    fresh_database = Database(server.empty() if server else f"sqlite:///{tmp_path}/mailer.db")
    yield fresh_database
    fresh_database.dispose()
    if server:
        server.drop(fresh_database.url)


@pytest.fixture
def clock() -> StoppedClock:
    """A clock that stands still at a Tuesday in October 2026 until the test advances it."""
    return StoppedClock()


@pytest.fixture
def keys() -> Keys:
    """Constant keys, so that tokens and digests are constant."""
    return Keys(pepper=PEPPER, links=b"links key of the tests, 32 bytes")


@pytest.fixture
def settings(tmp_path: Path, keys: Keys, request: pytest.FixtureRequest) -> Settings:
    """The settings of a try-out in a temporary folder, on the test's database where it has one.

    The folder already contains `keys`, so that a service built from these settings finds Ana, Ben and Cleo.
    """
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    for name, key in [("pepper", keys.pepper), ("links", keys.links)]:
        (secrets / name).touch(mode=0o600)
        (secrets / name).write_text(key.hex())
    if "database_url" in request.fixturenames:
        return Settings(home=tmp_path, database_url=request.getfixturevalue("database_url"))
    return Settings(home=tmp_path)


@pytest.fixture
def service(settings: Settings, database: Database, clock: StoppedClock) -> Iterator[Service]:
    """The whole service over the test's database and clock, in one process."""

    def offset() -> timedelta:
        with database.read() as session:
            return time_machine.get_offset(session)

    clock.follow(offset)
    running_service = composition.build(settings, clock=clock)
    yield running_service
    running_service.close()


@pytest.fixture
def embedded(
    settings: Settings, sqlite_url: str, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """The whole service on SQLite, where a locked database is an error at once and not after ten seconds."""
    monkeypatch.setattr(db, "LOCK_WAIT_SECONDS", 0)
    running_service = composition.build(settings, clock=clock)
    event.listen(
        running_service.database.engine,
        "connect",
        lambda connection, _: connection.execute("PRAGMA synchronous=OFF"),
    )
    yield running_service
    running_service.close()


@pytest.fixture
def world(clock: StoppedClock) -> Iterator[World]:
    """A relay on the test's clock; log lines are captured instead of printed."""
    with capture_logs() as logs:
        yield World(clock, logs=logs)


@pytest.fixture
def tokens(keys: Keys) -> Tokens:
    """Tokens signed with the tests' key."""
    return Tokens(keys.links)


@pytest.fixture
def links(settings: Settings, tokens: Tokens) -> Links:
    """Links under the try-out's public URL."""
    return Links(settings.public_url, tokens)


@pytest.fixture
def ana(database: Database, clock: StoppedClock) -> Person:
    """Ana, organizer, New York, reads English, confirmed on the organizer list."""
    with database.write() as session:
        return people.ana(session, now=clock.now())


@pytest.fixture
def ben(database: Database, clock: StoppedClock) -> Person:
    """Ben, interested neighbor, Phoenix, reads Spanish, confirmed on the interest list."""
    with database.write() as session:
        return people.ben(session, now=clock.now())


@pytest.fixture
def cleo(database: Database, clock: StoppedClock) -> Person:
    """Cleo, Los Angeles, was confirmed on the interest list and left it."""
    with database.write() as session:
        return people.cleo(session, now=clock.now())
