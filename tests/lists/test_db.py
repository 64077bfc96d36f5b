"""Database: transactions are atomic, stored moments are unambiguous, and errors are clear."""

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Barrier

import psycopg.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert, literal, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from lists import addresses, contacts, db, topic_optouts
from lists.contacts import Contact
from lists.db import Database, UtcDateTime, insert_or_nothing, materialize
from lists.errors import StorageError
from lists.suppressions import Suppression
from tests.clocks import START, StoppedClock
from tests.people import PEPPER, Person
from tests.races import meanwhile, on_postgresql

NAIVE = START.replace(tzinfo=None)


def test_an_error_in_the_block_undoes_all_of_it(database: Database, ben: Person) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as session:
        contacts.amend(session, ben.id, name="Somebody else")
        raise ZeroDivisionError
    with database.read() as session:
        assert contacts.get(session, ben.id).name == "Ben"


def test_a_reader_sees_one_moment_of_the_database_while_others_write(database: Database, ben: Person) -> None:
    name = select(Contact.name).where(Contact.id == ben.id)
    with database.read() as reading:
        assert reading.scalar(name) == "Ben"
        with database.write() as writing:
            contacts.amend(writing, ben.id, name="Benjamín")
        assert reading.scalar(name) == "Ben"
    with database.read() as reading:
        assert reading.scalar(name) == "Benjamín"


@on_postgresql
def test_a_transaction_that_writes_sees_what_others_have_committed(database: Database, ben: Person) -> None:
    name = select(Contact.name).where(Contact.id == ben.id)
    with database.read() as reading:
        reading.scalar(name)
    with database.write() as first:
        assert first.scalar(name) == "Ben"
        with database.write() as second:
            contacts.amend(second, ben.id, name="Benjamín")
        assert first.scalar(name) == "Benjamín"


def test_a_locked_database_raises_an_error_and_nothing_has_changed(
    database: Database, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "LOCK_WAIT_SECONDS", 0.1)
    impatient = Database(database.engine.url.render_as_string(hide_password=False))
    with database.write() as first:
        contacts.amend(first, ben.id, name="Benjamín")
        with pytest.raises(StorageError, match="busy"), impatient.write() as second:
            contacts.amend(second, ben.id, name="Nobody")
    impatient.dispose()
    with database.read() as session:
        assert contacts.get(session, ben.id).name == "Benjamín"


def test_a_full_connection_pool_raises_an_error(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "POOL_SIZE", 1)
    monkeypatch.setattr(db, "LOCK_WAIT_SECONDS", 0.1)
    small = Database(database.engine.url.render_as_string(hide_password=False))
    with small.read() as first:
        first.scalar(select(1))
        with pytest.raises(StorageError, match="busy"), small.read() as second:
            second.scalar(select(1))
    small.dispose()


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    small = Database(f"sqlite:///{tmp_path}/small.db")
    with small.write() as session:
        session.execute(text("CREATE TABLE words (word TEXT)"))
        session.execute(text("INSERT INTO words VALUES ('kept')"))
    with small.read() as session:
        pages = session.scalar(text("PRAGMA page_count"))
    with pytest.raises(StorageError, match="disk is full"), small.write() as session:
        session.execute(text(f"PRAGMA max_page_count={pages}"))
        session.execute(text("DELETE FROM words"))
        session.execute(text("INSERT INTO words VALUES (:word)"), {"word": "much" * 10_000})
    with small.read() as session:
        assert session.scalars(text("SELECT word FROM words")).all() == ["kept"]
    small.dispose()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (sqlite3.OperationalError("database is locked"), "busy"),
        (sqlite3.OperationalError("database or disk is full"), "disk is full"),
        (sqlite3.OperationalError("unable to open database file"), "cannot be read or written"),
        (psycopg.errors.DeadlockDetected("deadlock detected"), "busy"),
        (psycopg.errors.LockNotAvailable("canceling statement due to lock timeout"), "busy"),
        (psycopg.errors.DiskFull("could not extend file: No space left on device"), "disk is full"),
        (psycopg.OperationalError("connection failed: Connection refused"), "does not answer"),
        (psycopg.errors.AdminShutdown("terminating connection due to administrator command"), "not answer"),
    ],
)
def test_each_error_of_the_storage_has_its_sentence(error: Exception, sentence: str) -> None:
    assert sentence in str(db._translate_error(OperationalError("SELECT 1", {}, error)))


