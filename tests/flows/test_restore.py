"""A backup older than one send, one leave and one erasure, restored on an empty second machine.

Nothing is sent twice, people who left or were erased stay so, and an old link to leave works.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from lists import addresses, contacts, subscriptions, suppressions
from lists.db import Database
from lists.errors import BadInput, Conflict
from mailer import cli
from mailer import service as composition
from mailer.backup import backup, departures_file, restore_gap
from mailer.coordination import send_hold
from mailer.delivery import journal
from mailer.monitoring.health import run_checks
from mailer.outbox import in_doubt
from mailer.outbox.outbox import OutboxRow
from mailer.processes import restored_rows, restoring
from mailer.service import Service
from mailer.settings import loading
from mailer.sources import broadcasts
from mailer.templates import templates
from mailer.tryout.postoffice import CapturedMessage
from tests import commands, people
from tests.clocks import StoppedClock
from tests.mailer.web.visitor import Visitor
from tests.people import PEPPER, Person

PASSPHRASE = b"five plain words in a row"
UPDATE = """---
subject: The county board has set a date
---
{{ greeting }}

The county board has set a date.

[See the campaign]({{ home_url }})
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """An empty second machine: its folder, and its environment."""

    home: Path
    environ: dict[str, str]


@pytest.fixture
def second(request: pytest.FixtureRequest, tmp_path: Path, database: Database) -> Iterator[Machine]:
    home = tmp_path / "second"
    environ = {"MAILER_HOME": str(home)}
    if database.dialect == "postgresql":
        server = request.getfixturevalue("postgres_server")
        environ["MAILER_DATABASE_URL"] = server.empty()
        yield Machine(home=home, environ=environ)
        server.drop(environ["MAILER_DATABASE_URL"])
    else:
        yield Machine(home=home, environ=environ)


@pytest.fixture
def back_up(service: Service, tmp_path: Path) -> Callable[[], Path]:
    def make() -> Path:
        backup.make(
            tmp_path / "monday", PASSPHRASE, database=service.database, home=service.settings.home,
            now=service.clock.now(), progress=lambda _: None,
        )  # fmt: skip
        return tmp_path / "monday"

    return make


def put_back(machine: Machine, file: Path, clock: StoppedClock) -> Service:
    restoring.restore(file, PASSPHRASE, environ=machine.environ, clock=clock, progress=lambda _: None)
    return composition.build(loading.load(machine.environ), clock=clock)


def put_broadcast(service: Service) -> None:
    now = service.clock.now()
    template = templates.Template(name="broadcast", sources={"en": templates.parse(UPDATE, path="update.md")})
    with service.database.write() as session:
        edition = service.editions.freeze(session, template, "broadcast", now=now)
        broadcasts.create(
            session, subject="x", audience="interest", edition_id=edition.id, now=now, actor="test"
        )


def arrived(service: Service, *, after: int = 0) -> set[tuple[str, str]]:
    with service.database.read() as session:
        rows = session.execute(
            select(CapturedMessage.to, CapturedMessage.subject).where(CapturedMessage.id > after)
        ).all()
    pairs = [(row.to, row.subject) for row in rows]
    assert len(pairs) == len(set(pairs)), "somebody got the same twice"
    return set(pairs)


def newest(service: Service) -> int:
    with service.database.read() as session:
        return max(session.scalars(select(CapturedMessage.id)), default=0)


def days(service: Service, clock: StoppedClock, number: int) -> None:
    """Let the days pass one by one, with a delivery in each person's hours."""
    mailer = commands.mailer(service)
    for _ in range(number):
        clock.advance(days=1)
        assert mailer("deliver").status == 0


