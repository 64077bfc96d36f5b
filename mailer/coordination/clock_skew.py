"""Clock skew: corrects this machine's clock to the database's, which all machines of one database use.

A worker whose clock is ten minutes slow would renew leases that have already ended, and one whose clock is
fast would take a lease from its holder. So each long-running process compares the clocks at its start and
every ten seconds, and adds the difference to its machine's time. With SQLite all processes run on one
machine, and the clocks are not compared.
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
TOLERANCE = timedelta(seconds=0.5)  # a slow reply of the database may cause as much
WORTH_LOGGING = timedelta(seconds=5)

log = structlog.get_logger()


def correct_clock(database: Database, clock: Clock) -> None:
    """Correct this process's clock to the database's where they differ by more than TOLERANCE.

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
    """Follow the database's clock during the block; keep the last correction while it is unreachable."""
    stop = threading.Event()

    def compare_repeatedly() -> None:
        while not stop.wait(COMPARE_SECONDS):
            with suppress(StorageError):
                correct_clock(database, clock)

    with suppress(StorageError):
        correct_clock(database, clock)
    thread = threading.Thread(target=compare_repeatedly, name="skew", daemon=True)
    if database.dialect != "sqlite":
        thread.start()
    try:
        yield
    finally:
        stop.set()
