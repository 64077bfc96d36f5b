"""The departures file is complete, and merging it applies all departures again."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from lists import contacts, permission, subscriptions, suppressions
from lists.db import Database
from lists.departures import DepartureRecord
from lists.errors import BadInput, StorageError
from lists.identity import departure_replay, erasure
from lists.permission import Purpose
from mailer.backup import departures_file
from mailer.service import Service
from tests import commands
from tests.clocks import START, StoppedClock
from tests.people import Person

PEPPER = b"fingerprint, 16 "
Read = Callable[[], departures_file.DeparturesFile]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / departures_file.FILE


@pytest.fixture
def write(database: Database, clock: StoppedClock, tmp_path: Path) -> Callable[[], int]:
    return lambda: departures_file.append_new(database, tmp_path, fingerprint=PEPPER, now=clock.now())


@pytest.fixture
def read(file: Path) -> Read:
    return lambda: departures_file.read(file, fingerprint=PEPPER)


def happened(file: departures_file.DeparturesFile) -> list[tuple[str, str, bytes]]:
    return [(each.what, each.list, each.digest) for each in file.records]


def test_who_leaves_complains_or_is_forgotten_is_in_the_file_and_no_address_is(
    database: Database, clock: StoppedClock, file: Path, write: Callable[[], int], read: Read,
    ana: Person, ben: Person, cleo: Person,
) -> None:  # fmt: skip
    assert write() == 1  # Cleo had left
    with database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.advance(days=1))
        suppressions.add(session, ben.address.digest, reason="complaint", now=clock.now())
        erasure.erase_person(session, ana.address, now=clock.now(), actor="test")
    assert write() == 3
    assert write() == 0
    assert happened(read()) == [
        ("left", "interest", cleo.address.digest),
        ("left", "interest", ben.address.digest),
        ("complaint", "", ben.address.digest),
        ("forgotten", "", ana.address.digest),
    ]
    assert read().records[1].at == clock.now()
    assert file.stat().st_mode & 0o777 == 0o600
    for person in (ana, ben, cleo):
        assert person.email.encode() not in file.read_bytes()


def test_what_did_not_happen_after_all_is_not_in_the_file(
    database: Database, clock: StoppedClock, write: Callable[[], int], read: Read, ben: Person
) -> None:
    with pytest.raises(RuntimeError), database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
        raise RuntimeError
    write()
    assert read().records == []


def test_a_death_between_the_file_and_the_database_writes_a_line_twice_and_loses_none(
    database: Database, write: Callable[[], int], read: Read, cleo: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(departures_file.departures, "delete_written", die)
        with pytest.raises(KeyboardInterrupt):
            write()
    assert write() == 1
    assert happened(read()) == [("left", "interest", cleo.address.digest)] * 2


def test_a_file_that_cannot_be_written_keeps_everything_in_the_database(
    write: Callable[[], int], read: Read, file: Path, cleo: Person
) -> None:
    file.mkdir()
    with pytest.raises(StorageError, match="departures cannot be written"):
        write()
    file.rmdir()
    assert write() == 1
    assert len(read().records) == 1


def test_a_line_that_a_crash_cut_short_is_passed_over_and_the_next_is_whole(
    database: Database, clock: StoppedClock, file: Path, write: Callable[[], int], read: Read, ben: Person
) -> None:
    with database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    write()
    complete = file.read_bytes()
    for cut in range(1, 30):
        file.write_bytes(complete[:-cut])
        with database.write() as session:
            suppressions.add(session, bytes([cut]) * 16, reason="staff", now=clock.now())
        write()
        assert read().records[-1].digest == bytes([cut]) * 16


def test_a_changed_digit_is_noticed(file: Path, write: Callable[[], int], read: Read, cleo: Person) -> None:
    write()
    digest = cleo.address.digest.hex().encode()
    changed = digest[:-1] + (b"0" if digest[-1:] != b"0" else b"1")
    file.write_bytes(file.read_bytes().replace(digest, changed))
    assert read().records == []
    assert read().damaged == 1


def test_the_file_says_until_when_it_holds_everything(
    clock: StoppedClock, file: Path, write: Callable[[], int], read: Read
) -> None:
    write()
    assert read().until == START
    clock.advance(minutes=59)
    size = file.stat().st_size
    write()
    assert file.stat().st_size == size  # it grows once an hour, not with each call
    clock.advance(minutes=1)
    write()
    assert read().until == clock.now()


def test_a_file_of_another_house_is_refused(file: Path, write: Callable[[], int], cleo: Person) -> None:
    write()
    with pytest.raises(BadInput, match="another pepper"):
        departures_file.read(file, fingerprint=b"another, 16 oct.")
    file.write_text("Dear diary,\n")
    with pytest.raises(BadInput, match="is not a file of departures"):
        departures_file.read(file, fingerprint=PEPPER)
    with pytest.raises(BadInput, match="cannot be read"):
        departures_file.read(file.with_name("nowhere"), fingerprint=PEPPER)


def _append(path: Path, first: int) -> None:
    for number in range(first, first + 50):
        line = departures_file._format_line("staff", "-", START, number.to_bytes(16, "big").hex())
        departures_file._append(path, [line], fingerprint=PEPPER, now=START, last=True)


def test_processes_that_append_at_once_lose_no_line(file: Path, read: Read) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(file, number * 50)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    departures = read()
    assert departures.damaged == 0
    assert sorted(int.from_bytes(each.digest, "big") for each in departures.records) == list(range(200))


def test_merging_does_again_what_an_older_database_does_not_know(
    database: Database, clock: StoppedClock, ana: Person, ben: Person, cleo: Person
) -> None:
    later = clock.advance(days=1)
    records = [
        DepartureRecord(what="left", list="interest", digest=ben.address.digest, at=later),
        DepartureRecord(what="forgotten", list="", digest=ana.address.digest, at=later),
        DepartureRecord(what="left", list="interest", digest=cleo.address.digest, at=later),
        DepartureRecord(what="complaint", list="", digest=b"nobody knows her", at=later),
    ]
    for expected in [(1, 2, 1), (0, 0, 0)]:
        with database.write() as session:
            result = departure_replay.replay(
                session, records, erase=contacts.erase, now=clock.now(), actor="test"
            )
        assert (result.left, result.barred, result.erased) == expected
    with database.read() as session:
        assert contacts.find(session, ana.address) is None
        assert suppressions.find_reason(session, ana.address.digest) == "forgotten"
        subscription = subscriptions.find(session, contact_id=ben.id, list="interest")
        assert subscription is not None and (subscription.state, subscription.left_at) == ("left", later)
        readers = permission.find_recipients(
            session, [ben.id, cleo.id], purpose=Purpose(needs="confirmed", list="interest"), now=clock.now()
        )
        assert {reader.refusal for reader in readers.values()} == {"left"}


def test_who_joined_again_after_leaving_stays(database: Database, clock: StoppedClock, ben: Person) -> None:
    left_at = clock.advance(days=1)
    with database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=left_at)
        pending = subscriptions.ask(session, contact_id=ben.id, list="interest", now=clock.advance(seconds=1))
        subscriptions.confirm(session, subscription_id=pending.id, round=pending.round, now=clock.now())
        records = [DepartureRecord(what="left", list="interest", digest=ben.address.digest, at=left_at)]
        assert (
            departure_replay.replay(
                session, records, erase=contacts.erase, now=clock.now(), actor="test"
            ).left
            == 0
        )
        subscription = subscriptions.find(session, contact_id=ben.id, list="interest")
        assert subscription is not None and subscription.state == "confirmed"


def test_merging_by_command_says_what_it_did(service: Service, file: Path, ben: Person) -> None:
    mailer = commands.mailer(service)
    mailer("contact", "forget", ben.email, "--yes")
    assert ben.address.digest.hex() in file.read_text()  # at once, not with the next tick
    copy = file.with_name("copied")
    copy.write_bytes(file.read_bytes() + b"cut sho")
    report = mailer("db", "merge", copy, "--json").json
    assert (report["read"], report["damaged"], report["erased"]) == (1, 1, 0)
    assert "1 departures were read" in mailer("db", "merge", copy).out
