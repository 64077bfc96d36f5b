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
from mailer.reasons import Reason
from tests.crash import chance, proof, report, scenes
from tests.crash.campaign import Campaign, open_campaign

RECIPIENTS = 4_000
SLOW_SECONDS = 0.4  # of the server, so that there are messages to send until the end
KILLS = 8
WORKERS = 8
TAKEN_WITHIN = timedelta(seconds=60)


def claimed_by(campaign: Campaign, pid: int) -> int:
    with campaign.service.database.read() as session:
        is_claimed = (OutboxRow.state == "sending") & OutboxRow.worker.contains(f".{pid}.")
        return session.scalar(select(func.count()).where(is_claimed)) or 0


def taken_over_at(campaign: Campaign) -> datetime:
    """Return when the last claim of a worker that was lost with its machine was settled."""
    with campaign.service.database.read() as session:
        last = session.scalar(select(func.max(Attempt.at)).where(Attempt.reason == Reason.WORKER_LOST))
        assert last is not None
        return last


def elsewhere(campaign: Campaign, folder: Path) -> subprocess.Popen[bytes]:
    """Start a worker with its own data folder, as on another machine: no other process reads its journal."""
    shutil.copytree(campaign.home / "secrets", folder / "secrets")
    environ = {**campaign.environ, "MAILER_HOME": str(folder)}
    return subprocess.Popen([sys.executable, "-m", "mailer", "work"], env=environ, stderr=subprocess.DEVNULL)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_eight_workers_of_which_some_are_killed_and_one_is_lost_with_its_machine(
    empty_database: Database, tmp_path: Path
) -> None:
    with open_campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as campaign:
        scenes.settle_in(campaign, RECIPIENTS)
        with scenes.serving(campaign):
            scenes.leave(campaign)
            scenes.announce(campaign)
            lost = elsewhere(campaign, tmp_path / "elsewhere")
            campaign.until(lambda: claimed_by(campaign, lost.pid), what="a claim")
            lost.kill()
            lost.wait()
            ended_at = campaign.service.clock.now()
            claimed_count = claimed_by(campaign, lost.pid)
            chance.working(campaign, KILLS, chance=random.Random(1), number=WORKERS - 1)
            campaign.until(
                lambda: not claimed_by(campaign, lost.pid), what="an end of the dead worker's claims"
            )
        proof.finish(campaign)
        result = report.reach(campaign)
        settled_at = taken_over_at(campaign)
    assert claimed_count and settled_at - ended_at <= TAKEN_WITHIN, (
        f"the dead worker's claims stood for {settled_at - ended_at}"
    )
    doubtful_count = (
        result.unknown - claimed_count
    )  # after a lost machine everything it had claimed is unknown
    assert (result.lost, result.strange, result.sure_twice) == ([], [], []), report.format_report(result)
    assert len(result.twice) <= result.unknown
    assert doubtful_count <= campaign.service.settings.connections * KILLS, report.format_report(result)


def test_a_second_worker_on_sqlite_is_refused_with_a_sentence(sqlite_url: str, tmp_path: Path) -> None:
    with open_campaign(tmp_path, url=sqlite_url) as campaign:
        bootstrap.create(campaign.settings)
        first = campaign.start("work")
        campaign.until(lambda: (campaign.home / "delivery.lock").exists(), what="the first worker")
        campaign.until(
            lambda: list((campaign.home / "journals").glob("*.journal")), what="the first worker's journal"
        )
        assert campaign.run("work") == 2
        assert "Another process delivers from this data folder already" in campaign.log()
        assert first.poll() is None
