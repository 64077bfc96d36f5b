"""Many workers on PostgreSQL, some of them killed, one of them on another machine; one on SQLite."""

import random
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from lists.db import Database
from mailer.outbox.attempts import Attempt
from mailer.outbox.outbox import OutboxRow
from mailer.processes import bootstrap
from tests.crash import chance, proof, scenes, verdict
from tests.crash.campaign import Campaign, campaign

RECIPIENTS = 4_000
SLOW_SECONDS = 0.4  # of the server, so that there is something to send until the end
KILLS = 8
WORKERS = 8
TAKEN_WITHIN = timedelta(seconds=60)
LOST = "its worker was lost"


def claimed_by(made: Campaign, pid: int) -> int:
    with made.built.database.read() as session:
        mine = (OutboxRow.state == "sending") & OutboxRow.worker.contains(f".{pid}.")
        return session.scalar(select(func.count()).where(mine)) or 0


def taken_over_at(made: Campaign) -> datetime:
    """When the last claim of a worker that was lost with its machine was settled."""
    with made.built.database.read() as session:
        last = session.scalar(select(func.max(Attempt.at)).where(Attempt.reply == LOST))
        assert last is not None
        return last


def elsewhere(made: Campaign, folder: Path) -> subprocess.Popen[bytes]:
    """A worker with a data folder of its own, as on another machine: nobody else sees its journal."""
    shutil.copytree(made.home / "secrets", folder / "secrets")
    environ = {**made.environ, "MAILER_HOME": str(folder)}
    return subprocess.Popen([sys.executable, "-m", "mailer", "work"], env=environ, stderr=subprocess.DEVNULL)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_eight_workers_of_which_some_are_killed_and_one_is_lost_with_its_machine(
    empty_database: Database, tmp_path: Path
) -> None:
    with campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as made:
        scenes.settle_in(made, RECIPIENTS)
        with scenes.serving(made):
            scenes.leave(made)
            scenes.announce(made)
            lost = elsewhere(made, tmp_path / "elsewhere")
            made.until(lambda: claimed_by(made, lost.pid), what="a claim")
            lost.kill()
            lost.wait()
            died = made.built.clock.now()
            held = claimed_by(made, lost.pid)
            chance.working(made, KILLS, chance=random.Random(1), number=WORKERS - 1)
            made.until(lambda: not claimed_by(made, lost.pid), what="an end of the dead worker's claims")
        proof.finish(made)
        reached = verdict.reach(made)
        taken = taken_over_at(made)
    assert held and taken - died <= TAKEN_WITHIN, f"the dead worker's claims stood for {taken - died}"
    doubted = reached.unknown - held  # after a lost machine everything it had claimed is unknown
    assert (reached.lost, reached.strange, reached.sure_twice) == ([], [], []), verdict.told(reached)
    assert len(reached.twice) <= reached.unknown
    assert doubted <= made.built.settings.connections * KILLS, verdict.told(reached)


def test_a_second_worker_on_sqlite_is_refused_with_a_sentence(sqlite_url: str, tmp_path: Path) -> None:
    with campaign(tmp_path, url=sqlite_url) as made:
        bootstrap.create(made.settings)
        first = made.start("work")
        made.until(lambda: (made.home / "delivery.lock").exists(), what="the first worker")
        made.until(
            lambda: list((made.home / "journals").glob("*.journal")), what="the first worker's journal"
        )
        assert made.run("work") == 2
        assert "Another process delivers from this data folder already" in made.log()
        assert first.poll() is None
