"""Heartbeats, job runs and counters: workers and the scheduler record their activity in the database."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from lists.db import Database
from lists.errors import StorageError
from mailer.coordination import counters, heartbeat, job_runs
from mailer.coordination.job_runs import FinishedRun, JobRun
from mailer.jobs.jobs import Job
from mailer.processes.scheduler import Scheduler
from mailer.service import Service
from tests.clocks import StoppedClock


class OneJob:
    """A table of jobs with one job that runs the given function."""

    def __init__(self, work: Callable[[], int]) -> None:
        self.job = Job(name="expire", about="a job", every=timedelta(seconds=5), run=work)

    def all(self) -> list[Job]:
        return [self.job]

    def stop(self) -> None:
        """Do nothing: the job is too short to be stopped."""


def build_scheduler(service: Service, work: Callable[[], int]) -> tuple[Scheduler, Job]:
    jobs = OneJob(work)
    scheduler = Scheduler(
        jobs,  # type: ignore[arg-type]
        database=service.database,
        clock=service.clock,
        owner="us",
    )
    return scheduler, jobs.job


def list_runs(service: Service) -> list[tuple[str, int, str]]:
    with service.database.read() as session:
        return [(run.job, run.moved, run.fault) for run in job_runs.list_latest(session)]


async def test_a_worker_beats_while_it_lives_and_is_gone_when_it_ends(
    database: Database, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)

    def count_workers() -> int:
        with database.read() as session:
            return heartbeat.count_alive(session, real=clock.real())

    async with (
        heartbeat.keep_beating(database, clock, worker="one"),
        heartbeat.keep_beating(database, clock, worker="two"),
    ):
        for _ in range(200):
            if count_workers() == 2:
                break
            await asyncio.sleep(0.01)
        assert count_workers() == 2
    assert count_workers() == 0


async def test_a_database_that_is_locked_stops_no_worker(
    database: Database, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def fail(*_: object, **__: object) -> None:
        tries.append("in vain")
        raise StorageError("busy")

    monkeypatch.setattr(heartbeat, "beat", fail)
    monkeypatch.setattr(heartbeat, "end", fail)
    async with heartbeat.keep_beating(database, clock, worker="one"):
        for _ in range(200):  # the first connection to PostgreSQL may take long
            if tries:
                break
            await asyncio.sleep(0.01)
        has_tried = bool(tries)
    assert has_tried
    assert len(tries) >= 2, "the beat and the end were both tried"


def test_a_run_is_written_down_with_the_next_look_at_the_duty(service: Service, clock: StoppedClock) -> None:
    def work() -> int:
        clock.advance(seconds=2)
        return 7

    scheduler, job = build_scheduler(service, work)
    scheduler._tick(job)
    assert list_runs(service) == []  # a commit for each run would double the writes of an idle service
    scheduler._tick(job)
    assert list_runs(service) == [("expire", 7, "")]
    with service.database.read() as session:
        (run,) = job_runs.list_latest(session)
        assert (run.at, run.seconds) == (clock.real() - timedelta(seconds=4), 2.0)


def test_a_run_that_failed_is_written_down_by_the_kind_of_its_error(service: Service) -> None:
    def work() -> int:
        raise KeyError("ana@stmark.example.org")

    scheduler, job = build_scheduler(service, work)
    scheduler._tick(job)
    scheduler._tick(replace(job, run=lambda: 0))
    assert list_runs(service) == [("expire", 0, "KeyError")]
    scheduler._tick(job)
    assert list_runs(service) == [("expire", 0, "")]


def test_what_ran_last_is_written_down_at_the_stop(service: Service) -> None:
    scheduler, job = build_scheduler(service, lambda: 3)
    scheduler._ticker.start(paused=True)
    scheduler._tick(job)
    scheduler.stop()
    assert list_runs(service) == [("expire", 3, "")]


def test_a_job_that_was_put_off_says_nothing_about_its_last_run(service: Service) -> None:
    def fail() -> int:
        raise StorageError("busy")

    scheduler, job = build_scheduler(service, fail)
    scheduler._tick(job)
    scheduler._tick(job)
    assert list_runs(service) == []


def test_many_runs_are_one_row_a_job(service: Service, clock: StoppedClock) -> None:
    for row_count in range(3):
        with service.database.write() as session:
            runs = [
                FinishedRun(job=name, at=clock.real(), seconds=0.0, rows=row_count) for name in ("b", "a")
            ]
            job_runs.record(session, runs)
    assert list_runs(service) == [("a", 2, ""), ("b", 2, "")]
    assert JobRun.__tablename__ == "runs"


def test_counters_add_up_over_slots_and_steps(database: Database, clock: StoppedClock) -> None:
    for slot in range(20):
        with database.write() as session:
            counters.add(session, {"sent": 2, "refused": 1}, slot=slot, now=clock.now())
            counters.add(session, {}, slot=slot, now=clock.now())
        clock.advance(seconds=10)
    with database.read() as session:
        assert counters.read_totals(session) == {"sent": 40, "refused": 20}
        assert counters.count_since(session, "sent", since=clock.now() - timedelta(seconds=60)) == 12
        assert counters.count_since(session, "nothing", since=clock.now() - timedelta(days=1)) == 0