def test_nobody_is_written_to_twice_and_who_left_or_was_forgotten_stays_so(
    service: Service, clock: StoppedClock, back_up: Callable[[], Path], second: Machine,
    ana: Person, ben: Person, cleo: Person, tmp_path: Path,
) -> None:  # fmt: skip
    old_mailer = commands.mailer(service)
    with service.database.write() as session:
        eva, finn = (
            people.add(
                session, name=name, email=f"{name.lower()}@example.org", language="en", zip="10027",
                list="interest", now=clock.now(),
            )
            for name in ("Eva", "Finn")
        )  # fmt: skip
    assert old_mailer("deliver").status == 0
    put_broadcast(service)
    service.jobs.tick()
    file = back_up()
    before = newest(service)
    assert finn.email in {address for address, _ in arrived(service)}

    days(service, clock, 6)  # the update and the next emails are sent
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=eva.id, now=clock.now())
    old_mailer("contact", "forget", finn.email, "--yes")
    service.jobs.tick()
    departures_copy = Path(shutil.copy(tmp_path / departures_file.FILE, tmp_path / "copied"))
    sent_in_gap = arrived(service, after=before)
    assert {address for address, _ in sent_in_gap} >= {ben.email, eva.email}
    clock.advance(hours=1)

    restored = put_back(second, file, clock)
    new_mailer = commands.mailer(restored)
    assert "Nothing is sent: the backup of" in new_mailer("deliver").refusal
    (finding,) = [
        each for each in run_checks(restored.database, clock, home=second.home) if each.name == "restore"
    ]
    assert finding.level == "trouble"
    assert new_mailer("db", "status", "--json").json["held"] is True
    restored.jobs.tick()
    assert newest(restored) == before

    assert new_mailer("db", "merge", departures_copy, "--json").json["gap_settled"] is True
    assert new_mailer("deliver").out.startswith("0 messages are sent.")
    newest_kept = newest(
        restored
    )  # Finn's mails are deleted from the post office, and their numbers are free
    days(restored, clock, 30)
    now_sent = arrived(restored, after=newest_kept)
    assert now_sent, "later emails are sent"
    assert now_sent & sent_in_gap == set(), "somebody is written to twice"
    assert {address for address, _ in now_sent} <= {ana.email, ben.email}  # not Cleo, not Eva, not Finn
    with restored.database.read() as session:
        assert contacts.find(session, finn.address) is None
        assert suppressions.find_reason(session, finn.address.digest) == "forgotten"
        assert not session.scalars(select(CapturedMessage.id).where(CapturedMessage.to == finn.email)).all()
        assert in_doubt.count_restored(session) == 2  # the update to Ben and to Eva; Finn's row is gone
    restored.close()


def test_a_backup_older_than_a_new_address_writes_to_the_old_one_no_more(
    service: Service, clock: StoppedClock, back_up: Callable[[], Path], second: Machine, ben: Person,
    tmp_path: Path,
) -> None:  # fmt: skip
    old_mailer = commands.mailer(service)
    assert old_mailer("deliver").status == 0
    file, before = back_up(), newest(service)
    clock.advance(days=1)
    assert old_mailer("contact", "change-address", ben.email, "ben@nuevo.example.org", "--yes").status == 0
    days(service, clock, 2)
    assert {address for address, _ in arrived(service, after=before)} == {"ben@nuevo.example.org"}
    service.jobs.tick()
    departures_copy = Path(shutil.copy(tmp_path / departures_file.FILE, tmp_path / "copied"))
    clock.advance(hours=1)

    restored = put_back(second, file, clock)
    new_mailer = commands.mailer(restored)
    assert new_mailer("db", "merge", departures_copy, "--json").json["gap_settled"] is True
    put_broadcast(restored)
    restored.jobs.tick()
    days(restored, clock, 30)
    assert newest(restored) == before
    path = service.links.unsubscribe_url(ben.id, "interest").removeprefix(service.links.home)
    assert Visitor(restored, clock).post(path, {}).status_code == 200
    restored.close()


def test_an_old_link_to_leave_works_on_the_second_machine(
    service: Service, clock: StoppedClock, back_up: Callable[[], Path], second: Machine, ben: Person
) -> None:
    path = service.links.unsubscribe_url(ben.id, "interest").removeprefix(service.links.home)
    restored = put_back(second, back_up(), clock)
    assert Visitor(restored, clock).post(path, {}).status_code == 200
    with restored.database.read() as session:
        subscription = subscriptions.find(session, contact_id=ben.id, list="interest")
        assert subscription is not None and subscription.state == "left"
    restored.close()


