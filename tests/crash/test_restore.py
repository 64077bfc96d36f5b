"""A restore that is killed at any step is refused by every command, or whole; the same command completes it.

Steps are counted in the process itself (tests/crash/steps.py). After each kill the installation is read as a
command does, and in the end it is compared, row by row and file by file, with one that was never killed.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from lists import subscriptions
from lists.db import Database
from lists.errors import Conflict, MailerError
from mailer import cli
from mailer.backup import backup, encryption
from mailer.coordination import send_hold
from mailer.processes import restoring
from mailer.service import Service
from mailer.settings import data_folder
from tests.clocks import StoppedClock
from tests.crash import steps
from tests.people import Person

PASSPHRASE = b"five plain words in a row"
FOREIGN = {
    "mailer.db.old": b"an old database",
    "mailer.db.notes.txt": b"notes",
    "resources/mine.pdf": b"mine",
    "secrets/smtp_password_notes": b"a note",
    "letter.txt": b"a letter",
}
RUNS = {"run", "restored_at", "reckoned_at", "ended_at"}  # columns that differ from one restore to the next


@dataclass(frozen=True, kw_only=True)
class Lost:
    """What remains of the lost machine: a backup, the departures, the journals."""

    backup: Path
    departures: Path
    journals: Path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A new machine, with files in its folder that are not ours."""

    home: Path
    environ: dict[str, str]

    @property
    def database(self) -> Database:
        return Database(self.environ.get("MAILER_DATABASE_URL", f"sqlite:///{self.home}/mailer.db"))


@pytest.fixture
def lost(
    service: Service, clock: StoppedClock, ana: Person, ben: Person, cleo: Person, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Lost:  # fmt: skip
    """Ben's toolkit was sent and Ana's hello waited when the backup was made; Ana left after it."""
    defaults = {"hardness": (10, 8, 1)}  # of scrypt: a second less for each of a hundred restores
    monkeypatch.setattr(encryption.Encryptor.__init__, "__kwdefaults__", defaults)
    service.jobs.tick()
    (service.settings.home / "resources").mkdir(exist_ok=True)
    (service.settings.home / "resources" / ("ab" * 32 + ".pdf")).write_bytes(b"%PDF-")
    (service.settings.home / "mailer.toml").write_text('motto.en = "Hello"\n')
    backup.make(
        tmp_path / "monday", PASSPHRASE, database=service.database, home=service.settings.home,
        now=clock.now(), progress=lambda _: None,
    )  # fmt: skip
    clock.advance(minutes=5)
    service.deliver_until_empty()
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=ana.id, list=ana.list, now=clock.now())
    service.jobs.tick()
    service.database.dispose()  # children must not share a connection
    return Lost(
        backup=tmp_path / "monday", departures=tmp_path / "departures", journals=service.rescue.folder
    )


Make = Callable[[str], Machine]


@pytest.fixture
def machine(request: pytest.FixtureRequest, tmp_path: Path, database: Database) -> Iterator[Make]:
    urls: list[str] = []

    def make(name: str) -> Machine:
        home = tmp_path / name
        for place, content in FOREIGN.items():
            (home / place).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (home / place).write_bytes(content)
        environ = {"MAILER_HOME": str(home)}
        if database.dialect == "postgresql":
            urls.append(request.getfixturevalue("postgres_server").empty())
            environ["MAILER_DATABASE_URL"] = urls[-1]
        return Machine(home=home, environ=environ)

    yield make
    for url in urls:
        request.getfixturevalue("postgres_server").drop(url)


def restore(machine: Machine, lost: Lost, clock: StoppedClock, **more: Any) -> restoring.RestoreSummary:
    options = {"departures": lost.departures, "journals": lost.journals, **more}
    return restoring.restore(
        lost.backup, PASSPHRASE, environ=machine.environ, clock=clock, progress=lambda _: None, **options
    )


def refusal(machine: Machine) -> str:
    """Return what every command says about this folder, "" when it works there."""
    sentences = set()
    for words in (["status"], ["contact", "find", "ana"], ["work"], ["serve"]):
        if words in (["work"], ["serve"]) and not os.path.lexists(machine.home / data_folder.RESTORE_MARKER):
            continue  # these would run for ever
        result = CliRunner().invoke(cli.root, words, env=machine.environ, standalone_mode=False)
        assert result.exception is None or isinstance(result.exception, MailerError), result.exc_info
        sentences.add("" if result.exception is None else str(result.exception).partition(".")[0])
    assert len(sentences) == 1, sentences
    return sentences.pop()


