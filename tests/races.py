"""Races: two transactions in two threads at the same moment, or one in the middle of another."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any, TypeVar

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from lists.db import Database

T = TypeVar("T")

# On SQLite a write waits for the other from its first statement on, so they cannot interleave.
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def at_once(database: Database, *actions: Callable[[Session], T]) -> list[T]:
    """Run each in its own transaction and thread, begun at the same moment; returns their results."""
    barrier = Barrier(len(actions))

    def run(action: Callable[[Session], T]) -> T:
        barrier.wait()
        with database.write() as session:
            return action(session)

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


@contextmanager
def meanwhile(database: Database, *, before: str, do: Callable[[Session], object]) -> Iterator[None]:
    """Run another transaction, once, just before the first statement that contains the text `before`."""
    statements = []

    def run_before(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if before in statement and not statements:
            statements.append(statement)
            with database.write() as session:
                do(session)

    event.listen(database.engine, "before_cursor_execute", run_before)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", run_before)
    assert statements, f"no statement holds {before!r}"


def behind(database: Database, *, holding: Callable[[Session], object], then: Callable[[Session], T]) -> T:
    """Let one transaction wait for a row that another has locked, until that one has committed.

    Only for PostgreSQL, whose waiting statement then evaluates the changed rows again.
    """

    def run() -> T:
        with database.write() as session:
            return then(session)

    with ThreadPoolExecutor(1) as pool:
        with database.write() as first_session:
            holding(first_session)
            future = pool.submit(run)
            while not future.done() and not _is_waiting(database):
                time.sleep(0.01)
        return future.result()


def _is_waiting(database: Database) -> bool:
    condition = "datname = current_database() AND wait_event_type = 'Lock'"
    with database.read() as session:
        return bool(session.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {condition}")))