def test_the_journals_of_the_lost_machine_say_what_left(
    service: Service,
    clock: StoppedClock,
    back_up: Callable[[], Path],
    second: Machine,
    ben: Person,
    ana: Person,
) -> None:
    service.jobs.tick()  # Ben's toolkit and Ana's hello wait
    file = back_up()
    with service.database.write() as session:
        statement = select(OutboxRow).where(OutboxRow.contact_id == ana.id)
        session.delete(session.scalars(statement).one())  # the lost machine did not send Ana's
    service.deliver_until_empty()
    restored = put_back(second, file, clock)
    with restored.database.write() as session:
        restore = send_hold.find_unsettled(session)
        assert restore is not None
        assert (
            restore_gap.apply_journals(session, journal.read_all(service.rescue.folder), restore=restore) == 1
        )
        states = {row.contact_id: row.state for row in session.scalars(select(OutboxRow))}
    assert states == {ben.id: "sent", ana.id: "unknown"}
    mailer = commands.mailer(restored)
    assert mailer("db", "accept-gap", "--yes").status == 0
    assert "1 messages" in mailer("outbox", "resolve", "--restored", "--resend").out
    assert mailer("deliver").out.startswith("1 message is sent.")
    assert {address for address, _ in arrived(restored)} == {ana.email}
    restored.close()


def test_numbers_of_the_lost_machine_are_never_given_to_somebody_else(
    service: Service, clock: StoppedClock, back_up: Callable[[], Path], second: Machine, ben: Person
) -> None:
    restored = put_back(second, back_up(), clock)
    with restored.database.write() as session:
        dora = contacts.find_or_add(
            session, addresses.parse("dora@example.org", pepper=PEPPER), now=clock.now()
        )
        assert dora.id > restored_rows.IDS_AHEAD
    restored.close()


def test_a_register_that_ends_before_the_backup_does_not_settle_the_gap(
    service: Service,
    clock: StoppedClock,
    back_up: Callable[[], Path],
    second: Machine,
    cleo: Person,
    tmp_path: Path,
) -> None:
    service.jobs.tick()
    departures_copy = Path(shutil.copy(tmp_path / departures_file.FILE, tmp_path / "copied"))
    clock.advance(minutes=1)
    restored = put_back(second, back_up(), clock)
    mailer = commands.mailer(restored)
    assert "ends before the backup was made" in mailer("db", "merge", departures_copy).out
    assert "will be written to again" in mailer("db", "accept-gap", typed="n\n").out
    assert mailer("deliver").status == 2
    assert mailer("db", "accept-gap", "--yes").status == 0
    assert mailer("deliver").status == 0
    assert "nothing is held back" in mailer("db", "accept-gap").out
    restored.close()


def test_a_damaged_backup_puts_nothing_back(
    service: Service, clock: StoppedClock, back_up: Callable[[], Path], second: Machine, ben: Person
) -> None:
    file = back_up()
    complete = file.read_bytes()
    for broken in (complete[:-1], complete[:1000], complete[:-5] + b"xxxxx", b"Dear diary"):
        file.write_bytes(broken)
        with pytest.raises(BadInput):
            put_back(second, file, clock)
        assert not [path for path in second.home.rglob("*") if path.is_file()]
    with pytest.raises(BadInput, match="passphrase"):
        restoring.restore(
            write_backup(file, complete),
            b"another passphrase",
            environ=second.environ,
            clock=clock,
            progress=print,
        )
    put_back(second, file, clock).close()
    with pytest.raises(Conflict, match="is not empty"):
        put_back(second, file, clock)


def write_backup(file: Path, whole: bytes) -> Path:
    file.write_bytes(whole)
    return file


def test_a_restore_by_command_merges_and_says_what_waits(
    service: Service, back_up: Callable[[], Path], second: Machine, ben: Person, cleo: Person, tmp_path: Path
) -> None:
    service.jobs.tick()
    words = tmp_path / "words"
    words.touch(mode=0o600)
    words.write_bytes(PASSPHRASE)
    arguments = [
        "db",
        "restore",
        back_up(),
        "--passphrase-file",
        words,
        "--departures",
        tmp_path / departures_file.FILE,
    ]
    result = CliRunner().invoke(
        cli.root,
        [str(word) for word in arguments],
        env=second.environ,
        standalone_mode=False,
        catch_exceptions=False,
    )
    assert "1 messages may have left since" in result.output
    assert "Mail leaves again" in result.output
