"""The subscriptions of an import count only once all of them are written, and then all at once."""

import pytest
from sqlalchemy import false, func, select

from lists import addresses, consents, contacts, imports, permission, subscriptions
from lists.contacts import Contact
from lists.db import Database
from lists.errors import Conflict
from lists.imports import ListImport
from lists.permission import Purpose
from lists.subscriptions import SubscriptionChange
from lists.tables import import_undo, importing
from tests.clocks import StoppedClock
from tests.importing import Import, begin_import, stage_file, state
from tests.people import PEPPER, Person

FIVE = "email\n" + "\n".join(f"person{number}@example.org" for number in range(5))


def import_half(database: Database, clock: StoppedClock, *, confirmed: bool, text: str = FIVE) -> ListImport:
    """Write every row of an import, and do not finish it."""
    with stage_file(text.encode()) as staging:
        list_import = begin_import(database, staging, list="interest", now=clock.now())
        for batch in staging.batches("added"):
            with database.write() as session:
                importing.import_batch(
                    session,
                    batch,
                    list_import=list_import,
                    evidence="sheet",
                    confirmed=confirmed,
                    now=clock.now(),
                )
    return list_import


def undo_import(database: Database, clock: StoppedClock, list_import: ListImport) -> None:
    after: int | None = 0
    while after is not None:
        with database.write() as session:
            contact_ids, after = import_undo.list_batch(session, list_import, after=after)
            import_undo.undo_batch(
                session, list_import, contact_ids, is_mailed=false(), is_referenced=false(), now=clock.now()
            )


def count_recipients(database: Database, clock: StoppedClock, purpose: Purpose) -> int:
    query = select(func.count()).select_from(permission.join_subscriptions(purpose))
    with database.read() as session:
        return session.scalar(query.where(permission.is_allowed(purpose, now=clock.now()))) or 0


@pytest.mark.parametrize("needs", ["asked", "confirmed"])
def test_nobody_of_a_half_import_is_written_to_or_counted(
    database: Database, clock: StoppedClock, needs: permission.Needs
) -> None:
    purpose = Purpose(needs=needs, list="interest")
    list_import = import_half(database, clock, confirmed=needs == "confirmed")
    assert count_recipients(database, clock, purpose) == 0
    with database.read() as session:
        assert subscriptions.count_by_state(session) == {}
        contact_ids = session.scalars(select(Contact.id)).all()
        recipients = permission.find_recipients(session, contact_ids, purpose=purpose, now=clock.now())
        assert {recipient.refusal for recipient in recipients.values()} == {"arriving"}
    with database.write() as session:
        imports.end(session, list_import.id, state="here", now=clock.now())
    assert count_recipients(database, clock, purpose) == 5


def test_the_same_import_goes_on_and_writes_nobody_twice(
    database: Database, clock: StoppedClock, import_text: Import
) -> None:
    import_half(database, clock, confirmed=True, text="email\nperson0@example.org\nperson1@example.org")
    assert {result.outcome for result in import_text(FIVE)} == {"added"}
    with database.read() as session:
        assert subscriptions.count_by_state(session) == {("interest", "confirmed"): 5}
        assert session.scalar(select(func.count(consents.Consent.id))) == 5
        assert session.scalar(select(func.count(SubscriptionChange.id))) == 5


def test_another_import_waits_until_the_first_is_finished_or_taken_back(
    database: Database, clock: StoppedClock
) -> None:
    import_half(database, clock, confirmed=True)
    with pytest.raises(Conflict, match="mailer list undo"), database.write() as session:
        imports.begin(session, list="interest", fingerprint=b"other", now=clock.now())
    clock.advance(days=1, seconds=1)
    with pytest.raises(Conflict, match="too old to go on"), database.write() as session:
        imports.begin(session, list="interest", fingerprint=b"the sheet", now=clock.now())


def test_taking_back_leaves_everything_as_it_was(
    database: Database, clock: StoppedClock, ana: Person, cleo: Person
) -> None:
    list_import = import_half(database, clock, confirmed=True, text=f"{FIVE}\n{ana.email}\n{cleo.email}")
    assert state(database, ana.email) == "confirmed"
    undo_import(database, clock, list_import)
    with database.read() as session:
        assert sorted(session.scalars(select(Contact.id))) == [ana.id, cleo.id]
        assert [consent.action for consent in consents.list_for_contact(session, ana.id)] == [
            "asked",
            "confirmed",
        ]
    assert (state(database, ana.email), state(database, ana.email, "organizers")) == (None, "confirmed")
    assert state(database, cleo.email) == "left"


def test_who_joins_on_the_page_meanwhile_is_asked_like_anybody_and_stays(
    database: Database, clock: StoppedClock
) -> None:
    list_import = import_half(database, clock, confirmed=True)
    with database.write() as session:
        contact = contacts.find(session, addresses.parse("person0@example.org", pepper=PEPPER))
        assert contact is not None
        subscription = subscriptions.ask(session, contact_id=contact.id, list="interest", now=clock.now())
        assert subscription.state == "pending"
    undo_import(database, clock, list_import)
    assert state(database, "person0@example.org") == "pending"
    assert state(database, "person1@example.org") is None


def test_who_leaves_while_they_arrive_has_left(database: Database, clock: StoppedClock, ana: Person) -> None:
    list_import = import_half(database, clock, confirmed=True, text=f"email\n{ana.email}")
    with database.write() as session:
        subscriptions.leave(session, contact_id=ana.id, now=clock.now())
    with database.write() as session:
        imports.end(session, list_import.id, state="here", now=clock.now())
    assert count_recipients(database, clock, Purpose(needs="confirmed", list="interest")) == 0
