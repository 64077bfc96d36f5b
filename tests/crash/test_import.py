"""An import that is killed brings nobody, and the same command brings everybody."""

import os
import signal
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen, run

from sqlalchemy import func, select

from lists import imports, subscriptions
from lists.contacts import Contact
from lists.db import Database
from lists.permission import Purpose, is_allowed, join_subscriptions
from mailer.processes import bootstrap
from mailer.settings.loading import Settings
from tests.clocks import StoppedClock
from tests.databases import ROOT

PEOPLE = 4_000
PATIENCE_SECONDS = 60.0


def test_a_killed_import_writes_to_nobody_and_goes_on_with_the_same_command(
    settings: Settings, sqlite_url: str, clock: StoppedClock
) -> None:
    file = settings.home / "people.csv"
    file.write_text("email\n" + "".join(f"p{number}@example.org\n" for number in range(PEOPLE)), "utf-8")
    bootstrap.create(settings)
    database = Database(sqlite_url)
    command = _command(file)
    environment = {**os.environ, "MAILER_HOME": str(settings.home), "PYTHONPATH": str(ROOT)}
    with Popen(command, env=environment, cwd=ROOT, stdout=PIPE, stderr=PIPE) as importing:
        _until_some_are_written(database)
        importing.send_signal(signal.SIGKILL)
    with database.read() as session:
        contact_count = session.scalar(select(func.count(Contact.id))) or 0
        assert 0 < contact_count < PEOPLE
        assert imports.find_unfinished(session) is not None
        assert subscriptions.count_by_state(session) == {}
        assert _writable(database, clock) == 0
    second_run = run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{PEOPLE:,}  added" in second_run.stdout
    with database.read() as session:
        assert subscriptions.count_by_state(session) == {("interest", "confirmed"): PEOPLE}
    assert _writable(database, clock) == PEOPLE
    database.dispose()


def _command(file: Path) -> list[str]:
    words = ["list", "import", str(file), "--list", "interest", "--consent", "sheet", "--confirmed"]
    return [sys.executable, "-m", "mailer", *words]


def _until_some_are_written(database: Database) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with database.read() as session:
            if session.scalar(select(func.count(Contact.id))):
                return
        time.sleep(0.01)
    raise AssertionError("nobody was written in a minute")


def _writable(database: Database, clock: StoppedClock) -> int:
    purpose = Purpose(needs="confirmed", list="interest")
    statement = (
        select(func.count())
        .select_from(join_subscriptions(purpose))
        .where(is_allowed(purpose, now=clock.now()))
    )
    with database.read() as session:
        return session.scalar(statement) or 0
