"""A process that stands still amid a statement does not keep its locks."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from lists import contacts
from lists.db import Database
from lists.errors import StorageError
from mailer.coordination.halted_clients import HaltedClients
from tests.people import Person
from tests.races import on_postgresql

Halt = Callable[[], object]


def halt_while_sending(connection: Any, contact_id: int, halt: Halt) -> None:
    def rows() -> Iterator[tuple[str, int]]:
        yield from [("Somebody else", contact_id)] * 2_000  # more than a buffer, so that some of it is sent
        halt()
        yield ("Somebody else", contact_id)

    connection.cursor().executemany("UPDATE contacts SET name = %s WHERE id = %s", rows())


def halt_while_reading(connection: Any, contact_id: int, halt: Halt) -> None:
    result = "repeat('x', 10000000)"  # more than a buffer
    update = f"UPDATE contacts SET name = 'Somebody else' WHERE id = {contact_id} RETURNING {result}"
    connection.pgconn.send_query(update.encode())
    halt()


@on_postgresql
@pytest.mark.parametrize("work", [halt_while_sending, halt_while_reading])
def test_its_transaction_is_undone_and_others_go_on(
    database: Database,
    ana: Person,
    ben: Person,
    cleo: Person,
    work: Callable[[Any, int, Halt], None],
) -> None:
    other, is_halted, resumes = Database(database.url), Event(), Event()
    halted_clients = HaltedClients(database=other)

    def halt() -> None:
        is_halted.set()
        resumes.wait(20)

    def write() -> None:
        with database.write() as session:
            work(session.connection().connection.driver_connection, ben.id, halt)

    with ThreadPoolExecutor() as threads:
        halted = threads.submit(write)
        assert is_halted.wait(10)
        time.sleep(0.5)
        assert halted_clients.terminate() == 0  # it may go on at any moment
        assert halted_clients.terminate() == 1
        assert halted_clients.terminate() == 0
        with other.write() as session:
            contacts.amend(session, ben.id, name="Benjamin")
        resumes.set()
        with pytest.raises((StorageError, DBAPIError, psycopg.Error)):
            halted.result()
    with other.read() as session:
        names = [contacts.get(session, person.id).name for person in (ana, ben, cleo)]
    assert names == ["Ana", "Benjamin", "Cleo"]
    other.dispose()


def test_a_transaction_of_a_process_that_runs_is_left_alone(database: Database, ben: Person) -> None:
    other = Database(database.url)
    halted_clients = HaltedClients(database=other)
    with database.read() as session:
        assert contacts.get(session, ben.id).name == "Ben"
        assert [halted_clients.terminate(), halted_clients.terminate()] == [0, 0]
    other.dispose()
