"""Database: one engine, two kinds of transaction, and a time type that refuses naive datetimes.

SQLite (WAL, synchronous=FULL) is the default and uses one file. PostgreSQL is used by URL. Every statement
runs on both.
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
LOCK_WAIT_SECONDS = 10.0  # for a lock of another transaction, and for a free connection
LOCK_POLL_MILLISECONDS = 4
CHECKPOINT_WAIT_MILLISECONDS = 100
POOL_SIZE = 12  # connections; a thread that finds none waits for one
FOREIGN_KEY_VIOLATION = "23503"  # foreign_key_violation, PostgreSQL appendix A
# A machine without a network keeps its locks, and all others wait for them, until the server closes its
# connection: by default after two hours. So an idle transaction is ended soon, and both sides detect a peer
# that does not answer any more (libpq's parameters, and the server's of the same names).
IDLE_TRANSACTION_SECONDS = 15
CONNECT_SECONDS = 5
TCP_TIMEOUT_SECONDS = 15
KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_COUNT = 10, 5, 3
UNREACHABLE = "The database does not answer. Nothing was changed; please try again."
BUSY = "The database is busy. Nothing was changed; please try again in a moment."


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: an aware datetime in Python, microseconds since 1970 UTC in the database.

    A whole number compares, sorts and adds the same on both databases and takes eight bytes. A naive datetime
    raises TypeError, because its moment is ambiguous.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Convert an aware datetime into microseconds."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError(f"a naive datetime has no place in the database: {value!r}")
        return (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Convert microseconds into an aware datetime in UTC."""
        return None if value is None else EPOCH + timedelta(microseconds=value)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Compare with datetimes as moments and with whole numbers as microseconds."""
        return BigInteger() if isinstance(value, int) else self


Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only in a column of type INTEGER
PrimaryKey = Annotated[int, mapped_column(Id, primary_key=True)]
Timestamp = Annotated[datetime, mapped_column(UtcDateTime)]


class Base(DeclarativeBase):
    """The base class of every table of both packages."""

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
    condition: ColumnElement[bool] = literal_column(f"state = '{state}'")
    return Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


class Database:
    """One database by URL, with two kinds of transaction: `write()` and `read()`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self.dialect = self.engine.dialect.name
        isolation = {"isolation_level": "REPEATABLE READ"} if self.dialect == "postgresql" else {}
        self._read_engine = self.engine.execution_options(read_only=True, **isolation)
        self._write_lock = threading.Lock()

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database, which may not exist yet; None for a server."""
        path = self.engine.url.database
        return Path(path) if self.dialect == "sqlite" and path else None

    @contextmanager
    def write(self, *, long: bool = False) -> Iterator[Session]:
        """Open one transaction that commits at the end of the block and rolls back on any error.

        On SQLite it takes the write lock at once (BEGIN IMMEDIATE): a transaction that reads first and writes
        later can otherwise fail in the middle. Raises StorageError when the database is locked or full; then
        the whole block is rolled back. Pass `long` for a transaction that may be idle for longer than
        IDLE_TRANSACTION_SECONDS between two statements; otherwise PostgreSQL ends it.
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
        """Wait until no other thread of this process writes; SQLite itself offers only polling."""
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
        """Open one transaction for reading only; it has a snapshot of the database and never waits.

        `long` as in `write`: for rows that are read in parts, each of which goes to a slow disk or client.
        """
        with _open_session(self._read_engine) as session:
            if long:
                self._allow_idle_transaction(session)
            yield session

    def measure_clock_skew(self, machine: Callable[[], datetime]) -> timedelta:
        """Return how far the database's clock is ahead of a machine's, to within half of the round trip.

        Returns zero on SQLite, which uses the machine's clock.
        """
        if self.dialect != "postgresql":
            return timedelta(0)
        with self.read() as session:
            session.connection()  # opened first, because the time it takes is not skew
            before = machine()
            database_time = session.scalar(text("SELECT clock_timestamp()"))
            after = machine()
        assert isinstance(database_time, datetime)
        return database_time - (before + (after - before) / 2)

    def truncate_wal(self) -> bool:
        """Move SQLite's log into its file and truncate it, so that erased data cannot be read from the log.

        Returns whether that is done: a reader with an older snapshot prevents it. PostgreSQL has no such
        file.
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

    def dispose(self) -> None:
        """Close every connection of this process."""
        self.engine.dispose()


@contextmanager
def _open_session(engine: Engine) -> Iterator[Session]:
    try:
        with Session(engine, expire_on_commit=False) as session:
            yield session
    except DBAPIError as error:
        storage_error = _translate_error(error)
        if storage_error is None:
            raise
        raise storage_error from error
    except PoolTimeout as error:
        raise StorageError(BUSY) from error


def _translate_error(error: DBAPIError) -> StorageError | None:
    if isinstance(error, IntegrityError):
        # PostgreSQL only: the row that the new row references existed when this transaction read it, and was
        # deleted since by an erasure or a merge. The next try does not find it.
        return StorageError(BUSY) if getattr(error.orig, "sqlstate", "") == FOREIGN_KEY_VIOLATION else None
    if not isinstance(error, OperationalError | InterfaceError):
        # The server has ended a session that was idle in a transaction for too long.
        return StorageError(UNREACHABLE) if error.connection_invalidated else None
    message = str(error.orig).lower()
    if any(word in message for word in ("locked", "busy", "deadlock", "lock timeout")):
        return StorageError(BUSY)
    if "disk is full" in message or "disk full" in message or "no space left" in message:
        return StorageError("The disk is full. Nothing was changed; free some space and try again.")
    if "disk i/o error" in message or "unable to open" in message or "readonly" in message:
        return StorageError("The database file cannot be read or written. Check the data folder's disk.")
    if error.connection_invalidated or "connection" in message:
        return StorageError(UNREACHABLE)
    return None


def _engine(url: str) -> Engine:
    pool: dict[str, Any] = {
        "pool_size": POOL_SIZE,
        "max_overflow": 0,
        "pool_timeout": LOCK_WAIT_SECONDS,
        "hide_parameters": True,  # an error may be logged, and parameters contain people's addresses
    }
    if not url.startswith("sqlite"):
        return create_engine(url, connect_args=_connect_args(make_url(url)), pool_pre_ping=True, **pool)
    engine = create_engine(url, connect_args={"timeout": LOCK_WAIT_SECONDS}, **pool)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _connect_args(url: URL) -> dict[str, Any]:
    """Return how long PostgreSQL and its client wait for each other; values of the URL take precedence."""
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
    url_options = url.query.get("options", ())
    extra_options = [url_options] if isinstance(url_options, str) else list(url_options)
    # The last value of an option counts.
    options = " ".join([*(f"-c {name}={value}" for name, value in server.items()), *extra_options])
    return {name: value for name, value in client.items() if name not in url.query} | {"options": options}


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not open transactions of its own
    _enter_wal(connection)
    # secure_delete overwrites erased data, so that it cannot be read from the free pages of the file.
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _enter_wal(connection: Any) -> None:
    """Enter WAL mode. Of several first connections to a new file SQLite refuses some without waiting."""
    for _ in range(int(LOCK_WAIT_SECONDS * 1000 / LOCK_POLL_MILLISECONDS)):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            threading.Event().wait(LOCK_POLL_MILLISECONDS / 1000)
            continue
        return
    connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get("read_only", False):
        connection.exec_driver_sql("BEGIN")
        return
    # SQLite polls for a free lock at growing intervals, up to a tenth of a second, and so misses the short
    # gaps between the batches of a long fill. Polling every few milliseconds finds them.
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA busy_timeout={LOCK_POLL_MILLISECONDS}")
    try:
        for _ in range(int(LOCK_WAIT_SECONDS * 1000 / LOCK_POLL_MILLISECONDS)):
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                continue
            return
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # raises the error as SQLAlchemy translates it
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(LOCK_WAIT_SECONDS * 1000)}")


def insert_or_nothing(
    session: Session,
    table: Table | type[Base],
    source: Sequence[Mapping[str, Any]] | Select[*tuple[Any, ...]],
    *,
    columns: Sequence[str | Column[Any]] = (),
) -> int:
    """Insert rows, or the rows of a SELECT; rows whose unique key exists already are skipped.

    `source` is a list of mappings, or a SELECT together with the `columns` it fills. Returns how many rows
    were inserted. SQLite can distinguish ON CONFLICT from a join only after a WHERE, so a SELECT needs one.
    """
    plain = table if isinstance(table, Table) else table.__table__
    assert isinstance(plain, Table)
    if isinstance(source, Select):
        if source.whereclause is None:
            raise ValueError("a SELECT passed to insert_or_nothing needs a WHERE")
        names = [column if isinstance(column, str) else column.name for column in columns]
        # SQLAlchemy would compute Python-side defaults for a SELECT; the SELECT names every column itself.
        statement = _insert(plain).from_select(names, source, include_defaults=False)
        result = session.execute(statement.on_conflict_do_nothing())
    elif not source:
        return 0
    else:
        # Rows are parameters of one short statement: a statement with a thousand rows of VALUES takes
        # fifteen times as long to build as to run.
        result = session.execute(_insert_or_nothing(plain), [dict(row) for row in source])
    assert isinstance(result, CursorResult)
    return max(result.rowcount, 0)


def _insert(table: Table) -> Insert:
    return insert(table).execution_options(preserve_rowcount=True)


@cache
def _insert_or_nothing(table: Table) -> Insert:
    """Return the statement for rows as parameters, built once for each table."""
    return _insert(table).on_conflict_do_nothing()


def count_changed(session: Session, statement: Update | Delete, *, synchronize: bool = False) -> int:
    """Run an UPDATE or DELETE and return how many rows it changed.

    Objects that the session has loaded are updated only where `synchronize` is true.
    """
    options = {} if synchronize else {"synchronize_session": False}
    result = session.execute(statement, execution_options=options)
    assert isinstance(result, CursorResult)
    return result.rowcount


def materialize(query: Select[int]) -> Select[int]:
    """Return the same selection, evaluated before the rest of the statement that contains it.

    PostgreSQL may run a subquery with a LIMIT again for each row that it examines, and so select many more
    rows than the LIMIT allows.
    """
    selection = query.cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
    return select(*selection.c)
