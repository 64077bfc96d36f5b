"""Leases: one process at a time holds a duty, and one that ended holds it no longer than its lease."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lists.db import Database
from mailer.coordination import leases
from mailer.coordination.leases import Lease
from tests.clocks import StoppedClock
from tests.races import at_once

LENGTH = timedelta(seconds=30)


def _acquire(database: Database, owner: str, real: datetime, *, name: str = "scheduler") -> bool:
    with database.write() as session:
        return leases.acquire(session, name, owner=owner, real=real, length=LENGTH)


def test_the_first_holds_a_duty_and_the_second_does_not(database: Database, clock: StoppedClock) -> None:
    assert _acquire(database, "first", clock.real())
    assert not _acquire(database, "second", clock.real())
    assert _acquire(database, "second", clock.real(), name="another duty")


def test_whoever_holds_a_duty_keeps_it_by_asking_again_in_time(
    database: Database, clock: StoppedClock
) -> None:
    for _ in range(5):
        assert _acquire(database, "first", clock.real())
        assert not _acquire(database, "second", clock.advance(seconds=29))


def test_a_dead_process_holds_a_duty_until_the_lease_is_over_and_no_longer(
    database: Database, clock: StoppedClock
) -> None:
    _acquire(database, "dead", clock.real())
    assert not _acquire(database, "next", clock.advance(seconds=30, microseconds=-1))
    assert _acquire(database, "next", clock.advance(microseconds=1))
    assert not _acquire(database, "dead", clock.real())


def test_a_duty_given_up_is_free_at_once(database: Database, clock: StoppedClock) -> None:
    _acquire(database, "first", clock.real())
    with database.write() as session:
        leases.release(session, "scheduler", owner="first", real=clock.real())
    assert _acquire(database, "second", clock.real())


def test_nobody_gives_up_the_duty_of_another(database: Database, clock: StoppedClock) -> None:
    _acquire(database, "first", clock.real())
    with database.write() as session:
        leases.release(session, "scheduler", owner="second", real=clock.real())
    assert not _acquire(database, "second", clock.real())


def test_of_many_who_ask_at_once_one_holds_the_duty(database: Database, clock: StoppedClock) -> None:
    owners = [f"process {number}" for number in range(4)]

    def build_acquire(owner: str) -> int:
        def acquire(session: Session) -> bool:
            return leases.acquire(session, "scheduler", owner=owner, real=clock.real(), length=LENGTH)

        return acquire  # type: ignore[return-value]

    for _ in range(2):  # when it was never held, and when the last holder ended
        assert sum(at_once(database, *[build_acquire(owner) for owner in owners])) == 1  # type: ignore[arg-type]
        clock.advance(seconds=31)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Lease)) == 1


def test_a_clock_set_back_takes_a_duty_from_nobody(database: Database, clock: StoppedClock) -> None:
    _acquire(database, "first", clock.real())
    clock.advance(hours=-1)
    assert not _acquire(database, "second", clock.real())
    assert _acquire(database, "first", clock.real())
    assert _acquire(database, "second", clock.advance(seconds=30))
