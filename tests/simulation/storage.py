"""Storage: the real database of a simulated process, steps at which it may be killed, and disk errors."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from lists.db import Database
from lists.errors import StorageError
from tests.simulation.process import Killed, Process

FULL, LOCKED, LOST = "database or disk is full", "database is locked", "disk I/O error"


class SimulatedDatabase(Database):
    """One process's access to the database: SQLAlchemy and SQLite are real, their errors are the world's.

    A commit may fail without effect, as on a full disk, or after it took effect, as when the connection to
    a database server breaks before its answer.
    """

    def __init__(self, url: str, *, process: Process) -> None:
        super().__init__(url)
        self._process = process
        self._upon: list[Callable[[], None]] = []

    def upon_commit(self, act: Callable[[], None]) -> None:
        """Call this when the present transaction has been committed, and only then."""
        self._upon.append(act)

    @contextmanager
    def write(self) -> Iterator[Session]:
        process, faults = self._process, self._process.world.faults
        self._upon.clear()
        process.step("transaction: before it begins")
        with super().write() as session:
            _raise(faults.begin_trouble())
            yield session
            process.step("commit: before")
            _raise(faults.commit_trouble())
        process.world.witness.check_commit(process)
        for act in self._upon:
            act()
        process.step("commit: after")
        if faults.loses_commit_answer():
            process.world.tell(process.name, "the answer to a commit was lost")
            raise StorageError("The database does not answer.")

    @contextmanager
    def read(self) -> Iterator[Session]:
        if self._process.dead:
            raise Killed
        with super().read() as session:
            _raise(self._process.world.faults.read_trouble())
            yield session


def _raise(trouble: str) -> None:
    if trouble:
        raise OperationalError("(simulated)", {}, sqlite3.OperationalError(trouble))
