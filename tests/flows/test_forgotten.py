"""After somebody is forgotten, nothing in the data folder or the log knows them but a keyed hash."""

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
from tests.clocks import StoppedClock
from tests.mailer.web.visitor import Visitor
from tests.people import Person
from tests.readdressing import here, token

WORDS = ("quetzal", "zenobia", "ketchikan", "99950", "marimba")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url  # PostgreSQL's files are not ours; its tables are searched in tests/lists


@pytest.fixture
def logged() -> Iterator[Sequence[MutableMapping[str, Any]]]:
    with capture_logs() as logs:
        yield logs


def traces(folder: Path, words: Sequence[str]) -> dict[str, list[str]]:
    """Look for words in every octet of every file: name of the file → words found."""
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            octets = path.read_bytes().lower()
            here = [word for word in words if word.encode() in octets]
            if here:
                found[path.relative_to(folder).as_posix()] = here
    return found


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
    before = traces(tmp_path, WORDS)
    assert {word for words in before.values() for word in words} == set(WORDS)
    ran = mailer("contact", "forget", zenobia.email, "--yes")
    assert ran.status == 0
    assert traces(tmp_path, WORDS) == {}
    assert traces(tmp_path, [ana.email])  # the search finds who is there
    digest = zenobia.address.digest
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and digest in path.read_bytes()] == [
        "mailer.db"
    ]
    assert digest.hex() in (tmp_path / "departures").read_text()
    said = json.dumps(list(logged), default=str).lower()
    assert not [word for word in WORDS if word in said]


def test_all_that_is_known_is_told_to_who_asks(
    service: Service, clock: StoppedClock, zenobia: Person
) -> None:
    mailer = commands.mailer(service)
    clock.advance(hours=4)  # it is morning in Alaska, too
    mailer("deliver")
    told = mailer("contact", "export", zenobia.email).json
    assert told["contact"]["name"] == "Zenobia Quetzal"
    assert told["applications"][0]["offer"] == "Marimba"
    assert (told["declines"], told["contact"]["discreet"]) == ([], False)
    assert [row["to"] for row in told["posted"]] == [zenobia.email]
    assert told["messages"][0]["attempts"][0]["code"] == 250
    assert mailer("contact", "export", "nobody@example.org").status == 2


def test_who_asks_to_be_forgotten_leaves_no_mail_to_any_address_they_ever_had(
    service: Service, clock: StoppedClock, zenobia: Person, ana: Person
) -> None:
    mailer, visitor = commands.mailer(service), Visitor(service, clock)
    clock.advance(hours=4)  # it is morning in Alaska, too
    mailer("deliver")
    assert mailer("contact", "readdress", zenobia.email, "zenobia@new.example.org", "--yes").status == 0
    mailer("deliver")
    visitor.post(token(service, "zenobia@new.example.org"))
    until = clock.now() + timedelta(hours=1)
    link = service.tokens.profile(here(service, "zenobia@new.example.org").id, until=until)
    with service.database.read() as session:
        assert set(session.scalars(select(CapturedMessage.to))) == {
            zenobia.email, "zenobia@new.example.org", ana.email,
        }  # fmt: skip
    assert visitor.post(f"/mine/{link}", {"do": "forget-surely"}).status_code == 200
    with service.database.read() as session:
        assert set(session.scalars(select(CapturedMessage.to))) == {ana.email}