def look_at(machine: Machine) -> None:
    """Check that foreign files are unchanged, that ours are private, and that commands report the state."""
    for place, content in FOREIGN.items():
        assert (machine.home / place).read_bytes() == content
    ours = [path for path in machine.home.rglob("*") if path.is_file()]
    ours = [path for path in ours if str(path.relative_to(machine.home)) not in FOREIGN]
    assert [path for path in ours if path.stat().st_mode & 0o077] == []
    sentence = refusal(machine)
    if os.path.lexists(machine.home / data_folder.RESTORE_MARKER):
        assert (
            sentence
            == f"A restore into {machine.home} was interrupted or is under way, so nothing here is whole"
        )
    elif sentence:
        assert sentence.startswith(f"{machine.home} holds no data"), sentence
        assert ours == []


def rows(machine: Machine) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, except the columns that differ for each restore."""
    database = machine.database
    with database.read() as session:
        tables = {
            table.name: sorted(
                (
                    tuple(row)
                    for row in session.execute(select(*(c for c in table.columns if c.name not in RUNS)))
                ),
                key=repr,
            )
            for table in backup.list_tables()
        }
    database.dispose()
    return tables


def files(machine: Machine) -> dict[str, bytes]:
    """Return every file but the database's own."""
    return {
        str(path.relative_to(machine.home)): path.read_bytes()
        for path in machine.home.rglob("*")
        if path.is_file() and path.name not in ("mailer.db", "mailer.db-wal", "mailer.db-shm")
    }


def points(number: int) -> list[int]:
    """Return the first steps, the last ones, and some between; all of them with MAILER_EVERY_STEP."""
    if os.environ.get("MAILER_EVERY_STEP"):
        return list(range(1, number + 1))
    between = range(8, number - 12, max(number // 4, 1))
    return sorted({1, 3, *between, *range(number - 12, number + 1, 2)})


@pytest.mark.timeout(1800)
def test_a_restore_killed_at_any_step_is_refused_or_whole_and_the_next_one_ends_it(
    machine: Make, lost: Lost, clock: StoppedClock
) -> None:
    unharmed = machine("unharmed")
    ended, number = steps.run(lambda: restore(unharmed, lost, clock))
    assert (ended, number > 40) == (0, True)
    look_at(unharmed)
    expected = rows(unharmed), files(unharmed)
    assert len(expected[0]["subscriptions"]) == 3
    for step in points(number):
        harmed = machine(f"step {step}")
        assert steps.run(lambda: restore(harmed, lost, clock), die_at=step)[0] == -9, step  # noqa: B023
        look_at(harmed)
        if refusal(harmed):
            assert steps.run(lambda: restore(harmed, lost, clock))[0] == 0, step  # noqa: B023
        look_at(harmed)
        assert (rows(harmed), files(harmed)) == expected, step


@pytest.mark.timeout(600)
def test_restores_that_are_killed_one_after_the_other_end_in_the_same_state(
    machine: Make, lost: Lost, clock: StoppedClock
) -> None:
    """Each removes what the one before had placed, and is killed a little later."""
    harmed, unharmed = machine("harmed"), machine("unharmed")
    step, ended = 7, -9
    while ended == -9:
        ended, _ = steps.run(lambda: restore(harmed, lost, clock), die_at=step)
        look_at(harmed)
        step += 11
    assert ended == 0
    restore(unharmed, lost, clock)
    assert (rows(harmed), files(harmed)) == (rows(unharmed), files(unharmed))


def test_of_a_restore_whose_end_was_killed_nothing_that_came_later_is_lost(
    machine: Make, lost: Lost, clock: StoppedClock
) -> None:
    """Another machine may serve the database already, so a complete restore is never repeated."""
    harmed = machine("harmed")
    unharmed = machine("unharmed")
    number = steps.run(lambda: restore(unharmed, lost, clock, departures=None))[1]
    assert steps.run(lambda: restore(harmed, lost, clock, departures=None), die_at=number - 4)[0] == -9
    with harmed.database.write() as session:
        assert send_hold.find_unsettled(session) is not None
        subscriptions.leave(session, contact_id=1, list="organizers", now=clock.now())
    with pytest.raises(Conflict, match="was put back into"):
        second = Lost(backup=another(lost, clock, harmed), departures=lost.departures, journals=lost.journals)
        restore(harmed, second, clock)
    assert refusal(harmed)
    summary = restore(harmed, lost, clock)
    assert (
        summary.resumed
        and summary.settlement.departures_merge is not None
        and summary.settlement.hold_sentence == ""
    )
    assert refusal(harmed) == ""
    with harmed.database.read() as session:
        subscription = subscriptions.find(session, contact_id=1, list="organizers")
        assert subscription is not None and subscription.state == "left"


def another(lost: Lost, clock: StoppedClock, machine: Machine) -> Path:
    """Make a backup of another moment."""
    target = lost.backup.with_name("tuesday")
    backup.make(
        target, PASSPHRASE, database=machine.database, home=machine.home, now=clock.now(),
        progress=lambda _: None,
    )  # fmt: skip
    return target
