"""PostgreSQL itself dies in the middle: the worker goes on by itself, and nothing leaves twice."""

from pathlib import Path

import pytest

from tests import databases
from tests.conftest import missing
from tests.crash import proof, scenes, verdict
from tests.crash.campaign import campaign

RECIPIENTS = 1_000
CRASHES = 2
AWAY_SECONDS = 1.0
CAREFUL = (*databases.PLAIN, "fsync=off", "synchronous_commit=on")  # what was committed outlives a crash


@pytest.mark.timeout(200)
def test_the_worker_goes_on_when_the_database_server_dies_and_comes_back(tmp_path: Path) -> None:
    programs = databases.postgres_programs()
    if programs is None:
        missing("PostgreSQL")
        return
    with (
        databases.postgres(programs, settings=CAREFUL) as server,
        campaign(tmp_path, url=server.empty()) as made,
    ):
        scenes.settle_in(made, RECIPIENTS)
        with scenes.serving(made):
            scenes.leave(made)
            scenes.announce(made)
            for _ in range(CRASHES):
                before = len(made.tape.read())
                made.until(lambda: len(made.tape.read()) > before + 100, what="messages")  # noqa: B023
                server.crash(seconds=AWAY_SECONDS)
        proof.finish(made)
        reached = verdict.reach(made)
    assert list(reached.broken()) == [], verdict.told(reached)
    assert (reached.unknown, reached.twice) == (0, []), "no worker died, so each answer is known"
