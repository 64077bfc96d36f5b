"""After an erasure, the data folder and the log contain nothing of the person but a keyed hash."""

import json
from collections.abc import Iterator, MutableMapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from lists import directory, subscriptions
from lists.directory import Application
from mailer.service import Service
from mailer.tryout.postoffice import CapturedMessage
from tests import commands, people
from tests.address_change import get_contact, token
from tests.clocks import StoppedClock
from tests.mailer.web.visitor import Visitor
from tests.people import Person

WORDS = ("quetzal", "zenobia", "ketchikan", "99950", "marimba")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url  # PostgreSQL's files are not ours; its tables are searched in tests/lists


@pytest.fixture
def logged() -> Iterator[Sequence[MutableMapping[str, Any]]]:
    with capture_logs() as logs:
        yield logs


def traces(folder: Path, words: Sequence[str]) -> dict[str, list[str]]:
    """Search every octet of every file for words: name of the file → words in it."""
    words_by_file: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            octets = path.read_bytes().lower()
            matching = [word for word in words if word.encode() in octets]
            if matching:
                words_by_file[path.relative_to(folder).as_posix()] = matching
    return words_by_file


@pytest.fixture
def zenobia(service: Service, clock: StoppedClock) -> Person:
    with service.database.write() as session:
        person = people.add(
            session, name="Zenobia Quetzal", email="zenobia.quetzal@example.org", language="es", zip="99950",
            list="interest", now=clock.now(),
        )  # fmt: skip
        subscriptions.ask(session, contact_id=person.id, list="organizers", now=clock.now())
        application = Application(organization="Quetzal House", name="Zenobia", zip="99950", offer="Marimba")
        directory.add_application(session, application.clean(), contact_id=person.id, now=clock.now())
    return person


def test_nothing_in_the_data_folder_knows_who_was_forgotten(
    service: Service, clock: StoppedClock, tmp_path: Path, zenobia: Person, ana: Person,
    logged: Sequence[MutableMapping[str, Any]],
) -> None:  # fmt: skip
    mailer = commands.mailer(service)
    for _ in range(9):
        assert mailer("deliver").status == 0
        clock.advance(days=1)
    traces_before = traces(tmp_path, WORDS)
    assert {word for words in traces_before.values() for word in words} == set(WORDS)
    result = mailer("contact", "forget", zenobia.email, "--yes")
    assert result.status == 0
    assert traces(tmp_path, WORDS) == {}
    assert traces(tmp_path, [ana.email])  # the search finds a person who is not erased
    digest = zenobia.address.digest
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and digest in path.read_bytes()] == [
        "mailer.db"
    ]
    assert digest.hex() in (tmp_path / "departures").read_text()
    log_text = json.dumps(list(logged), default=str).lower()
    assert not [word for word in WORDS if word in log_text]


def test_all_that_is_known_is_told_to_who_asks(
    service: Service, clock: StoppedClock, zenobia: Person
) -> None:
    mailer = commands.mailer(service)
    clock.advance(hours=4)  # it is morning in Alaska, too
    mailer("deliver")
    export = mailer("contact", "export", zenobia.email).json
    assert export["contact"]["name"] == "Zenobia Quetzal"
    assert export["applications"][0]["offer"] == "Marimba"
    assert (export["declines"], export["contact"]["discreet"]) == ([], False)
    assert [row["to"] for row in export["posted"]] == [zenobia.email]
    assert export["messages"][0]["attempts"][0]["code"] == 250
    assert mailer("contact", "export", "nobody@example.org").status == 2


def test_who_asks_to_be_forgotten_leaves_no_mail_to_any_address_they_ever_had(
    service: Service, clock: StoppedClock, zenobia: Person, ana: Person
) -> None:
    mailer, visitor = commands.mailer(service), Visitor(service, clock)
    clock.advance(hours=4)  # it is morning in Alaska, too
    mailer("deliver")
    assert mailer("contact", "change-address", zenobia.email, "zenobia@new.example.org", "--yes").status == 0
    mailer("deliver")
    visitor.post(token(service, "zenobia@new.example.org"))
    until = clock.now() + timedelta(hours=1)
    link = service.tokens.sign_profile(get_contact(service, "zenobia@new.example.org").id, until=until)
    with service.database.read() as session:
        assert set(session.scalars(select(CapturedMessage.to))) == {
            zenobia.email, "zenobia@new.example.org", ana.email,
        }  # fmt: skip
    assert visitor.post(f"/mine/{link}", {"do": "forget-surely"}).status_code == 200
    with service.database.read() as session:
        assert set(session.scalars(select(CapturedMessage.to))) == {ana.email}
