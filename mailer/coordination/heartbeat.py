"""Heartbeat: a row that a delivery process updates every ten seconds, to show others that it runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import structlog
from sqlalchemy import BigInteger, Boolean, String, delete, false, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.clock import Clock
from lists.db import MICROSECOND, Base, Database, Timestamp, insert_or_nothing
from lists.errors import StorageError
from mailer.coordination.halted_clients import HaltedClients

BEAT_SECONDS = 10.0
DEAD_AFTER = timedelta(seconds=35)  # after three missed beats
FORGET_AFTER = timedelta(days=1)

log = structlog.get_logger()


class Heartbeat(Base):
    """A worker's last beat; `skew`: how many microseconds the database's clock is ahead of the worker's.

    `stalled`: all its connections have waited long for replies.
    """

    __tablename__ = "pulses"

    worker: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[Timestamp]
    skew: Mapped[int] = mapped_column(BigInteger, server_default="0")
    stalled: Mapped[bool] = mapped_column(Boolean, server_default=false())


def beat(
    session: Session, worker: str, *, real: datetime, skew: timedelta = timedelta(0), stalled: bool = False
) -> None:
    """Record that this worker runs; its first beat deletes the rows without a beat for a day."""
    row = {"worker": worker, "at": real, "skew": skew // MICROSECOND, "stalled": stalled}
    if insert_or_nothing(session, Heartbeat, [row]):
        session.execute(delete(Heartbeat).where(Heartbeat.at < real - FORGET_AFTER))
    else:
        session.execute(update(Heartbeat).where(Heartbeat.worker == worker).values(row))


def end(session: Session, worker: str) -> None:
    """Record that this worker has ended properly."""
    session.execute(delete(Heartbeat).where(Heartbeat.worker == worker))


def count_alive(session: Session, *, real: datetime) -> int:
    """Return how many workers run."""
    return session.scalar(select(func.count()).where(Heartbeat.at >= real - DEAD_AFTER)) or 0


def read_last_beats(session: Session) -> Mapping[str, datetime]:
    """Return the time of each worker's last beat."""
    return {row.worker: row.at for row in session.execute(select(Heartbeat.worker, Heartbeat.at))}


@asynccontextmanager
async def keep_beating(
    database: Database, clock: Clock, *, worker: str, stalled: Callable[[], bool] = lambda: False
) -> AsyncIterator[None]:
    """Beat while the block lasts and its event loop runs; `stalled`: see `Delivery.stalled`."""
    halted_clients = HaltedClients(database=database)

    def write_beat() -> None:
        with suppress(StorageError):  # delivery logs the fault
            if ended := halted_clients.terminate():
                log.warning("transactions of a process that stands still were ended", number=ended)
            with database.write() as session:
                beat(session, worker, real=clock.real(), skew=clock.correction, stalled=stalled())

    stopping = asyncio.Event()

    async def beat_repeatedly() -> None:
        while not stopping.is_set():
            await asyncio.to_thread(write_beat)
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await stopping.wait()

    def write_end() -> None:
        with suppress(StorageError), database.write() as session:
            end(session, worker)

    task = asyncio.create_task(beat_repeatedly())
    try:
        yield
    finally:
        stopping.set()
        await task  # not cancelled: its thread would go on, and write a beat after the end
        await asyncio.to_thread(write_end)
