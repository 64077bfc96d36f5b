"""The suite's own furniture works on both databases."""

from datetime import timedelta

from sqlalchemy import select

from lists import addresses, contacts
from lists.contacts import Contact
from lists.db import Database
from lists.subscriptions import Subscription
from mailer.service import Service
from mailer.settings.keys import Keys
from mailer.settings.loading import Settings
from tests.clocks import StoppedClock
from tests.people import Person


def test_the_three_people_live_in_every_database(
    database: Database, ana: Person, ben: Person, cleo: Person
) -> None:
    with database.read() as session:
        zones = {contact.name: contact.zone for contact in session.scalars(select(Contact))}
        states = {row.contact_id: (row.list, row.state) for row in session.scalars(select(Subscription))}
    assert zones == {"Ana": "America/New_York", "Ben": "America/Phoenix", "Cleo": "America/Los_Angeles"}
    assert states == {
        ana.id: ("organizers", "confirmed"),
        ben.id: ("interest", "confirmed"),
        cleo.id: ("interest", "left"),
    }


def test_each_test_has_a_database_of_its_own(database: Database, settings: Settings) -> None:
    with database.read() as session:
        assert session.scalars(select(Contact)).all() == []
    assert settings.database_url == database.url


def test_the_clock_moves_only_when_told(clock: StoppedClock) -> None:
    before, ticks = clock.now(), clock.monotonic()
    assert clock.now() == before
    assert clock.advance(days=1) == before + timedelta(days=1)
    assert clock.monotonic() == ticks + 86400


def test_the_service_knows_the_people_and_the_clock(
    service: Service, clock: StoppedClock, keys: Keys, ben: Person
) -> None:
    assert service.keys == keys
    assert service.clock.now() == clock.now()
    with service.database.read() as session:
        assert contacts.find(session, addresses.parse(ben.email, pepper=service.keys.pepper)) is not None


def test_the_time_machine_moves_the_services_clock(service: Service, clock: StoppedClock) -> None:
    before = clock.now()
    service.time_machine(drain=lambda: None).advance(timedelta(days=25))
    assert service.clock.now() == before + timedelta(days=25)
    assert clock.real() == before
