"""Skew: how far this machine's clock is from the database's, by which all go where several share a database.

A worker whose clock is ten minutes slow would renew leases that are over already, and one that is fast would
take a duty from whoever holds it. So each process that lasts compares at its start and every ten seconds, and
adds the difference to what its machine shows. With SQLite all are one machine, and nothing is compared.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import structlog

from lists.clock import Clock
from lists.db import Database
from lists.errors import StorageError

COMPARE_SECONDS = 10.0
TOLERANCE = timedelta(seconds=0.5)  # less is no more than a slow answer may hide
WORTH_LOGGING = timedelta(seconds=5)

log = structlog.get_logger()


def correct_clock(database: Database, clock: Clock) -> None:
    """Correct this process's clock to the database's, where they differ by more than is tolerated.

    Raises StorageError.
    """
    difference = database.measure_clock_skew(clock.machine)
    if abs(difference - clock.correction) <= TOLERANCE:
        return
    correction = difference if abs(difference) > TOLERANCE else timedelta(0)
    if abs(correction - clock.correction) > WORTH_LOGGING:
        log.warning(
            "this machine's clock differs from the database's", seconds=round(difference.total_seconds())
        )
    clock.correction = correction


@contextmanager
def follow_database_clock(database: Database, clock: Clock) -> Iterator[None]:
    """Go by the database's clock for as long as the block lasts; while it is away, by what was last known."""
    ended = threading.Event()

    def often() -> None:
        while not ended.wait(COMPARE_SECONDS):
            with suppress(StorageError):
                correct_clock(database, clock)

    with suppress(StorageError):
        correct_clock(database, clock)
    comparing = threading.Thread(target=often, name="skew", daemon=True)
    if database.dialect != "sqlite":
        comparing.start()
    try:
        yield
    finally:
        ended.set()
