"""Only the process that holds the lease runs jobs, and no failure stops the rest."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lists.clock import Clock
from lists.db import Database
from lists.errors import StorageError
from mailer.coordination import leases
from mailer.jobs.jobs import Job
from mailer.processes.scheduler import LEASE_LENGTH, Scheduler, take_over_lease
from mailer.tryout import time_machine
from tests.clocks import StoppedClock

both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, and PostgreSQL too where a test says `both`: the tests of the leases run on each."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@dataclass
class Table:
    """Jobs that only count how often they ran, and one with a given error."""

    ran: list[str] = field(default_factory=list)
    trouble: Callable[[], None] | None = None

    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True

    def all(self) -> list[Job]:
        return [self._job("fails", self._fail), self._job("works", lambda: None)]

    def _job(self, name: str, also: Callable[[], None]) -> Job:
        def run() -> int:
            also()
            self.ran.append(name)
            return 1

        return Job(name=name, about=name, every=timedelta(hours=24), run=run)

    def _fail(self) -> None:
        if self.trouble is not None:
            self.trouble()


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[dict[str, object]]]:
    with capture_logs() as entries:
        yield entries  # type: ignore[misc]


def scheduler(table: Table, database: Database, clock: Clock, owner: str = "first") -> Scheduler:
    return Scheduler(table, database=database, clock=clock, owner=owner)  # type: ignore[arg-type]


def tick(job_scheduler: Scheduler, table: Table) -> list[str]:
    """Run every job once; returns those that ran."""
    table.ran.clear()
    for job in table.all():
        job_scheduler._tick(job)
    return list(table.ran)


@both
def test_only_one_of_two_processes_ticks_and_the_other_takes_over_when_it_dies(
    database: Database, clock: StoppedClock, table: Table
) -> None:
    first, second = (scheduler(table, database, clock, owner) for owner in ("first", "second"))
    assert tick(first, table) == ["fails", "works"]
    assert tick(second, table) == []
    clock.advance(seconds=20)
    assert tick(first, table) == ["fails", "works"]
    clock.advance(seconds=20)
    assert tick(second, table) == []  # the first renewed its lease by ticking
    clock.advance(seconds=LEASE_LENGTH.total_seconds())
    assert tick(second, table) == ["fails", "works"]
    assert tick(first, table) == []


def test_a_process_that_stops_gives_the_duty_up_at_once(
    database: Database, clock: StoppedClock, table: Table
) -> None:
    first, second = (scheduler(table, database, clock, owner) for owner in ("first", "second"))
    tick(first, table)
    first.start()
    first.stop()
    clock.advance(microseconds=1)
    assert tick(second, table) == ["fails", "works"]


@both
def test_who_starts_where_a_process_was_killed_ticks_at_once(
    database: Database, clock: StoppedClock, table: Table, tmp_path: Path
) -> None:
    with take_over_lease(database, clock, folder=tmp_path, owner="killed"):
        tick(scheduler(table, database, clock, "killed"), table)  # and never releases it, as after a kill
    with take_over_lease(database, clock, folder=tmp_path, owner="next"):
        assert tick(scheduler(table, database, clock, "next"), table) == ["fails", "works"]


@both
def test_the_duty_of_a_process_that_lives_stays_with_it(
    database: Database, clock: StoppedClock, table: Table, tmp_path: Path
) -> None:
    with take_over_lease(database, clock, folder=tmp_path, owner="first"):
        first = scheduler(table, database, clock, "first")
        assert tick(first, table)
        with take_over_lease(database, clock, folder=tmp_path, owner="second"):
            assert tick(scheduler(table, database, clock, "second"), table) == []
        with take_over_lease(database, clock, folder=tmp_path, owner="third"):
            assert tick(scheduler(table, database, clock, "third"), table) == []
        assert tick(first, table)


def test_nobody_ticks_while_a_time_machine_moves_the_clock(
    database: Database, clock: StoppedClock, table: Table
) -> None:
    with database.write() as session:
        leases.acquire(
            session,
            time_machine.LEASE_NAME,
            owner="machine",
            real=clock.real(),
            length=time_machine.LEASE_LENGTH,
        )
    assert tick(scheduler(table, database, clock), table) == []


@pytest.mark.parametrize(
    ("error", "event"), [(ValueError("broken"), "job failed"), (StorageError("busy"), "job put off")]
)
def test_a_failing_job_stops_neither_the_others_nor_itself(
    database: Database,
    clock: StoppedClock,
    table: Table,
    logs: list[dict[str, object]],
    error: Exception,
    event: str,
) -> None:
    def fail() -> None:
        raise error

    table.trouble = fail
    job_scheduler = scheduler(table, database, clock)
    assert tick(job_scheduler, table) == ["works"]
    assert [entry["name"] for entry in logs if entry["event"] == event] == ["fails"]
    table.trouble = None
    assert tick(job_scheduler, table) == ["fails", "works"]


def test_every_job_runs_once_at_the_start_also_one_for_every_day(database: Database, table: Table) -> None:
    job_scheduler = scheduler(table, database, Clock())
    job_scheduler.start()
    deadline = time.monotonic() + 10
    while len(table.ran) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    job_scheduler.stop()
    assert sorted(table.ran) == ["fails", "works"]


def test_stopping_waits_for_the_job_that_runs(database: Database, table: Table) -> None:
    table.trouble = lambda: time.sleep(0.3)
    job_scheduler = scheduler(table, database, Clock())
    job_scheduler.start()
    time.sleep(0.1)
    job_scheduler.stop()
    assert "fails" in table.ran
    assert table.stopped  # else it would wait for a job with a million rows to fill


def test_stopping_while_the_database_is_gone_is_no_error(
    database: Database,
    clock: StoppedClock,
    table: Table,
    logs: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_scheduler = scheduler(table, database, clock)

    def fail(*_: object, **__: object) -> None:
        raise StorageError("gone")

    job_scheduler.start()
    monkeypatch.setattr(leases, "release", fail)
    job_scheduler.stop()
    assert [entry["trouble"] for entry in logs if "trouble" in entry] == ["gone"]
