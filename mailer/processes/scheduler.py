"""Scheduler: runs the jobs in the one process that holds the scheduler lease; it stores no state itself."""

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
from mailer.jobs.jobs import Job, Jobs
from mailer.tryout import time_machine

SCHEDULER_LEASE = leases.SCHEDULER
LEASE_LENGTH = timedelta(seconds=30)
OWNER_FILE = "scheduler.owner"  # its lock belongs to the process that holds the lease in a data folder
MAX_OWNER_BYTES = 60  # the longest owner that a lease allows
MISFIRE_SECONDS = 3600  # a tick this late still runs, once

log = structlog.get_logger()


class Scheduler:
    """Runs every job at its own interval, while this process (`owner`) holds the lease in the database."""

    def __init__(self, jobs: Jobs, *, database: Database, clock: Clock, owner: str) -> None:
        self._jobs = jobs
        self._database = database
        self._clock = clock
        self._owner = owner
        self._ended: dict[str, FinishedRun] = {}  # to be recorded when the lease is acquired next
        self._ticker = BackgroundScheduler(
            timezone=UTC,
            job_defaults={"coalesce": True, "misfire_grace_time": MISFIRE_SECONDS, "max_instances": 1},
        )
        start = clock.real()  # each job runs at the start, or a nightly one never runs on machines that sleep
        for job in jobs.all():
            seconds = job.every.total_seconds()
            self._ticker.add_job(
                self._tick, "interval", [job], seconds=seconds, id=job.name, next_run_time=start
            )

    def start(self) -> None:
        """Begin ticking in a background thread."""
        self._ticker.start()

    def stop(self) -> None:
        """Wait for the batch that is running, start no more, and release the lease."""
        self._jobs.stop()
        self._ticker.shutdown(wait=True)
        try:
            with self._database.write() as session:
                leases.release(session, SCHEDULER_LEASE, owner=self._owner, real=self._clock.real())
                job_runs.record(session, self._ended.values())
        except StorageError as trouble:
            log.warning("the duty is kept until its lease is over", trouble=str(trouble))

    def _hold_lease(self) -> bool:
        """Tell whether this process runs jobs now; no process does while a time machine moves the clock.

        Runs that finished since the last call are recorded in the same transaction.
        """
        real = self._clock.real()
        runs = dict(self._ended)
        with self._database.write() as session:
            if leases.is_held_by_another(session, time_machine.LEASE_NAME, owner=self._owner, real=real):
                return False
            is_held = leases.acquire(
                session, SCHEDULER_LEASE, owner=self._owner, real=real, length=LEASE_LENGTH
            )
            job_runs.record(session, runs.values())
        for name, run in runs.items():
            if self._ended.get(name) is run:
                self._ended.pop(name, None)
        return is_held

    def _tick(self, job: Job) -> None:
        began, at = self._clock.monotonic(), self._clock.real()

        def record_run(*, rows: int = 0, fault: str = "") -> None:
            seconds = self._clock.monotonic() - began
            self._ended[job.name] = FinishedRun(job=job.name, at=at, seconds=seconds, rows=rows, fault=fault)

        try:
            if self._hold_lease():
                rows = job.run()
                record_run(rows=rows)
                if rows:
                    log.info("job", name=job.name, moved=rows)
        except StorageError as trouble:
            log.warning("job put off", name=job.name, trouble=str(trouble))
        except Exception as fault:
            record_run(fault=type(fault).__name__)
            log.exception("job failed", name=job.name)  # the next tick tries again; the others go on


@contextmanager
def take_over_lease(database: Database, clock: Clock, *, folder: Path, owner: str) -> Iterator[None]:
    """Take over, for the block, the lease of a process in this data folder that was killed.

    The kernel frees the file lock of an ended process at once, while its lease would last for half a minute
    more, in which nothing would be queued. Changes nothing while the other process runs.
    """
    handle = os.open(folder / OWNER_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if file_lock.try_acquire(handle):
            previous_owner = os.pread(handle, MAX_OWNER_BYTES, 0).decode().rstrip()
            with database.write() as session:
                leases.release(session, SCHEDULER_LEASE, owner=previous_owner, real=clock.real())
            os.pwrite(handle, owner.encode().ljust(MAX_OWNER_BYTES), 0)
        yield
    finally:
        os.close(handle)
