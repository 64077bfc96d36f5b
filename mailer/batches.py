"""Batches: long work on the database in short transactions, with a pause after each for other writers."""

from collections.abc import Callable, Iterator

from sqlalchemy.orm import Session

from lists.clock import Clock
from lists.db import Database

PAUSE_SECONDS = 0.02


def write_in_batches(
    database: Database,
    clock: Clock,
    work: Callable[[Session], int],
    *,
    limit: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[int]:
    """Run `work` in one transaction after the other until it changes fewer rows than `limit`.

    Yields, after each transaction, how many rows were changed so far. Ends early once `stopped` returns True.
    """
    total = 0
    while True:
        with database.write() as session:
            changed = work(session)
        total += changed
        yield total
        if changed < limit:
            return
        clock.sleep(PAUSE_SECONDS)
        if stopped():
            return
