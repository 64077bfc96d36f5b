"""Whom an import brings counts for nothing until all of them are here, and then all at once."""

import pytest
from sqlalchemy import false, func, select

from lists import addresses, consents, contacts, imports, permission, subscriptions
from lists.contacts import Contact
from lists.db import Database
from lists.errors import Conflict
from lists.imports import ListImport
from lists.permission import Purpose
from lists.subscriptions import SubscriptionChange
from lists.tables import importing, undoing
from tests.clocks import StoppedClock
from tests.importing import Import, begun, staged, state
from tests.people import PEPPER, Person

FIVE = "email\n" + "\n".join(f"person{number}@example.org" for number in range(5))


def half_imported(
    database: Database, clock: StoppedClock, *, confirmed: bool, text: str = FIVE
) -> ListImport:
    """Everybody is written, and nothing more happened."""
    with staged(text.encode()) as stage:
        arrival = begun(database, stage, list="interest", now=clock.now())
        for batch in stage.batches("added"):
            with database.write() as session:
                importing.import_batch(
                    session,
                    batch,
                    list_import=arrival,
                    evidence="sheet",
                    confirmed=confirmed,
                    now=clock.now(),
                )
    return arrival


def taken_back(database: Database, clock: StoppedClock, arrival: ListImport) -> None:
    after: int | None = 0
    while after is not None:
        with database.write() as session:
            people, after = undoing.list_batch(session, arrival, after=after)
            undoing.undo_batch(
                session, arrival, people, is_mailed=false(), is_referenced=false(), now=clock.now()
            )


def writable(database: Database, clock: StoppedClock, purpose: Purpose) -> int:
    who = select(func.count()).select_from(permission.join_subscriptions(purpose))
    with database.read() as session:
        return session.scalar(who.where(permission.is_allowed(purpose, now=clock.now()))) or 0


@pytest.mark.parametrize("needs", ["asked", "confirmed"])
def test_nobody_of_a_half_import_is_written_to_or_counted(
    database: Database, clock: StoppedClock, needs: permission.Needs
) -> None:
    purpose = Purpose(needs=needs, list="interest")
    arrival = half_imported(database, clock, confirmed=needs == "confirmed")
    assert writable(database, clock, purpose) == 0
    with database.read() as session:
        assert subscriptions.count_by_state(session) == {}
        everybody = session.scalars(select(Contact.id)).all()
        answers = permission.find_recipients(session, everybody, purpose=purpose, now=clock.now())
        assert {reader.refusal for reader in answers.values()} == {"arriving"}
    with database.write() as session:
        imports.end(session, arrival.id, state="here", now=clock.now())
    assert writable(database, clock, purpose) == 5


def test_the_same_import_goes_on_and_writes_nobody_twice(
    database: Database, clock: StoppedClock, bring_in: Import
) -> None:
    half_imported(database, clock, confirmed=True, text="email\nperson0@example.org\nperson1@example.org")
    assert {fate.outcome for fate in bring_in(FIVE)} == {"added"}
    with database.read() as session:
        assert subscriptions.count_by_state(session) == {("interest", "confirmed"): 5}
        assert session.scalar(select(func.count(consents.Consent.id))) == 5
        assert session.scalar(select(func.count(SubscriptionChange.id))) == 5


def test_another_import_waits_until_the_first_is_finished_or_taken_back(
    database: Database, clock: StoppedClock
) -> None:
    half_imported(database, clock, confirmed=True)
    with pytest.raises(Conflict, match="mailer list undo"), database.write() as session:
        imports.begin(session, list="interest", fingerprint=b"other", now=clock.now())
    clock.advance(days=1, seconds=1)
    with pytest.raises(Conflict, match="too old to go on"), database.write() as session:
        imports.begin(session, list="interest", fingerprint=b"the sheet", now=clock.now())


def test_taking_back_leaves_everything_as_it_was(
    database: Database, clock: StoppedClock, ana: Person, cleo: Person
) -> None:
    arrival = half_imported(database, clock, confirmed=True, text=f"{FIVE}\n{ana.email}\n{cleo.email}")
    assert state(database, ana.email) == "confirmed"
    taken_back(database, clock, arrival)
    with database.read() as session:
        assert sorted(session.scalars(select(Contact.id))) == [ana.id, cleo.id]
        assert [said.action for said in consents.list_for_contact(session, ana.id)] == ["asked", "confirmed"]
    assert (state(database, ana.email), state(database, ana.email, "organizers")) == (None, "confirmed")
    assert state(database, cleo.email) == "left"


def test_who_joins_on_the_page_meanwhile_is_asked_like_anybody_and_stays(
    database: Database, clock: StoppedClock
) -> None:
    arrival = half_imported(database, clock, confirmed=True)
    with database.write() as session:
        joining = contacts.find(session, addresses.parse("person0@example.org", pepper=PEPPER))
        assert joining is not None
        asked = subscriptions.ask(session, contact_id=joining.id, list="interest", now=clock.now())
        assert asked.state == "pending"
    taken_back(database, clock, arrival)
    assert state(database, "person0@example.org") == "pending"
    assert state(database, "person1@example.org") is None


def test_who_leaves_while_they_arrive_has_left(database: Database, clock: StoppedClock, ana: Person) -> None:
    arrival = half_imported(database, clock, confirmed=True, text=f"email\n{ana.email}")
    with database.write() as session:
        subscriptions.leave(session, contact_id=ana.id, now=clock.now())
    with database.write() as session:
        imports.end(session, arrival.id, state="here", now=clock.now())
    assert writable(database, clock, Purpose(needs="confirmed", list="interest")) == 0
