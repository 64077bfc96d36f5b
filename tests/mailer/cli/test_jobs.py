"""Every job is listed, and runs by hand."""

from datetime import timedelta

import pytest

from mailer.coordination import send_hold
from mailer.outbox import stats
from mailer.service import Service
from tests import commands
from tests.commands import Mailer
from tests.people import Person


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def test_every_job_is_listed_and_runs_by_hand(service: Service, mailer: Mailer) -> None:
    report = mailer("jobs", "list", "--json").json
    assert [job["name"] for job in report] == [job.name for job in service.jobs.all()]
    assert "every day" in mailer("jobs", "list").out
    for job in report:
        assert mailer("jobs", "run", job["name"]).status == 0


def test_filling_by_hand_reaches_ben_and_not_cleo(
    service: Service, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    result = mailer("jobs", "run", "fill-sequence", "--json")
    assert result.json == {"name": "fill-sequence", "moved": 1, "held": ""}
    assert mailer("jobs", "run", "fill-sequence").out == "Done: there was nothing to do.\n"
    with service.database.read() as session:
        assert stats.count_by_kind_and_state(session) == {("sequence", "queued"): 1}


def test_after_a_restore_a_job_says_why_nothing_is_sent(
    service: Service, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    now = service.clock.now()
    with service.database.write() as session:
        send_hold.begin(session, backup_at=now - timedelta(days=1), run="a", now=now)
    result = mailer("jobs", "run", "fill-sequence")
    assert result.status == 0
    assert result.out.startswith("Nothing is sent: the backup of ")
    assert "mailer db accept-gap" in result.out
    report = mailer("jobs", "run", "fill-sequence", "--json").json
    assert (report["moved"], report["held"]) == (0, result.out.strip())
    with service.database.read() as session:
        assert stats.count_by_kind_and_state(session) == {}


def test_an_unknown_job_is_told(mailer: Mailer) -> None:
    result = mailer("jobs", "run", "sweep")
    assert (result.status, "no job called “sweep”" in result.refusal) == (2, True)