@on_postgresql
def test_an_idle_transaction_is_ended_and_loses_its_locks(
    database: Database, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This happens to a machine without a network; transactions that wait for its locks continue."""
    monkeypatch.setattr(db, "IDLE_TRANSACTION_SECONDS", 1)
    idle = Database(database.url)
    with pytest.raises(StorageError, match="does not answer"), idle.write() as first:
        contacts.amend(first, ben.id, name="Nobody")
        with database.write() as second:
            contacts.amend(second, ben.id, name="Benjamín")
        first.scalar(select(1))
    with idle.read() as session:
        assert contacts.get(session, ben.id).name == "Benjamín", "its next transaction finds a new connection"
    idle.dispose()


@on_postgresql
def test_a_long_transaction_may_be_idle_between_two_statements(
    database: Database, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "IDLE_TRANSACTION_SECONDS", 1)
    slow = Database(database.url)
    with slow.read(long=True) as session:
        time.sleep(1.5)
        assert contacts.get(session, ben.id).name == "Ben"
    with slow.write(long=True) as session:
        time.sleep(1.5)
        contacts.amend(session, ben.id, name="Benjamín")
    with slow.read() as session:
        timeout = session.scalar(text("SHOW idle_in_transaction_session_timeout"))
        assert (contacts.get(session, ben.id).name, timeout) == ("Benjamín", "1s")
    slow.dispose()


@on_postgresql
def test_timeouts_in_the_url_of_the_database_take_precedence(database: Database) -> None:
    parameters = "&connect_timeout=77&options=-c%20lock_timeout%3D3s%20-c%20statement_timeout%3D1min"
    custom = Database(database.url + parameters)

    def show(name: str) -> str:
        with custom.read() as session:
            return str(session.scalar(text(f"SHOW {name}")))

    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    assert [show(name) for name in names] == ["3s", "1min", "15s"]
    with custom.read() as session:
        driver = session.connection().connection.driver_connection
        assert driver is not None
        driver_parameters = driver.info.get_parameters()
    assert (driver_parameters["connect_timeout"], driver_parameters["tcp_user_timeout"]) == ("77", "15000")
    custom.dispose()


def test_a_fault_of_ours_is_no_storage_error_because_of_a_word_in_an_address(
    database: Database, clock: StoppedClock
) -> None:
    address = addresses.parse("busybee@locked-connection.example.org", pepper=PEPPER)
    with database.write() as session:
        contact = contacts.find_or_add(session, address, now=clock.now())
    columns = {column.key: getattr(contact, column.key) for column in Contact.__table__.columns}
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(insert(Contact), [{**columns, "id": contact.id + 1}])


@given(
    st.datetimes(min_value=NAIVE.replace(year=2), max_value=NAIVE.replace(year=9998)), st.integers(-14, 14)
)
def test_a_moment_is_stored_to_the_microsecond(naive: datetime, hours: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    stored = UtcDateTime().process_bind_param(moment, None)  # type: ignore[arg-type]
    assert UtcDateTime().process_result_value(stored, None) == moment  # type: ignore[arg-type]


def test_moments_are_kept_and_compared_alike_on_both_databases(database: Database, ben: Person) -> None:
    elsewhere = START.astimezone(timezone(timedelta(hours=-7)))
    just_before = START - timedelta(microseconds=1)
    with database.read() as session:
        at = session.scalar(select(Contact.created_at).where(Contact.created_at == elsewhere))
        assert at == START
        assert at is not None and at.tzinfo is UTC
        assert session.scalar(select(Contact.id).where(Contact.created_at <= just_before)) is None
        assert session.scalar(select(Contact.id).where(Contact.created_at > just_before)) == ben.id


def test_a_moment_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(Exception, match="naive datetime"), database.read() as session:
        session.scalar(select(literal(NAIVE, UtcDateTime)))


def test_existing_rows_are_skipped_and_new_ones_counted(database: Database, clock: StoppedClock) -> None:
    def row(digest: bytes) -> dict[str, object]:
        return {"email_digest": digest * 16, "reason": "staff", "at": clock.now()}

    with database.write() as session:
        assert insert_or_nothing(session, Suppression, []) == 0
        assert insert_or_nothing(session, Suppression, [row(b"a")]) == 1
        assert insert_or_nothing(session, Suppression, [row(b"a"), row(b"b"), row(b"c"), row(b"c")]) == 2


def test_a_select_can_be_inserted_only_with_a_condition(database: Database) -> None:
    with pytest.raises(ValueError, match="WHERE"), database.write() as session:
        insert_or_nothing(session, Suppression, select(Contact.id), columns=["id"])


def test_a_limit_inside_another_statement_is_kept(database: Database, clock: StoppedClock) -> None:
    rows = [{"email_digest": bytes([n] * 16), "reason": "staff", "at": clock.now()} for n in range(12)]
    with database.write() as session:
        insert_or_nothing(session, Suppression, rows)
        oldest = select(Suppression.id).order_by(Suppression.id).limit(2).with_for_update(skip_locked=True)
        deletion = (
            delete(Suppression).where(Suppression.id.in_(materialize(oldest))).returning(Suppression.id)
        )
        assert len(session.scalars(deletion).all()) == 2
        assert len(session.scalars(select(Suppression.id)).all()) == 10


def test_no_error_repeats_what_is_known_about_a_person(database: Database, ben: Person) -> None:
    with pytest.raises(DBAPIError) as caught, database.write() as session:
        session.execute(select(Contact.id).where(Contact.email == ben.email, text("no_such_column = 1")))
    assert ben.email not in str(caught.value)


@on_postgresql
def test_a_write_about_a_person_who_was_just_erased_is_to_be_tried_again(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    erasure = meanwhile(
        database, before="INSERT INTO declines", do=lambda other: contacts.erase(other, ben.id)
    )
    with pytest.raises(StorageError, match="try again"), erasure, database.write() as session:
        topic_optouts.set_optouts(session, contact_id=ben.id, topics={"calls"}, now=clock.now())


def test_a_row_that_references_no_contact_is_a_fault_of_ours_without_a_concurrent_erasure(
    sqlite_url: str, clock: StoppedClock
) -> None:
    database = Database(sqlite_url)
    with pytest.raises(IntegrityError), database.write() as session:
        topic_optouts.set_optouts(session, contact_id=4_711, topics={"calls"}, now=clock.now())
    database.dispose()


def test_writers_of_one_process_wait_for_each_other_without_polling_sqlite(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers_inside: list[int] = []
    open_sessions: list[object] = []
    begin = db._begin_sqlite

    def record_begin(connection: Connection) -> None:
        writers_inside.append(len(open_sessions))
        begin(connection)

    monkeypatch.setattr(db, "_begin_sqlite", record_begin)
    database = Database(sqlite_url)

    def write() -> None:
        for _ in range(5):
            with database.write() as session:
                session.execute(text("SELECT 1"))
                open_sessions.append(session)
                time.sleep(0.002)
                open_sessions.remove(session)

    with ThreadPoolExecutor(6) as threads:
        for future in [threads.submit(write) for _ in range(6)]:
            future.result()
    assert writers_inside == [0] * 30  # no thread tried to begin while another one had the lock
    monkeypatch.setattr("lists.db.LOCK_WAIT_SECONDS", 0.05)
    with (
        database.write(),
        ThreadPoolExecutor(1) as threads,
        pytest.raises(StorageError, match="busy"),
    ):
        threads.submit(lambda: database.write().__enter__()).result()
    database.dispose()


def test_many_first_connections_to_a_new_file_all_succeed(tmp_path: Path) -> None:
    """SQLite refuses some of them at once, whatever its busy timeout is."""

    def connect(number: int, barrier: Barrier) -> int | None:
        database = Database(f"sqlite:///{tmp_path / str(number)}")
        barrier.wait()
        with database.write() as session:
            answer = session.scalar(select(literal(1)))
        database.dispose()
        return answer

    with ThreadPoolExecutor(4) as threads:
        for number in range(40):
            barrier = Barrier(4)
            assert list(threads.map(connect, [number] * 4, [barrier] * 4)) == [1] * 4
