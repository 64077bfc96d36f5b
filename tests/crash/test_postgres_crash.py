"""PostgreSQL itself is killed in the middle: the worker resumes by itself, and nothing is sent twice."""

from pathlib import Path

import pytest

from tests import databases
from tests.conftest import missing
from tests.crash import proof, report, scenes
from tests.crash.campaign import open_campaign

RECIPIENTS = 1_000
CRASHES = 2
AWAY_SECONDS = 1.0
CAREFUL = (*databases.PLAIN, "fsync=off", "synchronous_commit=on")  # committed data survives a crash


@pytest.mark.timeout(200)
def test_the_worker_goes_on_when_the_database_server_dies_and_comes_back(tmp_path: Path) -> None:
    programs = databases.postgres_programs()
    if programs is None:
        missing("PostgreSQL")
        return
    with (
        databases.postgres(programs, settings=CAREFUL) as server,
        open_campaign(tmp_path, url=server.empty()) as campaign,
    ):
        scenes.settle_in(campaign, RECIPIENTS)
        with scenes.serving(campaign):
            scenes.leave(campaign)
            scenes.announce(campaign)
            for _ in range(CRASHES):
                count_before = len(campaign.tape.read())
                campaign.until(lambda: len(campaign.tape.read()) > count_before + 100, what="messages")  # noqa: B023
                server.crash(seconds=AWAY_SECONDS)
        proof.finish(campaign)
        result = report.reach(campaign)
    assert list(result.broken()) == [], report.format_report(result)
    assert (result.unknown, result.twice) == (0, []), "no worker died, so each answer is known"
