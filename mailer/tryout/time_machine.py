"""Time machine: an offset in the try-out's database that every process adds to its clock.

An advance skips nothing: it moves to each next moment when something falls due, runs everything due there
(jobs tick, the outbox drains), and continues until the target. A service with a real mail server refuses a
database that has such an offset, because its moments are not real ones.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.clock import Clock
from lists.db import MICROSECOND, Base, Database, insert_or_nothing
from lists.errors import BadInput, Conflict
from mailer.coordination import leases
from mailer.outbox import due_rows

MAX_ADVANCE = timedelta(days=400)
MIN_STEP = timedelta(minutes=1)
LEASE_NAME = "time machine"  # of the process that moves the clock
LEASE_LENGTH = timedelta(minutes=10)


class TryoutClock(Base):
    """The one row with the offset of the try-out from the machine's clock, in microseconds."""

    __tablename__ = "tryout_clock"

    id: Mapped[int] = mapped_column(primary_key=True)
    offset: Mapped[int] = mapped_column(BigInteger)


def get_offset(session: Session) -> timedelta:
    """Return the offset of the try-out's clock; zero when it was never advanced."""
    row = session.get(TryoutClock, 1)
    return timedelta(0) if row is None else row.offset * MICROSECOND


def create_clock(database: Database) -> Clock:
    """Return a clock that reads the offset at each call."""

    def look_up() -> timedelta:
        with database.read() as session:
            return get_offset(session)

    return Clock(look_up)


def refuse_real_mail(session: Session) -> None:
    """Raise Conflict when this database was advanced in a try-out."""
    if get_offset(session):
        raise Conflict(
            "This database was used in a try-out and its clock was moved ahead. Start with a new data folder"
            " for real mail."
        )


def move_clock_to(session: Session, moment: datetime, *, real: datetime) -> None:
    """Set the clock so that it is now `moment`; it never moves backward."""
    ahead = (moment - real) // MICROSECOND
    insert_or_nothing(session, TryoutClock, [{"id": 1, "offset": 0}])
    session.execute(
        update(TryoutClock).where(TryoutClock.id == 1, TryoutClock.offset < ahead).values(offset=ahead)
    )


@dataclass(frozen=True, kw_only=True)
class TimeMachine:
    """Moves the try-out through time.

    `next_due` returns when something falls due, `tick` runs every job once and returns the number of rows it
    changed, `drain` returns when the outbox has no due message left.
    """

    database: Database
    clock: Clock
    next_due: Callable[[datetime], datetime | None]
    tick: Callable[[], int]
    drain: Callable[[], None]

    def advance(self, length: timedelta) -> datetime:
        """Advance by `length` through every moment in between; returns the new present.

        Raises BadInput for a length that is not positive or longer than 400 days.
        """
        if not timedelta(0) < length <= MAX_ADVANCE:
            raise BadInput(
                f"The clock can go ahead by up to {MAX_ADVANCE.days} days at a time, and never back."
            )
        with self._exclusive():
            target = self.clock.now() + length
            self._run_all_due()
            while (moment := self._next()) is not None and moment < target:
                self._advance_to(moment)
            self._advance_to(target)
            return self.clock.now()

    def advance_to_next(self) -> datetime | None:
        """Advance until something happens, at most 400 days; returns None, without a move, otherwise."""
        with self._exclusive():
            self._run_all_due()
            last = self.clock.now() + MAX_ADVANCE
            moment = self._next()
            if moment is None or moment > last:
                return None
            while moment is not None and moment <= last and not self._advance_to(moment):
                moment = self._next()
            return self.clock.now()

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Block scheduler ticks and a second machine: a message due meanwhile would be sent too late."""
        owner = secrets.token_hex(8)
        with self.database.write() as session:
            if not leases.acquire(
                session, LEASE_NAME, owner=owner, real=self.clock.real(), length=LEASE_LENGTH
            ):
                raise Conflict("The clock is being moved already. Please wait until it stands still.")
        try:
            yield
        finally:
            with self.database.write() as session:
                leases.release(session, LEASE_NAME, owner=owner, real=self.clock.real() - MICROSECOND)

    def _next(self) -> datetime | None:
        """Return the next moment; an overdue one becomes MIN_STEP from now."""
        now = self.clock.now()
        moment = self.next_due(now)
        return None if moment is None else moment if moment > now else now + MIN_STEP

    def _advance_to(self, moment: datetime) -> bool:
        with self.database.write() as session:
            move_clock_to(session, moment, real=self.clock.real())
        return self._run_all_due()

    def _run_all_due(self) -> bool:
        """Run everything that is due now, also messages of a job that began before the lease was held.

        Returns whether there was anything.
        """
        self.drain()
        had_work = False
        while self.tick() or self._anything_due():
            had_work = True
            self.drain()
        return had_work

    def _anything_due(self) -> bool:
        with self.database.read() as session:
            return due_rows.is_anything_due(session, now=self.clock.now())
