"""A worker that stands still, or is cut off from the database, for longer than its lease strands nobody."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from lists import subscriptions
from lists.db import Database
from mailer.delivery import rescue
from mailer.outbox.outbox import OutboxRow
from mailer.smtp import doubt
from tests.crash import scenes
from tests.crash.campaign import Campaign, campaign
from tests.peers.forwarder import Forwarder

LEASE = 4.0  # seconds
STILL = 2.5 * LEASE
IDLE = 3  # seconds until PostgreSQL ends a transaction in which nothing is asked
RECIPIENTS = 1_500
SLOW_SECONDS = 0.1  # of the server, so that messages are on their way at any moment
HELD = 10  # claimed rows at least, when a worker is stopped


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch for as long as the short lease of these workers needs."""
    monkeypatch.setattr(rescue, "SILENT_SECONDS", LEASE / 2)
    monkeypatch.setattr(rescue, "OBSERVED_SECONDS_MOST", 1.0)


@contextmanager
def working(made: Campaign, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker in a hurry, ended as an operator ends one."""
    command = [sys.executable, "-m", "tests.crash.hurried", str(LEASE), "work"]
    with made.log_file.open("ab") as log:
        worker = subprocess.Popen(command, env={**made.environ, **more}, stdout=log, stderr=log)
    try:
        yield worker
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0, made.log()
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.wait()


def of(worker: subprocess.Popen[bytes]) -> object:
    return OutboxRow.worker.contains(f".{worker.pid}.")


def count(made: Campaign, *where: object) -> int:
    with made.built.database.read() as session:
        return session.scalar(select(func.count()).select_from(OutboxRow).where(*where)) or 0  # type: ignore[arg-type]


def announced(made: Campaign) -> str:
    """An update to everybody, after which Cleo leaves; returns her address."""
    scenes.settle_in(made, RECIPIENTS)
    scenes.announce(made)
    assert made.cleo is not None
    with made.built.database.write() as session:
        subscriptions.leave(session, contact_id=made.cleo.id, now=made.built.clock.now())
    return made.cleo.email


def rescued(made: Campaign, *, seconds: float) -> None:
    """Do what the scheduler does once a second, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1.0)
        made.built.rescue.settle_dead()
        made.built.rescue.settle_overdue()


def drained(made: Campaign) -> None:
    """Let everything leave, also what was put off because its dot came too late."""
    made.sink.send_signal(signal.SIGUSR1)
    while True:
        made.until(lambda: not made.waiting(), what="an empty outbox")
        with made.built.database.write() as session:
            later = update(OutboxRow).where(OutboxRow.state == "queued")
            moved = session.execute(later.values(due_at=made.built.clock.now()).returning(OutboxRow.id)).all()
        if not moved:
            return


def nobody_is_stranded(made: Campaign, cleo: str) -> None:
    with made.built.database.read() as session:
        states = Counter(session.scalars(select(OutboxRow.state)))
    assert set(states) == {"sent", "cancelled"}, f"{states}\n{made.log()}"
    assert states["cancelled"] == 1
    copies = made.tape.copies()
    assert len(copies) == states["sent"] and set(copies.values()) == {1}
    assert cleo not in made.tape.distinct()


def stopped(made: Campaign, worker: subprocess.Popen[bytes]) -> int:
    """Stop a worker in the middle; returns how many rows it holds."""
    enough: Callable[[], bool] = lambda: count(made, of(worker), OutboxRow.state == "sending") >= HELD  # noqa: E731
    made.until(enough, what="claims")
    os.kill(worker.pid, signal.SIGSTOP)
    return count(made, of(worker), OutboxRow.state == "sending")


@pytest.mark.timeout(120)
def test_a_worker_that_stands_still_goes_on_and_everything_leaves_once(
    empty_database: Database, tmp_path: Path
) -> None:
    with campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as made, ExitStack() as others:
        cleo = announced(made)
        with working(made) as frozen:
            if not made.embedded:
                others.enter_context(working(made))
            for _ in range(2):
                held = stopped(made, frozen)
                rescued(made, seconds=STILL)
                assert count(made, OutboxRow.state == "unknown") == 0
                assert count(made, of(frozen)) == held
                os.kill(frozen.pid, signal.SIGCONT)
            drained(made)
        nobody_is_stranded(made, cleo)


@pytest.mark.timeout(120)
def test_a_worker_that_is_killed_as_it_stands_still_strands_only_what_it_had_begun(
    empty_database: Database, tmp_path: Path
) -> None:
    with campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as made:
        announced(made)
        with pytest.raises(AssertionError), working(made) as frozen:
            held = stopped(made, frozen)
            rescued(made, seconds=STILL)
            frozen.kill()
            frozen.wait()
        rescued(made, seconds=2.0)
        assert count(made, OutboxRow.state == "sending") == 0
        unknown = count(made, OutboxRow.state == "unknown", OutboxRow.why == doubt.DIED)
        assert count(made, OutboxRow.state == "unknown") == unknown
        assert unknown <= made.built.settings.connections
        assert held >= HELD


def elsewhere(made: Campaign, folder: Path, **more: str) -> Mapping[str, str]:
    """The settings of a worker on another machine: nobody else sees its journal."""
    shutil.copytree(made.home / "secrets", folder / "secrets")
    return {"MAILER_HOME": str(folder), **more}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_what_was_given_up_of_a_worker_on_another_machine_is_corrected_when_it_goes_on(
    empty_database: Database, tmp_path: Path
) -> None:
    with campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as made:
        cleo = announced(made)
        with working(made, **elsewhere(made, tmp_path / "elsewhere")) as frozen, working(made):
            held = stopped(made, frozen)
            rescued(made, seconds=STILL)
            assert count(made, of(frozen), OutboxRow.why == doubt.LOST) == held
            os.kill(frozen.pid, signal.SIGCONT)
            made.until(lambda: not count(made, OutboxRow.state == "unknown"), what="its word")
            drained(made)
        nobody_is_stranded(made, cleo)


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
    with campaign(tmp_path, url=empty_database.url, wait_seconds=SLOW_SECONDS) as made:
        made.environ = {
            **made.environ,
            "MAILER_SMTP_URL": made.environ["MAILER_SMTP_URL"] + "&rate=6000/minute",
        }
        cleo = announced(made)
        away = elsewhere(made, tmp_path / "elsewhere", MAILER_DATABASE_URL=url)
        with working(made, **away) as cut_off, working(made), working(made):
            made.until(lambda: wire.silent_since is not None, what="a claim of the one that is cut off")
            assert wire.silent_since is not None
            silent = wire.silent_since
            made.until(lambda: made.tape.taken_after(silent + 1.0), what="mail of the others")
            first = made.tape.read()[-1].at - silent
            assert first < IDLE + 10, "the others waited for its locks"
            rescued(made, seconds=STILL)
            assert count(made, of(cut_off), OutboxRow.state == "sending") == 0
            wire.heal()
            made.until(lambda: not count(made, OutboxRow.state == "unknown"), what="its word")
            drained(made)
        nobody_is_stranded(made, cleo)
    wire.close()
