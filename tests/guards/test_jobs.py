"""Jobs: every job can be listed and run by a command."""

import json

import pytest
from click.testing import CliRunner

from mailer.cli import jobs
from mailer.service import Service


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def test_every_job_is_listed_by_the_command_line(service: Service) -> None:
    answer = CliRunner().invoke(jobs.command, ["list", "--json"], obj=service, catch_exceptions=False)
    assert {row["name"] for row in json.loads(answer.output)} == {job.name for job in service.jobs.all()}


def test_every_job_runs_from_the_command_line(service: Service) -> None:
    for job in service.jobs.all():
        answer = CliRunner().invoke(jobs.command, ["run", job.name], obj=service, catch_exceptions=False)
        assert answer.exit_code == 0, job.name


def test_every_job_has_a_description_and_an_interval(service: Service) -> None:
    for job in service.jobs.all():
        assert job.about
        assert job.every.total_seconds() > 0


def test_every_source_is_filled_by_a_job(service: Service) -> None:
    kinds = {job.name.removeprefix("fill-") for job in service.jobs.all() if job.name.startswith("fill-")}
    assert kinds == {source.kinds[0] for source in service.sources.values()}
