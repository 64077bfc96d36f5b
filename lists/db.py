"""The database: one engine, two kinds of transaction, a time type that refuses naive datetimes.

SQLite (WAL, synchronous=FULL) is the default and is held in one file; PostgreSQL is used by URL. Every
statement of the house runs on both.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Delete,
    Dialect,
    Engine,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    TypeDecorator,
    Update,
    create_engine,
    event,
    literal_column,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from sqlalchemy.types import TypeEngine

from lists.errors import StorageError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LOCK_WAIT_SECONDS = 10.0  # for a lock that somebody else holds, and for a free connection
LOCK_POLL_MILLISECONDS = 4
CHECKPOINT_WAIT_MILLISECONDS = 100
POOL_SIZE = 12  # as many threads as may hold a connection at once; more wait their turn
FOREIGN_KEY_VIOLATION = "23503"  # foreign_key_violation, PostgreSQL appendix A
# A machine that is cut off keeps its locks, and everybody waits for them, until the server gives it up: by
# default after two hours. So an open transaction in which nothing is asked ends soon, and both sides notice
# a peer that does not answer any more (libpq's parameters, and the server's of the same names).
IDLE_TRANSACTION_SECONDS = 15
HALTED_SECONDS = 10.0  # for the rest of a batch of statements that a client has begun to send
CONNECT_SECONDS = 5
TCP_TIMEOUT_SECONDS = 15
KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_COUNT = 10, 5, 3
UNREACHABLE = "The database does not answer. Nothing was changed; please try again."
BUSY = "The database is busy. Nothing was changed; please try again in a moment."


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: an aware datetime in Python, microseconds since 1970 UTC in the database.

    A whole number compares, sorts and adds the same on both databases and takes eight bytes. A naive
    datetime raises TypeError, because nobody can say what moment it means.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Turn an aware datetime into microseconds."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"a naive datetime has no place in the database: {value!r}")
        return (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Turn microseconds into an aware datetime in UTC."""
        return None if value is None else EPOCH + timedelta(microseconds=value)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Compare with datetimes as moments and with whole numbers as microseconds."""
        return BigInteger() if isinstance(value, int) else self


Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts rows only in a column called INTEGER
PrimaryKey = Annotated[int, mapped_column(Id, primary_key=True)]
Timestamp = Annotated[datetime, mapped_column(UtcDateTime)]


class Base(DeclarativeBase):
    """The root of every table of both packages."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def partial_index(name: str, *columns: str, state: str) -> Index:
    """Return an index of only the rows in one state; a query must name that state as a constant."""
    only: ColumnElement[bool] = literal_column(f"state = '{state}'")
    return Index(name, *columns, sqlite_where=only, postgresql_where=only)


