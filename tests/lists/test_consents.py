"""Consents: every yes and no is recorded with its exact wording, and never changed."""

from inspect import isfunction

import pytest

from lists import consents, contacts
from lists.consents import ACTIONS
from lists.db import Database
from tests.clocks import StoppedClock
from tests.people import Person


def test_the_evidence_says_what_was_shown_where_and_when(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    wording = "Sí, escríbanme. Puedo salir cuando quiera."
    with database.write() as session:
        consents.add(
            session,
            contact_id=ben.id,
            list="interest",
            action="asked",
            wording=wording,
            page="/join",
            language="es",
            now=clock.now(),
        )
    with database.read() as session:
        consent = consents.list_for_contact(session, ben.id)[-1]
        assert (consent.wording, consent.page, consent.language) == (wording, "/join", "es")
        assert consent.at == clock.now()


def test_the_history_is_listed_oldest_first_and_of_one_person_only(
    database: Database, ana: Person, cleo: Person
) -> None:
    with database.read() as session:
        assert [consent.action for consent in consents.list_for_contact(session, cleo.id)] == [
            "asked",
            "confirmed",
            "left",
        ]
        assert {consent.contact_id for consent in consents.list_for_contact(session, ana.id)} == {ana.id}


def test_an_unknown_kind_of_evidence_is_our_own_fault(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with pytest.raises(AssertionError), database.write() as session:
        consents.add(session, contact_id=ben.id, list="interest", action="guessed", now=clock.now())


def test_every_kind_of_evidence_can_be_recorded(database: Database, clock: StoppedClock, ben: Person) -> None:
    with database.write() as session:
        for action in ACTIONS:
            consents.add(session, contact_id=ben.id, list="interest", action=action, now=clock.now())
    with database.read() as session:
        assert set(ACTIONS) <= {consent.action for consent in consents.list_for_contact(session, ben.id)}


def test_the_evidence_goes_with_the_person(database: Database, cleo: Person) -> None:
    with database.write() as session:
        contacts.erase(session, cleo.id)
    with database.read() as session:
        assert consents.list_for_contact(session, cleo.id) == []


def test_nothing_in_this_file_changes_or_deletes_evidence() -> None:
    public = {name for name, value in vars(consents).items() if isfunction(value) and name[0] != "_"}
    assert public - {"select", "mapped_column"} == {"add", "list_for_contact"}
