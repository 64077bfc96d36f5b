"""Brakes: so often in an hour and no oftener, counted by all processes together, and soon forgotten."""

import hashlib
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lists.db import Database
from mailer import brakes
from mailer.brakes import Brake
from tests.clocks import START, StoppedClock
from tests.races import at_once

HERE = hashlib.sha256(b"somewhere").digest()[:16]
THERE = hashlib.sha256(b"elsewhere").digest()[:16]


def test_something_may_happen_up_to_the_limit_in_an_hour(database: Database, clock: StoppedClock) -> None:
    with database.write() as session:
        within = [brakes.press(session, HERE, limit=3, now=clock.advance(minutes=1)) for _ in range(5)]
        assert within == [True, True, True, False, False]
        assert brakes.press(session, THERE, limit=3, now=clock.now())


def test_the_next_hour_begins_anew(database: Database, clock: StoppedClock) -> None:
    clock.set(START.replace(minute=59, second=59))
    with database.write() as session:
        assert brakes.press(session, HERE, limit=1, now=clock.now())
        assert not brakes.press(session, HERE, limit=1, now=clock.now())
        assert brakes.press(session, HERE, limit=1, now=clock.advance(seconds=1))


def test_all_who_press_at_once_are_counted(database: Database, clock: StoppedClock) -> None:
    def press(session: Session) -> bool:
        return brakes.press(session, HERE, limit=2, now=clock.now())

    assert sorted(at_once(database, *[press] * 4)) == [False, False, True, True]
    with database.read() as session:
        assert session.scalar(select(Brake.count)) == 4


def test_what_was_undone_was_not_counted(database: Database, clock: StoppedClock) -> None:
    try:
        with database.write() as session:
            brakes.press(session, HERE, limit=1, now=clock.now())
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with database.write() as session:
        assert brakes.press(session, HERE, limit=1, now=clock.now())


def test_the_counts_of_past_days_are_deleted_and_those_of_today_kept(
    database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        brakes.press(session, HERE, limit=9, now=clock.now())
        brakes.press(session, HERE, limit=9, now=clock.advance(hours=20))
        assert brakes.clear(session, now=clock.now()) == 0
        assert brakes.clear(session, now=clock.now() + timedelta(hours=4, microseconds=1)) == 1
        assert session.scalar(select(func.count()).select_from(Brake)) == 1


def test_a_brake_keeps_a_hash_and_an_hour_and_nothing_else() -> None:
    assert {column.name for column in Brake.__table__.columns} == {"what", "hour", "count"}
