"""Databases: real databases for tests: a SQLite file, and a PostgreSQL server in a temporary folder."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, text

from lists.db import Base, Database
from mailer import migrations
from mailer.tables import TABLES

ROOT = Path(__file__).parent.parent
START_SECONDS = 20
PLAIN = ("max_connections=100", "listen_addresses=")
PLAIN_ENVIRON: Mapping[str, str] = {}
FAST = (*PLAIN, "fsync=off", "synchronous_commit=off", "full_page_writes=off")


def make_tables(database: Database) -> None:
    """Create every table by the migrations, as in production.

    A table whose migration is not written yet is created as well, so that it can be tried at once;
    tests/guards/test_migrations.py requires the migration.
    """
    migrations.upgrade(database)
    Base.metadata.create_all(database.engine, tables=TABLES)


class SqliteFiles:
    """One file with every table, created once and copied for each test."""

    def __init__(self, folder: Path) -> None:
        self._template = folder / "template.db"
        database = Database(f"sqlite:///{self._template}")
        make_tables(database)
        database.dispose()

    def fresh(self, folder: Path) -> str:
        """Return the URL of a new database in this folder."""
        shutil.copy(self._template, folder / "mailer.db")
        return f"sqlite:///{folder}/mailer.db"


class PostgresServer:
    """A running server; `fresh` copies a template database with every table, `crash` ends its processes."""

    def __init__(self, socket_folder: Path, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._socket_folder = socket_folder
        self._start = start
        self._process = start()

    @property
    def pid(self) -> int:
        """The process that all other processes of the server descend from."""
        return self._process.pid

    def crash(self, *, seconds: float = 0.0) -> None:
        """End every process of the server at once, as a crash does, and start it again after `seconds`."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=START_SECONDS)
        time.sleep(seconds)
        self._process = self._start()

    def stop(self) -> None:
        """Stop the server; connected clients are disconnected."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=START_SECONDS)

    def make_template(self) -> None:
        """Create the database that `fresh` copies."""
        self._create("template_service", template="template0")
        database = Database(self._url("template_service"))
        make_tables(database)
        database.dispose()

    def fresh(self) -> str:
        """Return the URL of a new database."""
        name = f"test_{uuid4().hex}"
        self._create(name, template="template_service")
        return self._url(name)

    def empty(self) -> str:
        """Return the URL of a new database without any table."""
        name = f"test_{uuid4().hex}"
        self._create(name, template="template0")
        return self._url(name)

    def copy(self, url: str) -> str:
        """Return the URL of a new database with a copy of this one, whose clients are disconnected."""
        name, template = f"test_{uuid4().hex}", url.partition("?")[0].rpartition("/")[2]
        self._run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{template}'")
        self._create(name, template=template)
        return self._url(name)

    def drop(self, url: str) -> None:
        """Drop a database, even with connected clients."""
        name = url.partition("?")[0].rpartition("/")[2]
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _create(self, name: str, *, template: str) -> None:
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')

    def _run(self, statement: str) -> None:
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def _url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={self._socket_folder}"


def postgres_programs() -> Path | None:
    """Return the folder of initdb and postgres, the newest that is installed, or None."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    program = installed[-1] if installed else Path(on_path).resolve() if on_path else None
    return program.parent if program else None


@contextmanager
def postgres(
    programs: Path,
    *,
    settings: Sequence[str] = FAST,
    access: str = "",
    environ: Mapping[str, str] = PLAIN_ENVIRON,
) -> Iterator[PostgresServer]:
    """Run a server that listens only on a socket in a temporary folder, and that ends with this process.

    `access` are lines of pg_hba.conf instead of its own, `environ` variables of its environment.
    """
    folder = Path(tempfile.mkdtemp(prefix="mailer-postgresql-"))
    data, rules = folder / "data", folder / "pg_hba.conf"
    if access:
        rules.write_text(access)
        rules.chmod(0o644)
        settings = (*settings, f"hba_file={rules}")
    account: list[str] = []
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        account = [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
    setpriv = ["setpriv", *account, "--pdeathsig", "INT"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environ}
    initdb = [*setpriv, programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
    subprocess.run(initdb, check=True, capture_output=True, env=environment, cwd="/")
    options = [
        part for setting in (*settings, f"unix_socket_directories={folder}") for part in ("-c", setting)
    ]

    def start() -> subprocess.Popen[bytes]:
        with (folder / "log").open("ab") as log:
            command = [*setpriv, programs / "postgres", "-D", data, *options]
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd="/")
        _wait_for(programs, folder, process, environment)
        return process

    server = PostgresServer(folder, start)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(
    programs: Path, folder: Path, server: subprocess.Popen[bytes], environment: Mapping[str, str]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    pg_isready = [programs / "pg_isready", "-q", "-h", folder]
    while subprocess.run(pg_isready, env=environment, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("PostgreSQL did not start: " + (folder / "log").read_text("utf-8"))
        time.sleep(0.05)
