"""Sign-up throttle: a limit for each hour, counted by all processes together, and soon deleted."""

import hashlib
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from lists.db import Database
from mailer.coordination import signup_throttle
from mailer.coordination.signup_throttle import ThrottleCount
from tests.clocks import START, StoppedClock
from tests.races import at_once

NETWORK = hashlib.sha256(b"somewhere").digest()[:16]
OTHER_NETWORK = hashlib.sha256(b"elsewhere").digest()[:16]


def test_what_happens_in_an_hour_is_counted_each_by_itself(database: Database, clock: StoppedClock) -> None:
    with database.write() as session:
        counts = [signup_throttle.increment(session, NETWORK, now=clock.advance(minutes=1)) for _ in range(3)]
        assert counts == [1, 2, 3]
        assert signup_throttle.increment(session, OTHER_NETWORK, now=clock.now()) == 1


def test_the_next_hour_begins_anew(database: Database, clock: StoppedClock) -> None:
    clock.set(START.replace(minute=59, second=59))
    with database.write() as session:
        assert signup_throttle.increment(session, NETWORK, now=clock.now()) == 1
        assert signup_throttle.increment(session, NETWORK, now=clock.now()) == 2
        assert signup_throttle.increment(session, NETWORK, now=clock.advance(seconds=1)) == 1


def test_all_who_sign_up_at_once_are_counted(database: Database, clock: StoppedClock) -> None:
    def increment(session: Session) -> int:
        return signup_throttle.increment(session, NETWORK, now=clock.now())

    assert sorted(at_once(database, *[increment] * 4)) == [1, 2, 3, 4]
    with database.read() as session:
        assert session.scalar(select(ThrottleCount.count)) == 4


def test_what_was_undone_was_not_counted(database: Database, clock: StoppedClock) -> None:
    try:
        with database.write() as session:
            signup_throttle.increment(session, NETWORK, now=clock.now())
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    with database.write() as session:
        assert signup_throttle.increment(session, NETWORK, now=clock.now()) == 1


def test_the_counts_of_past_days_are_deleted_and_those_of_today_kept(
    database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        signup_throttle.increment(session, NETWORK, now=clock.now())
        signup_throttle.increment(session, NETWORK, now=clock.advance(hours=20))
        assert signup_throttle.delete_old(session, now=clock.now()) == 0
        assert signup_throttle.delete_old(session, now=clock.now() + timedelta(hours=4, microseconds=1)) == 1
        assert session.scalar(select(func.count()).select_from(ThrottleCount)) == 1


def test_a_church_hall_gets_in_and_staff_are_told_once_of_whoever_sends_more(
    database: Database, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signup_throttle, "SIGNUPS_PER_NETWORK", 3)
    with capture_logs() as logs, database.write() as session:
        admissions = [signup_throttle.admit_signup(session, NETWORK, now=clock.now()) for _ in range(6)]
        assert signup_throttle.admit_signup(session, OTHER_NETWORK, now=clock.now())
        assert admissions == [True, True, True, False, False, False]
        assert [line["event"] for line in logs] == ["sign-ups from one network are turned away for this hour"]
        assert signup_throttle.admit_signup(session, NETWORK, now=clock.advance(hours=1))
    assert NETWORK.hex() not in str(logs)


def test_staff_are_told_once_when_all_are_turned_away(
    database: Database, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signup_throttle, "SIGNUPS_TOTAL", 2)
    with capture_logs() as logs, database.write() as session:
        admissions = [
            signup_throttle.admit_signup(session, bytes([number] * 16), now=clock.now())
            for number in range(5)
        ]
    assert admissions == [True, True, False, False, False]
    assert [line["event"] for line in logs] == ["sign-ups from everywhere are turned away for this hour"]


def test_the_throttle_keeps_a_hash_and_an_hour_and_nothing_else() -> None:
    assert {column.name for column in ThrottleCount.__table__.columns} == {"what", "hour", "count"}