class Database:
    """One database by URL, and the two ways to stand in it: `write()` and `read()`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self.dialect = self.engine.dialect.name
        one_moment = {"isolation_level": "REPEATABLE READ"} if self.dialect == "postgresql" else {}
        self._read_engine = self.engine.execution_options(read_only=True, **one_moment)
        self._write_lock = threading.Lock()

    @property
    def file(self) -> Path | None:
        """The file of an embedded database, which need not be there yet; None for a server's."""
        named = self.engine.url.database
        return Path(named) if self.dialect == "sqlite" and named else None

    @contextmanager
    def write(self, *, long: bool = False) -> Iterator[Session]:
        """Open one transaction that commits at the end of the block and rolls back on any error.

        On SQLite it takes the write lock at once (BEGIN IMMEDIATE): a transaction that reads first and writes
        later can otherwise fail in the middle. Raises StorageError when the database is locked or full; then
        nothing of the block has happened. One that may rest for longer than IDLE_TRANSACTION_SECONDS between
        two statements is `long`, else PostgreSQL ends it.
        """
        with self._hold_write_lock(), _open_session(self.engine) as session, session.begin():
            if long:
                self._allow_idle_transaction(session)
            yield session

    def _allow_idle_transaction(self, session: Session) -> None:
        if self.dialect == "postgresql":
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))

    @contextmanager
    def _hold_write_lock(self) -> Iterator[None]:
        """Wait until no other thread of this process writes: SQLite could only be asked again and again."""
        if self.dialect != "sqlite":
            yield
            return
        if not self._write_lock.acquire(timeout=LOCK_WAIT_SECONDS):
            raise StorageError(BUSY)
        try:
            yield
        finally:
            self._write_lock.release()

    @contextmanager
    def read(self, *, long: bool = False) -> Iterator[Session]:
        """Open one transaction for reading only; it sees one moment of the database and never waits.

        `long` as in `write`: for what is read a part at a time, each handed on to a slow disk or reader.
        """
        with _open_session(self._read_engine) as session:
            if long:
                self._allow_idle_transaction(session)
            yield session

    def measure_clock_skew(self, machine: Callable[[], datetime]) -> timedelta:
        """Return how far the database's clock is ahead of a machine's, to within half of the answer's way.

        Nothing on SQLite, which has no other clock than the machine's.
        """
        if self.dialect != "postgresql":
            return timedelta(0)
        with self.read() as session:
            session.connection()  # opening one takes time that is no difference
            before = machine()
            theirs = session.scalar(text("SELECT clock_timestamp()"))
            after = machine()
        assert isinstance(theirs, datetime)
        return theirs - (before + (after - before) / 2)

    def truncate_wal(self) -> bool:
        """Move SQLite's log into its file and cut it, so that nothing erased can be read there any more.

        Tells whether that is done: not while somebody reads in an older moment. PostgreSQL has no such file.
        """
        if self.dialect != "sqlite":
            return True
        raw = self.engine.raw_connection()
        try:
            driver: Any = raw.driver_connection
            driver.execute(f"PRAGMA busy_timeout={CHECKPOINT_WAIT_MILLISECONDS}")
            try:
                busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                driver.execute(f"PRAGMA busy_timeout={int(LOCK_WAIT_SECONDS * 1000)}")
            return not busy
        except sqlite3.OperationalError:
            return False
        finally:
            raw.close()

    def end_halted(self, *, seconds: float = HALTED_SECONDS) -> int:
        """End transactions whose client stands still amid a batch of statements; returns how many.

        They hold their locks for as long: PostgreSQL counts them as active, so what ends an idle transaction
        (IDLE_TRANSACTION_SECONDS) passes over them. Only those of programs with the name of this one are ended.
        """
        if self.dialect != "postgresql":
            return 0
        with self.write() as session:
            return session.scalar(_END_HALTED, {"seconds": seconds}) or 0

    def dispose(self) -> None:
        """Close every connection of this process."""
        self.engine.dispose()


_END_HALTED = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND application_name = current_setting('application_name')"
    " AND state = 'active' AND wait_event = 'ClientRead'"
    " AND state_change < clock_timestamp() - make_interval(secs => :seconds)"
)


@contextmanager
def _open_session(engine: Engine) -> Iterator[Session]:
    try:
        with Session(engine, expire_on_commit=False) as session:
            yield session
    except DBAPIError as trouble:
        told = _translate_error(trouble)
        if told is None:
            raise
        raise told from trouble
    except PoolTimeout as trouble:
        raise StorageError(BUSY) from trouble


def _translate_error(error: DBAPIError) -> StorageError | None:
    if isinstance(error, IntegrityError):
        # PostgreSQL only: what the new row points at was there when this transaction looked, and is gone by
        # now, because somebody was forgotten or merged. Whoever tries again does not find it.
        return StorageError(BUSY) if getattr(error.orig, "sqlstate", "") == FOREIGN_KEY_VIOLATION else None
    if not isinstance(error, OperationalError | InterfaceError):
        # A session that rested for too long in a transaction was ended by the server.
        return StorageError(UNREACHABLE) if error.connection_invalidated else None
    words = str(error.orig).lower()
    if any(sign in words for sign in ("locked", "busy", "deadlock", "lock timeout")):
        return StorageError(BUSY)
    if "disk is full" in words or "disk full" in words or "no space left" in words:
        return StorageError("The disk is full. Nothing was changed; free some space and try again.")
    if "disk i/o error" in words or "unable to open" in words or "readonly" in words:
        return StorageError("The database file cannot be read or written. Check the data folder's disk.")
    if error.connection_invalidated or "connection" in words:
        return StorageError(UNREACHABLE)
    return None


