"""Erasure: no table contains data of the person any more, and nothing is ever sent to them again."""

from contextlib import suppress

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from lists import addresses, consents, contacts, directory, permission, subscriptions, suppressions
from lists.audit import AuditEntry
from lists.contacts import Contact
from lists.db import Base, Database
from lists.directory import Application
from lists.identity import erasure
from lists.permission import Purpose
from lists.subscriptions import Subscription
from mailer.outbox import due_rows, outbox
from tests import parts
from tests.clocks import StoppedClock
from tests.people import PEPPER, Person, add
from tests.races import at_once

NAME = "Zenobia Quetzal"
# The next contact gets a number that occurs nowhere else, so that every column can be searched for it.
ODD_NUMBER = {
    "sqlite": "INSERT INTO sqlite_sequence (name, seq) VALUES ('contacts', 7340152)",
    "postgresql": "SELECT setval('contacts_id_seq', 7340152)",
}


@pytest.fixture
def zenobia(database: Database, clock: StoppedClock) -> Person:
    """A person whose name, address and number occur nowhere else, with a row in every table."""
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
    """Search every column of every table for the person; returns table → rows with data of them."""
    words = [NAME, "quetzal", "Ketchikan", "99950", str(person.id)]
    counts: dict[str, int] = {}
    for table in Base.metadata.sorted_tables:
        rows = session.execute(select(table)).mappings().all()
        mentioning_rows = [row for row in rows if _mentions(row.values(), words, person)]
        if mentioning_rows:
            counts[table.name] = len(mentioning_rows)
    return counts


def _mentions(values: object, words: list[str], person: Person) -> bool:
    for value in values:  # type: ignore[attr-defined]
        octets = value if isinstance(value, bytes) else str(value).encode()
        if any(word.lower().encode() in octets.lower() for word in words) or person.address.digest in octets:
            return True
    return False


def test_an_erasure_deletes_every_row_with_data_of_the_person(
    database: Database, clock: StoppedClock, zenobia: Person, ben: Person
) -> None:
    service = parts.built()
    with database.write() as session:
        service.sequences.fill(session, now=clock.advance(hours=2), limit=100)
        edition_id = service.editions.freeze_current(session, "received", "received", now=clock.now())
        outbox.put(
            session,
            key=f"received/organizers/contact/{zenobia.id}",
            kind="received",
            list="organizers",
            contact_id=zenobia.id,
            edition_id=edition_id,
            now=clock.now(),
        )
        entries = due_rows.claim(
            session, worker="w", limit=9, now=clock.now(), lease_until=clock.advance(seconds=45)
        )
        results = [
            outbox.Result(
                entry=entry, state="sent", counts_as_try=True, address=zenobia.email, outcome="sent"
            )
            for entry in entries
            if entry.contact_id == zenobia.id
        ]
        outbox.record(session, results, now=clock.now())
    with database.read() as session:
        before = _traces(session, zenobia)
    tables = {"contacts", "consents", "subscriptions", "listings", "journeys", "outbox", "attempts"}
    assert tables <= set(before)
    with database.write() as session:
        subscriptions.leave(session, contact_id=zenobia.id, now=clock.now())  # so that they are in the queue
        assert "subscription_changes" in _traces(session, zenobia)
        assert erasure.erase_person(session, zenobia.address, now=clock.now(), actor="operator")
    with database.read() as session:
        # The keyed hash, and nothing else; the departures are deleted once they are in the file.
        assert _traces(session, zenobia) == {"suppressions": 1, "departures": 3}
        assert contacts.get(session, ben.id).name == "Ben"


def test_every_row_that_references_a_contact_is_deleted_with_it() -> None:
    references = [
        (table.name, key)
        for table in Base.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name in ("contacts", "outbox", "subscriptions", "listings")
    ]
    assert references
    assert not [name for name, key in references if key.ondelete != "CASCADE"]
    unreferenced = [
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.name == "contact_id" and not column.foreign_keys
    ]
    assert not unreferenced


def test_an_erased_person_is_never_written_to_again_even_when_their_address_is_typed_again(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")
    address = addresses.parse("CLEO@Left.example.org", pepper=PEPPER)
    with database.write() as session:
        contact = contacts.find_or_add(session, address, now=clock.advance(days=400))
        subscriptions.add_all(session, [contact.id], list="interest", now=clock.now(), confirmed=True)
        for needs in ("address", "asked", "confirmed"):
            purpose = Purpose(needs=needs, list="interest")  # type: ignore[arg-type]
            recipient = permission.find_recipients(session, [contact.id], purpose=purpose, now=clock.now())[
                contact.id
            ]
            assert recipient.refusal == "suppressed"


def test_an_address_without_a_contact_can_be_erased_too(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    address = addresses.parse("unknown@example.org", pepper=PEPPER)
    with database.write() as session:
        assert not erasure.erase_person(session, address, now=clock.now(), actor="operator")
        assert suppressions.find_reason(session, address.digest) == "forgotten"
        assert contacts.get(session, ben.id).name == "Ben"


def test_erasing_twice_is_erasing_once(database: Database, clock: StoppedClock, cleo: Person) -> None:
    with database.write() as session:
        assert erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")
        assert not erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")


def test_the_session_that_erases_may_have_loaded_the_person_before(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        contact = contacts.get(session, cleo.id)
        rows = [
            *subscriptions.list_for_contact(session, cleo.id),
            *consents.list_for_contact(session, cleo.id),
        ]
        assert erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")
        assert contacts.find(session, cleo.address) is None
        assert subscriptions.list_for_contact(session, cleo.id) == []
    assert contact.email == cleo.email and rows


def test_the_audit_records_an_erasure_without_the_person(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")
    with database.read() as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.actor, entry.action, entry.subject) == ("operator", "forget", "")


def test_a_concurrent_erasure_and_sign_up_leave_no_recipient(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    def forget(session: Session) -> None:
        erasure.erase_person(session, cleo.address, now=clock.now(), actor="operator")

    def ask(session: Session) -> None:
        with suppress(AssertionError, IntegrityError):  # fails when the row was just deleted
            contact = contacts.find_or_add(session, cleo.address, now=clock.now())
            subscriptions.ask(session, contact_id=contact.id, list="organizers", now=clock.now())

    for _ in range(3):
        at_once(database, forget, ask)
        with database.read() as session:
            purpose = Purpose(needs="asked", list="organizers")
            condition = permission.is_allowed(purpose, now=clock.now())
            people = select(Contact.id).select_from(permission.join_subscriptions(purpose))
            assert session.scalars(people.where(condition)).all() == []
    with database.read() as session:
        orphans = select(func.count(Subscription.id)).where(
            Subscription.contact_id.not_in(select(Contact.id))
        )
        assert session.scalar(orphans) == 0
