"""Forgetting: no table speaks of the person any more, and nothing is ever written to them again."""

from contextlib import suppress

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from lists import addresses, consents, contacts, directory, erasure, permission, subscriptions, suppressions
from lists.audit import AuditEntry
from lists.contacts import Contact
from lists.db import Base, Database
from lists.directory import Application
from lists.permission import Purpose
from lists.subscriptions import Subscription
from mailer.outbox import outbox
from tests import parts
from tests.clocks import StoppedClock
from tests.people import PEPPER, Person, add
from tests.races import at_once

NAME = "Zenobia Quetzal"
# The next contact gets a number so odd that it can be looked for in every column of every table.
ODD_NUMBER = {
    "sqlite": "INSERT INTO sqlite_sequence (name, seq) VALUES ('contacts', 7340152)",
    "postgresql": "SELECT setval('contacts_id_seq', 7340152)",
}


@pytest.fixture
def zenobia(database: Database, clock: StoppedClock) -> Person:
    """Somebody whose name, address and number occur nowhere else, with something in every room."""
    with database.write() as session:
        session.execute(text(ODD_NUMBER[database.dialect]))
        person = add(
            session,
            name=NAME,
            email="zenobia.quetzal@example.org",
            language="es",
            zip="99950",
            list="interest",
            now=clock.now(),
        )
        application = Application(organization="Quetzal House", name=NAME, zip="99950", offer="Quetzals")
        subscriptions.ask(session, contact_id=person.id, list="organizers", now=clock.now())
        directory.add_application(session, application.clean(), contact_id=person.id, now=clock.now())
        directory.mark_address_confirmed(session, contact_id=person.id)
        listing = directory.list_applications(session)[-1]
        directory.approve(session, listing.id, now=clock.now(), actor="staff")
        return person


def _traces(session: Session, person: Person) -> dict[str, int]:
    """Look for the person in every column of every table; returns table → rows that speak of them."""
    words = [NAME, "quetzal", "Ketchikan", "99950", str(person.id)]
    found: dict[str, int] = {}
    for table in Base.metadata.sorted_tables:
        rows = session.execute(select(table)).mappings().all()
        speaking = [row for row in rows if _speaks(row.values(), words, person)]
        if speaking:
            found[table.name] = len(speaking)
    return found


def _speaks(values: object, words: list[str], person: Person) -> bool:
    for value in values:  # type: ignore[attr-defined]
        octets = value if isinstance(value, bytes) else str(value).encode()
        if any(word.lower().encode() in octets.lower() for word in words) or person.address.digest in octets:
            return True
    return False


def test_forgetting_erases_every_row_of_every_table_that_speaks_of_the_person(
    database: Database, clock: StoppedClock, zenobia: Person, ben: Person
) -> None:
    service = parts.built()
    with database.write() as session:
        service.sequences.fill(session, now=clock.advance(hours=2), limit=100)
        edition_id = service.editions.get_current_id(session, "received", "received", now=clock.now())
        outbox.put(
            session,
            key=f"received/organizers/contact/{zenobia.id}",
            kind="received",
            list="organizers",
            contact_id=zenobia.id,
            edition_id=edition_id,
            now=clock.now(),
        )
        taken = outbox.claim(
            session, worker="w", limit=9, now=clock.now(), lease_until=clock.advance(seconds=45)
        )
        results = [
            outbox.Result(
                entry=entry, state="sent", costs_attempt=True, address=zenobia.email, outcome="sent"
            )
            for entry in taken
            if entry.contact_id == zenobia.id
        ]
        outbox.record(session, results, now=clock.now())
    with database.read() as session:
        before = _traces(session, zenobia)
    everywhere = {"contacts", "consents", "subscriptions", "listings", "journeys", "outbox", "attempts"}
    assert everywhere <= set(before)
    with database.write() as session:
        subscriptions.leave(session, contact_id=zenobia.id, now=clock.now())  # so that the queue names them
        assert "subscription_changes" in _traces(session, zenobia)
        assert erasure.erase_person(session, zenobia.address, now=clock.now(), actor="operator")
    with database.read() as session:
        # The keyed hash, and nothing else; the departures go when the file has them.
        assert _traces(session, zenobia) == {"suppressions": 1, "departures": 3}
        assert contacts.get(session, ben.id).name == "Ben"


def test_every_table_that_points_at_a_contact_goes_with_it() -> None:
    pointing = [
        (table.name, key)
        for table in Base.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name in ("contacts", "outbox", "subscriptions", "listings")
    ]
    assert pointing
    assert not [name for name, key in pointing if key.ondelete != "CASCADE"]
    by_number = [
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.name == "contact_id" and not column.foreign_keys
    ]
    assert not by_number


def test_whoever_was_forgotten_is_never_written_to_again_though_their_address_is_typed_in_again(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")
    again = addresses.parse("CLEO@Left.example.org", pepper=PEPPER)
    with database.write() as session:
        contact = contacts.find_or_add(session, again, now=clock.advance(days=400))
        subscriptions.add_all(session, [contact.id], list="interest", now=clock.now(), confirmed=True)
        for needs in ("address", "asked", "confirmed"):
            purpose = Purpose(needs=needs, list="interest")  # type: ignore[arg-type]
            reader = permission.find_recipients(session, [contact.id], purpose=purpose, now=clock.now())[
                contact.id
            ]
            assert reader.refusal == "suppressed"


def test_an_address_that_nobody_knows_can_be_forgotten_too(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    stranger = addresses.parse("stranger@example.org", pepper=PEPPER)
    with database.write() as session:
        assert not erasure.erase_person(session, stranger, now=clock.now(), actor="operator")
        assert suppressions.find_reason(session, stranger.digest) == "forgotten"
        assert contacts.get(session, ben.id).name == "Ben"


def test_forgetting_twice_is_forgetting_once(database: Database, clock: StoppedClock, cleo: Person) -> None:
    with database.write() as session:
        assert erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")
        assert not erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")


def test_the_session_that_forgets_may_have_looked_at_the_person_before(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        seen = contacts.get(session, cleo.id)
        rows = [
            *subscriptions.list_for_contact(session, cleo.id),
            *consents.list_for_contact(session, cleo.id),
        ]
        assert erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")
        assert contacts.find(session, cleo.address) is None
        assert subscriptions.list_for_contact(session, cleo.id) == []
    assert seen.email == cleo.email and rows


def test_the_audit_says_that_somebody_was_forgotten_and_not_who(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")
    with database.read() as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.actor, entry.action, entry.subject) == ("operator", "forget", "")


def test_forgetting_and_asking_at_once_leave_nobody_who_can_be_written_to(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    def forget(session: Session) -> None:
        erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")

    def ask(session: Session) -> None:
        with suppress(AssertionError, IntegrityError):  # what is asked of a row that has just gone fails
            contact = contacts.find_or_add(session, cleo.address, now=clock.now())
            subscriptions.ask(session, contact_id=contact.id, list="organizers", now=clock.now())

    for _ in range(3):
        at_once(database, forget, ask)
        with database.read() as session:
            purpose = Purpose(needs="asked", list="organizers")
            may = permission.is_allowed(purpose, now=clock.now())
            people = select(Contact.id).select_from(permission.join_subscriptions(purpose))
            assert session.scalars(people.where(may)).all() == []
    with database.read() as session:
        orphans = select(func.count(Subscription.id)).where(
            Subscription.contact_id.not_in(select(Contact.id))
        )
        assert session.scalar(orphans) == 0