def _engine(url: str) -> Engine:
    pool: dict[str, Any] = {
        "pool_size": POOL_SIZE,
        "max_overflow": 0,
        "pool_timeout": LOCK_WAIT_SECONDS,
        "hide_parameters": True,  # an error may be logged, and parameters are people's addresses
    }
    if not url.startswith("sqlite"):
        return create_engine(url, connect_args=_connect_args(make_url(url)), pool_pre_ping=True, **pool)
    engine = create_engine(url, connect_args={"timeout": LOCK_WAIT_SECONDS}, **pool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _connect_args(url: URL) -> dict[str, Any]:
    """Return how long PostgreSQL and its client wait for each other; what the URL says itself counts."""
    client = {
        "fallback_application_name": "mailer",
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": KEEPALIVE_IDLE_SECONDS,
        "keepalives_interval": KEEPALIVE_INTERVAL_SECONDS,
        "keepalives_count": KEEPALIVE_COUNT,
        "tcp_user_timeout": TCP_TIMEOUT_SECONDS * 1000,
    }
    server = {
        "lock_timeout": int(LOCK_WAIT_SECONDS * 1000),
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_SECONDS * 1000,
        "tcp_keepalives_idle": KEEPALIVE_IDLE_SECONDS,
        "tcp_keepalives_interval": KEEPALIVE_INTERVAL_SECONDS,
        "tcp_keepalives_count": KEEPALIVE_COUNT,
        "tcp_user_timeout": TCP_TIMEOUT_SECONDS * 1000,
    }
    asked = url.query.get("options", ())
    own = [asked] if isinstance(asked, str) else list(asked)
    options = " ".join([*(f"-c {name}={value}" for name, value in server.items()), *own])  # the last counts
    return {name: value for name, value in client.items() if name not in url.query} | {"options": options}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not open transactions of its own
    # What is erased is overwritten: whoever was forgotten cannot be read from the file's free pages.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("read_only", False):
        connection.exec_driver_sql("BEGIN")
        return
    # SQLite looks for a free lock less and less often, up to a tenth of a second apart, and so misses the
    # short rests between the batches of a long fill again and again. We look every few milliseconds.
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA busy_timeout={LOCK_POLL_MILLISECONDS}")
    try:
        for _ in range(int(LOCK_WAIT_SECONDS * 1000 / LOCK_POLL_MILLISECONDS)):
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                continue
            return
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # raises what SQLAlchemy makes of it
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(LOCK_WAIT_SECONDS * 1000)}")


def insert_or_nothing(
    session: Session,
    table: Table | type[Base],
    source: Sequence[Mapping[str, Any]] | Select[*tuple[Any, ...]],
    *,
    columns: Sequence[str | Column[Any]] = (),
) -> int:
    """Insert rows, or what a SELECT finds, passing over those whose unique key is already there.

    `source` is a list of mappings, or a SELECT together with the `columns` it fills. Returns how many rows
    were really inserted. SQLite can tell ON CONFLICT from a join only after a WHERE, so a SELECT needs one.
    """
    plain = table if isinstance(table, Table) else table.__table__
    assert isinstance(plain, Table)
    if isinstance(source, Select):
        if source.whereclause is None:
            raise ValueError("a SELECT handed to insert_or_nothing needs a WHERE")
        names = [column if isinstance(column, str) else column.name for column in columns]
        # SQLAlchemy would compute Python-side defaults for a SELECT; the SELECT names every column itself.
        statement = _insert(plain).from_select(names, source, include_defaults=False)
        result = session.execute(statement.on_conflict_do_nothing())
    elif not source:
        return 0
    else:
        # Rows as parameters of one short statement: a statement that spells out a thousand rows takes
        # fifteen times as long to build as to run.
        result = session.execute(_insert_or_nothing(plain), [dict(row) for row in source])
    assert isinstance(result, CursorResult)
    return max(result.rowcount, 0)


def _insert(table: Table) -> Insert:
    return insert(table).execution_options(preserve_rowcount=True)


@cache
def _insert_or_nothing(table: Table) -> Insert:
    """Return the statement for rows as parameters, made once for each table."""
    return _insert(table).on_conflict_do_nothing()


def count_changed(session: Session, statement: Update | Delete, *, synchronize: bool = False) -> int:
    """Run an UPDATE or DELETE and return how many rows it changed.

    Objects that the session has loaded follow the change only where `synchronize` is true.
    """
    options = {} if synchronize else {"synchronize_session": False}
    result = session.execute(statement, execution_options=options)
    assert isinstance(result, CursorResult)
    return result.rowcount


def materialize(query: Select[int]) -> Select[int]:
    """Return the same selection, made before the statement that it is part of does anything else.

    PostgreSQL may run a subquery with a LIMIT anew for each row that it looks at, and so take many more rows
    than the LIMIT says.
    """
    chosen = query.cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
    return select(*chosen.c)
