"""Pulse: a delivery process says every ten seconds that it lives, so that every other process can tell."""

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

BEAT_SECONDS = 10.0
DEAD_AFTER = timedelta(seconds=35)  # after three beats that nobody heard
FORGET_AFTER = timedelta(days=1)

log = structlog.get_logger()


class Heartbeat(Base):
    """When a worker was last heard; `skew`: by how many microseconds the database's clock is ahead of its.

    `stalled`: all its connections have waited for answers for long.
    """

    __tablename__ = "pulses"

    worker: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[Timestamp]
    skew: Mapped[int] = mapped_column(BigInteger, server_default="0")
    stalled: Mapped[bool] = mapped_column(Boolean, server_default=false())


def beat(
    session: Session, worker: str, *, real: datetime, skew: timedelta = timedelta(0), stalled: bool = False
) -> None:
    """Say that this worker lives; the first beat clears away those unheard for a day."""
    row = {"worker": worker, "at": real, "skew": skew // MICROSECOND, "stalled": stalled}
    if insert_or_nothing(session, Heartbeat, [row]):
        session.execute(delete(Heartbeat).where(Heartbeat.at < real - FORGET_AFTER))
    else:
        session.execute(update(Heartbeat).where(Heartbeat.worker == worker).values(row))


def end(session: Session, worker: str) -> None:
    """Say that this worker has ended as it should."""
    session.execute(delete(Heartbeat).where(Heartbeat.worker == worker))


def count_alive(session: Session, *, real: datetime) -> int:
    """Return how many workers live."""
    return session.scalar(select(func.count()).where(Heartbeat.at >= real - DEAD_AFTER)) or 0


def read_last_beats(session: Session) -> Mapping[str, datetime]:
    """Return when each worker was last heard."""
    return {row.worker: row.at for row in session.execute(select(Heartbeat.worker, Heartbeat.at))}


@asynccontextmanager
async def keep_beating(
    database: Database, clock: Clock, *, worker: str, stalled: Callable[[], bool] = lambda: False
) -> AsyncIterator[None]:
    """Beat for as long as the block lasts and its event loop turns; `stalled`: see `Delivery.stalled`."""

    def once() -> None:
        with suppress(StorageError):  # delivery itself tells of the trouble
            if ended := database.end_halted():
                log.warning("transactions of a process that stands still were ended", number=ended)
            with database.write() as session:
                beat(session, worker, real=clock.real(), skew=clock.correction, stalled=stalled())

    async def often() -> None:
        while True:
            await asyncio.to_thread(once)
            await asyncio.sleep(BEAT_SECONDS)

    def last() -> None:
        with suppress(StorageError), database.write() as session:
            end(session, worker)

    beats = asyncio.create_task(often())
    try:
        yield
    finally:
        beats.cancel()
        with suppress(asyncio.CancelledError):
            await beats
        await asyncio.to_thread(last)
