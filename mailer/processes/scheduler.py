"""Scheduler: a metronome. It ticks jobs in the one process that holds the duty, and remembers nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from pathlib import Path

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from lists.clock import Clock
from lists.db import Database
from lists.errors import StorageError
from mailer import file_lock
from mailer.coordination import job_runs, leases
from mailer.coordination.job_runs import FinishedRun
from mailer.jobs import Job, Jobs
from mailer.tryout import time_machine

SCHEDULER_LEASE = leases.SCHEDULER
LEASE_LENGTH = timedelta(seconds=30)
OWNER_FILE = "scheduler.owner"  # the file whose lock is held by whoever holds the duty in a data folder
MAX_OWNER_BYTES = 60  # as long as a lease lets a name be
MISFIRE_SECONDS = 3600  # a tick this late still runs, once

log = structlog.get_logger()


class Scheduler:
    """Ticks every job at its own pace, while this process (`owner`) holds the duty in the database."""

    def __init__(self, jobs: Jobs, *, database: Database, clock: Clock, owner: str) -> None:
        self._jobs = jobs
        self._database = database
        self._clock = clock
        self._owner = owner
        self._ended: dict[str, FinishedRun] = {}  # to write down with the next look at the duty
        self._ticker = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "misfire_grace_time": MISFIRE_SECONDS, "max_instances": 1},
        )
        start = clock.real()  # each job once at the start, or a nightly one never comes where machines sleep
        for job in jobs.all():
            seconds = job.every.total_seconds()
            self._ticker.add_job(
                self._tick, "interval", [job], seconds=seconds, id=job.name, next_run_time=start
            )

    def start(self) -> None:
        """Begin ticking in a background thread."""
        self._ticker.start()

    def stop(self) -> None:
        """Wait for the batch that is running, tick no more, and give the duty up."""
        self._jobs.stop()
        self._ticker.shutdown(wait=True)
        try:
            with self._database.write() as session:
                leases.release(session, SCHEDULER_LEASE, owner=self._owner, real=self._clock.real())
                job_runs.record(session, self._ended.values())
        except StorageError as trouble:
            log.warning("the duty is kept until its lease is over", trouble=str(trouble))

    def _hold_lease(self) -> bool:
        """Tell whether this process ticks now; nobody does while a time machine moves the clock.

        What ran since the last look is written down in the same transaction.
        """
        real = self._clock.real()
        ended = dict(self._ended)
        with self._database.write() as session:
            if leases.is_held_by_another(session, time_machine.LEASE_NAME, owner=self._owner, real=real):
                return False
            held = leases.acquire(session, SCHEDULER_LEASE, owner=self._owner, real=real, length=LEASE_LENGTH)
            job_runs.record(session, ended.values())
        for name, ran in ended.items():
            if self._ended.get(name) is ran:
                self._ended.pop(name, None)
        return held

    def _tick(self, job: Job) -> None:
        began, at = self._clock.monotonic(), self._clock.real()

        def ran(*, moved: int = 0, fault: str = "") -> None:
            seconds = self._clock.monotonic() - began
            self._ended[job.name] = FinishedRun(
                job=job.name, at=at, seconds=seconds, moved=moved, fault=fault
            )

        try:
            if self._hold_lease():
                moved = job.run()
                ran(moved=moved)
                if moved:
                    log.info("job", name=job.name, moved=moved)
        except StorageError as trouble:
            log.warning("job put off", name=job.name, trouble=str(trouble))
        except Exception as fault:
            ran(fault=type(fault).__name__)
            log.exception("job failed", name=job.name)  # the next tick tries again; the others go on


@contextmanager
def take_over_lease(database: Database, clock: Clock, *, folder: Path, owner: str) -> Iterator[None]:
    """Take over, for the block, the duty of whoever had it in this data folder and was killed.

    The kernel lets a dead process's lock go at once, while its lease would last for half a minute more, in
    which nothing would be put into the outbox. Changes nothing while the other one lives.
    """
    handle = os.open(folder / OWNER_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if file_lock.try_acquire(handle):
            before = os.pread(handle, MAX_OWNER_BYTES, 0).decode().rstrip()
            with database.write() as session:
                leases.release(session, SCHEDULER_LEASE, owner=before, real=clock.real())
            os.pwrite(handle, owner.encode().ljust(MAX_OWNER_BYTES), 0)
        yield
    finally:
        os.close(handle)
