"""A worker that is stopped, or cut off from the database, for longer than its lease strands no message."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from lists import subscriptions
from lists.db import Database
from mailer.delivery import rescue
from mailer.outbox.outbox import OutboxRow
from mailer.reasons import Reason
from tests.crash import scenes
from tests.crash.campaign import Campaign, open_campaign
from tests.peers.forwarder import Forwarder

LEASE = 4.0  # seconds
STILL = 2.5 * LEASE
IDLE = 3  # seconds until PostgreSQL ends an idle transaction
RECIPIENTS = 1_500
SLOW_SECONDS = 0.1  # of the server, so that messages are in transit at any moment
HELD = 10  # claimed rows at least, when a worker is stopped


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the observation to the short lease of these workers."""
    monkeypatch.setattr(rescue, "SILENT_SECONDS", LEASE / 2)
    monkeypatch.setattr(rescue, "MAX_OBSERVED_SECONDS", 1.0)


@contextmanager
def working(campaign: Campaign, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker with a short lease, ended as an operator ends one."""
    command = [sys.executable, "-m", "tests.crash.hurried", str(LEASE), "work"]
    with campaign.log_file.open("ab") as log:
        worker = subprocess.Popen(command, env={**campaign.environ, **more}, stdout=log, stderr=log)
    try:
        yield worker
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, campaign.log()
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()


def is_claimed_by(worker: subprocess.Popen[bytes]) -> object:
    return OutboxRow.worker.contains(f".{worker.pid}.")


def count(campaign: Campaign, *where: object) -> int:
    with campaign.service.database.read() as session:
        return session.scalar(select(func.count()).select_from(OutboxRow).where(*where)) or 0  # type: ignore[arg-type]


def announce(campaign: Campaign) -> str:
    """Send an update to everybody, after which Cleo leaves; returns her address."""
    scenes.settle_in(campaign, RECIPIENTS)
    scenes.announce(campaign)
    assert campaign.cleo is not None
    with campaign.service.database.write() as session:
        subscriptions.leave(session, contact_id=campaign.cleo.id, now=campaign.service.clock.now())
    return campaign.cleo.email


def run_rescue(campaign: Campaign, *, seconds: float) -> None:
    """Run the rescue jobs once a second, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1.0)
        campaign.service.rescue.settle_ended_workers()
        campaign.service.rescue.settle_overdue()


def drain(campaign: Campaign) -> None:
    """Let everything be sent, also what was postponed because its dot came too late."""
    campaign.sink.send_signal(signal.SIGUSR1)
    while True:
        campaign.until(lambda: not campaign.waiting(), what="an empty outbox")
        with campaign.service.database.write() as session:
            statement = update(OutboxRow).where(OutboxRow.state == "queued")
            rows = session.execute(
                statement.values(due_at=campaign.service.clock.now()).returning(OutboxRow.id)
            ).all()
        if not rows:
            return


def nobody_is_stranded(campaign: Campaign, cleo: str) -> None:
    with campaign.service.database.read() as session:
        states = Counter(session.scalars(select(OutboxRow.state)))
    assert set(states) == {"sent", "cancelled"}, f"{states}\n{campaign.log()}"
    assert states["cancelled"] == 1
    copies = campaign.tape.copies()
    assert len(copies) == states["sent"] and set(copies.values()) == {1}
    assert cleo not in campaign.tape.distinct()


def stop_worker(campaign: Campaign, worker: subprocess.Popen[bytes]) -> int:
    """Stop a worker in the middle; returns how many rows it holds."""
    conditions = (is_claimed_by(worker), OutboxRow.state == "sending")
    campaign.until(lambda: count(campaign, *conditions) >= HELD, what="claims")
    os.kill(worker.pid, signal.SIGSTOP)
    return count(campaign, *conditions)


