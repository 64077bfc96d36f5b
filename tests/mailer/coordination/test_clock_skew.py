"""Clock skew: every process follows the database's clock, however wrong its machine's clock is."""

import time
from collections.abc import MutableMapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from lists.clock import Clock
from lists.db import Database
from mailer.coordination import clock_skew, heartbeat
from mailer.outbox import due_rows
from tests.races import on_postgresql

TOLERANCE = timedelta(seconds=1)


class WrongClock(Clock):
    """The clock of a machine that is not synchronized."""

    def __init__(self, offset: timedelta) -> None:
        super().__init__()
        self.offset = offset

    def machine(self) -> datetime:
        return super().machine() + self.offset


def list_seconds(logs: list[MutableMapping[str, Any]]) -> list[Any]:
    return [line["seconds"] for line in logs]


@on_postgresql
@pytest.mark.parametrize("minutes", [10, -10, 60 * 24])
def test_a_wrong_clock_is_corrected_and_told_once(database: Database, minutes: int) -> None:
    clock = WrongClock(timedelta(minutes=minutes))
    with capture_logs() as logs:
        for _ in range(3):
            clock_skew.correct_clock(database, clock)
    assert abs(clock.real() - Clock().real()) < TOLERANCE
    assert abs(clock.now() - Clock().now()) < TOLERANCE
    assert list_seconds(logs) == [pytest.approx(-60 * minutes, abs=1)]
    clock.offset = timedelta(0)
    clock_skew.correct_clock(database, clock)
    assert clock.correction == timedelta(0), "it was set right"


@on_postgresql
def test_a_clock_that_is_set_while_the_process_runs_is_noticed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_skew, "COMPARE_SECONDS", 0.05)
    clock = WrongClock(timedelta(0))
    with capture_logs(), clock_skew.follow_database_clock(database, clock):
        clock.offset = timedelta(hours=-1)
        end = time.monotonic() + 10
        while abs(clock.real() - Clock().real()) > TOLERANCE and time.monotonic() < end:
            time.sleep(0.02)
        assert abs(clock.real() - Clock().real()) < TOLERANCE


@on_postgresql
def test_a_clock_that_is_right_stays_as_it_is(database: Database) -> None:
    clock = Clock()
    clock_skew.correct_clock(database, clock)
    assert clock.correction == timedelta(0)


def test_a_beat_says_how_wrong_the_clock_is(database: Database, clock: Clock) -> None:
    for skew in (timedelta(minutes=-10), timedelta(0)):
        with database.write() as session:
            heartbeat.beat(session, "worker", real=clock.real(), skew=skew)
        with database.read() as session:
            row = session.get(heartbeat.Heartbeat, "worker")
            assert row is not None
            assert timedelta(microseconds=row.skew) == skew
            assert heartbeat.read_last_beats(session) == {"worker": clock.real()}
            assert due_rows.list_holders(session) == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_with_a_database_in_a_file_the_machine_is_believed(database: Database) -> None:
    clock = WrongClock(timedelta(minutes=10))
    with clock_skew.follow_database_clock(database, clock):
        assert clock.correction == timedelta(0)
