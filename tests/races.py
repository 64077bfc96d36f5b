"""Two at once: the same moment in two threads, or one transaction in the very middle of another."""

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

# On SQLite one write waits for the other from its first statement on, so nothing can come in between.
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def at_once(database: Database, *works: Callable[[Session], T]) -> list[T]:
    """Run each in a transaction and a thread of its own, begun at the same moment; returns their answers."""
    barrier = Barrier(len(works))

    def run(work: Callable[[Session], T]) -> T:
        barrier.wait()
        with database.write() as session:
            return work(session)

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


@contextmanager
def meanwhile(database: Database, *, before: str, do: Callable[[Session], object]) -> Iterator[None]:
    """Let another transaction happen, once, just before the first statement that holds the words `before`."""
    happened = []

    def come_between(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if before in statement and not happened:
            happened.append(statement)
            with database.write() as session:
                do(session)

    event.listen(database.engine, "before_cursor_execute", come_between)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", come_between)
    assert happened, f"no statement holds {before!r}"


def behind(database: Database, *, holding: Callable[[Session], object], then: Callable[[Session], T]) -> T:
    """Let one transaction wait for a row that another holds, and go on when that one has committed.

    Only for PostgreSQL, whose second statement then looks again at rows that it had chosen before.
    """

    def run() -> T:
        with database.write() as session:
            return then(session)

    with ThreadPoolExecutor(1) as pool:
        with database.write() as first:
            holding(first)
            second = pool.submit(run)
            while not second.done() and not _waiting(database):
                time.sleep(0.01)
        return second.result()


def _waiting(database: Database) -> bool:
    here = "datname = current_database() AND wait_event_type = 'Lock'"
    with database.read() as session:
        return bool(session.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {here}")))