@pytest.mark.timeout(120)
def test_a_worker_that_stands_still_goes_on_and_everything_leaves_once(
    empty_database: Database, tmp_path: Path
) -> None:
    with (
        open_campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as campaign,
        ExitStack() as others,
    ):
        cleo = announce(campaign)
        with working(campaign) as frozen:
            if not campaign.embedded:
                others.enter_context(working(campaign))
            for _ in range(2):
                held = stop_worker(campaign, frozen)
                run_rescue(campaign, seconds=STILL)
                assert count(campaign, OutboxRow.state == "unknown") == 0
                assert count(campaign, is_claimed_by(frozen)) == held
                os.kill(frozen.pid, signal.SIGCONT)
            drain(campaign)
        nobody_is_stranded(campaign, cleo)


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_as_it_stands_still_strands_only_what_it_had_begun(
    empty_database: Database, tmp_path: Path
) -> None:
    with open_campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as campaign:
        announce(campaign)
        with pytest.raises(AssertionError), working(campaign) as frozen:
            held = stop_worker(campaign, frozen)
            run_rescue(campaign, seconds=STILL)
            frozen.kill()
            frozen.wait()
        run_rescue(campaign, seconds=2.0)
        assert count(campaign, OutboxRow.state == "sending") == 0
        unknown = count(campaign, OutboxRow.state == "unknown", OutboxRow.reason == Reason.WORKER_DIED)
        assert count(campaign, OutboxRow.state == "unknown") == unknown
        assert unknown <= campaign.service.settings.connections
        assert held >= HELD


def elsewhere(campaign: Campaign, folder: Path, **more: str) -> Mapping[str, str]:
    """Return the settings of a worker on another machine: no other process reads its journal."""
    shutil.copytree(campaign.home / "secrets", folder / "secrets")
    return {"MAILER_HOME": str(folder), **more}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_what_was_given_up_of_a_worker_on_another_machine_is_corrected_when_it_goes_on(
    empty_database: Database, tmp_path: Path
) -> None:
    with open_campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as campaign:
        cleo = announce(campaign)
        with working(campaign, **elsewhere(campaign, tmp_path / "elsewhere")) as frozen, working(campaign):
            held = stop_worker(campaign, frozen)
            run_rescue(campaign, seconds=STILL)
            assert count(campaign, is_claimed_by(frozen), OutboxRow.reason == Reason.WORKER_LOST) == held
            os.kill(frozen.pid, signal.SIGCONT)
            campaign.until(lambda: not count(campaign, OutboxRow.state == "unknown"), what="its word")
            drain(campaign)
        nobody_is_stranded(campaign, cleo)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_a_worker_that_is_cut_off_inside_a_claim_holds_nobody_and_strands_nobody(
    empty_database: Database, tmp_path: Path
) -> None:
    name, _, folder = empty_database.url.partition("?host=")
    wire = Forwarder(Path(folder) / ".s.PGSQL.5432")
    wire.silence_after(b"UPDATE outbox SET", times=4)
    options = f"options=-c%20idle_in_transaction_session_timeout%3D{IDLE}s"
    url = f"postgresql+psycopg://postgres@127.0.0.1:{wire.port}/{name.rpartition('/')[2]}?{options}"
    with open_campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as campaign:
        campaign.environ = {
            **campaign.environ,
            "MAILER_SMTP_URL": campaign.environ["MAILER_SMTP_URL"] + "&rate=6000/minute",
        }
        cleo = announce(campaign)
        away = elsewhere(campaign, tmp_path / "elsewhere", MAILER_DATABASE_URL=url)
        with working(campaign, **away) as cut_off, working(campaign), working(campaign):
            campaign.until(lambda: wire.silent_since is not None, what="a claim of the one that is cut off")
            assert wire.silent_since is not None
            silent = wire.silent_since
            campaign.until(lambda: campaign.tape.has_message_after(silent + 1.0), what="mail of the others")
            first = campaign.tape.read()[-1].at - silent
            assert first < IDLE + 10, "the others waited for its locks"
            run_rescue(campaign, seconds=STILL)
            assert count(campaign, is_claimed_by(cut_off), OutboxRow.state == "sending") == 0
            wire.heal()
            campaign.until(lambda: not count(campaign, OutboxRow.state == "unknown"), what="its word")
            drain(campaign)
        nobody_is_stranded(campaign, cleo)
    wire.close()
