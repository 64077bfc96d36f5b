"""The short forms of the stopping faults of scripts/prove-kills: frozen, suspended, stalled, cut off."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lists.db import Database
from tests import databases
from tests.conftest import missing
from tests.crash import freezes, machine, partition, stalls, suspensions
from tests.crash.machine import MachineClock
from tests.crash.report import format_report

READERS = 300
LEASE_SECONDS = 3.0
BUSY_SECONDS = 40.0  # the other tests run at the same time; scripts/prove-kills is strict
STALLED, STALL_SECONDS = 10, 6.0
CUT_SECONDS = 40.0


@pytest.fixture
def clock() -> Iterator[MachineClock]:
    with tempfile.TemporaryDirectory(prefix="mailer-clock-") as folder:  # not pytest's, which is private
        Path(folder).chmod(0o755)
        try:
            clock = MachineClock(Path(folder))
        except LookupError:
            missing("A C compiler")
            return
        yield clock


@pytest.mark.timeout(300)
def test_a_worker_that_stood_still_for_longer_than_its_lease_strands_nobody(
    empty_database: Database, tmp_path: Path
) -> None:
    report = freezes.prove(
        tmp_path, url=empty_database.url, people=READERS, times=1, lease_seconds=LEASE_SECONDS
    )
    assert list(report.broken(within=BUSY_SECONDS)) == [], format_report(report)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
def test_nor_does_a_machine_that_was_suspended_for_an_hour(
    empty_database: Database, tmp_path: Path, clock: MachineClock
) -> None:
    report = suspensions.prove(tmp_path, url=empty_database.url, people=READERS, times=2, clock=clock)
    assert list(report.broken(within=BUSY_SECONDS)) == [], format_report(report)


@pytest.mark.timeout(300)
def test_nor_where_the_database_server_was_suspended_with_it(tmp_path: Path, clock: MachineClock) -> None:
    programs = databases.postgres_programs()
    if programs is None:
        missing("PostgreSQL")
        return
    with databases.postgres(programs, environ=clock.environ) as server:
        report = suspensions.prove(
            tmp_path, url=server.empty(), people=READERS, times=1, clock=clock,
            database_pids=lambda: machine.tree(server.pid),
        )  # fmt: skip
    assert list(report.broken(within=BUSY_SECONDS)) == [], format_report(report)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("moment", stalls.MOMENTS)
@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
def test_nobody_waits_for_ten_recipients_whose_server_never_answers(
    empty_database: Database, tmp_path: Path, moment: str
) -> None:
    report = stalls.prove(
        tmp_path, url=empty_database.url, people=READERS, stalled=STALLED, moment=moment,
        seconds=STALL_SECONDS, within=BUSY_SECONDS,
    )  # fmt: skip
    assert list(report.broken(within=BUSY_SECONDS)) == [], format_report(report)


@pytest.mark.timeout(400)
def test_a_worker_that_is_cut_off_inside_a_claim_stops_nobody_else(tmp_path: Path) -> None:
    if why := partition.trouble():
        pytest.skip(why)
    report = partition.prove(tmp_path, people=READERS, seconds=CUT_SECONDS)
    assert list(report.broken(within=BUSY_SECONDS)) == [], format_report(report)
