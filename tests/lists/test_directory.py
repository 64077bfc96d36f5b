"""Directory: an application waits for the confirmation of its address, then for staff, and is never lost."""

import pytest
from sqlalchemy.orm import Session

from lists import consents, contacts, directory, geography, subscriptions
from lists.db import Database
from lists.directory import OFFER_LENGTH, Application, Listing
from lists.errors import BadInput, BadZip, Conflict, NotFound
from tests.clocks import StoppedClock
from tests.people import Person
from tests.races import at_once, meanwhile, on_postgresql

ST_MARK = Application(
    organization="St. Mark",
    name="Ana María",
    tradition="Episcopal",
    role="deacon",
    zip="10027",
    offer="A hall for forty,\nand coffee.",
)


def _apply(
    session: Session, person: Person, *, clock: StoppedClock, application: Application = ST_MARK
) -> None:
    subscriptions.ask(session, contact_id=person.id, list="organizers", now=clock.now())
    directory.add_application(session, application.clean(), contact_id=person.id, now=clock.now())


def _add_waiting(session: Session, person: Person, *, clock: StoppedClock) -> Listing:
    _apply(session, person, clock=clock)
    assert directory.mark_address_confirmed(session, contact_id=person.id)
    return directory.list_applications(session, state="waiting")[-1]


def _states(database: Database) -> list[str]:
    with database.read() as session:
        return [listing.state for listing in directory.list_applications(session)]


def test_an_application_waits_for_its_address_first_and_for_staff_then(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        _apply(session, ben, clock=clock)
    assert _states(database) == ["asked"]
    with database.write() as session:
        assert directory.mark_address_confirmed(session, contact_id=ben.id)
        assert not directory.mark_address_confirmed(session, contact_id=ben.id)
    assert _states(database) == ["waiting"]


def test_filling_in_the_form_does_not_change_the_contact(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        _add_waiting(session, ben, clock=clock)
    with database.read() as session:
        contact = contacts.get(session, ben.id)
        assert (contact.name, contact.organization, contact.zip) == ("Ben", "", "85003")


def test_a_second_application_replaces_the_first(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        _apply(session, ben, clock=clock)
        second = Application(organization="St. Luke").clean()
        directory.add_application(session, second, contact_id=ben.id, now=clock.advance(hours=1))
        assert directory.mark_address_confirmed(session, contact_id=ben.id)
        third = Application(organization="St. John").clean()
        directory.add_application(session, third, contact_id=ben.id, now=clock.advance(hours=1))
        assert [listing.state for listing in directory.list_applications(session)] == ["waiting", "asked"]
        assert directory.mark_address_confirmed(session, contact_id=ben.id)
    with database.read() as session:
        listings = directory.list_applications(session)
        assert [(listing.organization, listing.state) for listing in listings] == [("St. John", "waiting")]


def test_two_applications_sent_at_once_are_one_and_can_be_confirmed(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    def apply(session: Session) -> None:
        _apply(session, ben, clock=clock)

    at_once(database, apply, apply, apply)
    assert _states(database) == ["asked"]
    with database.write() as session:
        assert directory.mark_address_confirmed(session, contact_id=ben.id)
    assert _states(database) == ["waiting"]


@on_postgresql
def test_two_concurrent_confirmations_lose_no_application(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        _apply(session, ben, clock=clock)

    def confirm(session: Session) -> bool:
        return directory.mark_address_confirmed(session, contact_id=ben.id)

    with meanwhile(database, before="UPDATE listings", do=confirm), database.write() as session:
        assert not confirm(session)
    assert _states(database) == ["waiting"]


def test_an_approval_changes_the_contact_and_joins_the_list(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        listing = _add_waiting(session, ben, clock=clock)
        directory.approve(session, listing.id, now=clock.advance(days=1), actor="staff")
    with database.read() as session:
        contact = contacts.get(session, ben.id)
        assert (contact.name, contact.organization, contact.role) == ("Ana María", "St. Mark", "deacon")
        assert (contact.zip, contact.zone, contact.tradition) == ("10027", "America/New_York", "Episcopal")
        subscription = subscriptions.find(session, contact_id=ben.id, list="organizers")
        assert subscription is not None and (subscription.state, subscription.confirmed_at) == (
            "confirmed",
            clock.now(),
        )
        consent = consents.list_for_contact(session, ben.id)[-1]
        assert (consent.list, consent.action, consent.page) == ("organizers", "approved", "staff")
        assert directory.list_applications(session)[0].decided_at == clock.now()


def test_an_empty_field_of_an_application_does_not_change_the_contact(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        _apply(session, ben, clock=clock, application=Application(organization="Vecinos"))
        directory.mark_address_confirmed(session, contact_id=ben.id)
        listing = directory.list_applications(session)[0]
        directory.approve(session, listing.id, now=clock.now(), actor="staff")
    with database.read() as session:
        contact = contacts.get(session, ben.id)
        assert (contact.name, contact.zip, contact.city) == ("Ben", "85003", "Phoenix")


def test_a_rejected_application_changes_nothing_else_and_they_may_apply_again(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        listing = _add_waiting(session, ben, clock=clock)
        directory.reject(session, listing.id, now=clock.now(), actor="staff")
        subscription = subscriptions.find(session, contact_id=ben.id, list="organizers")
        assert subscription is not None and subscription.state == "pending"
        assert contacts.get(session, ben.id).organization == ""
        second_listing = _add_waiting(session, ben, clock=clock)
        directory.approve(session, second_listing.id, now=clock.now(), actor="staff")
    assert _states(database) == ["rejected", "approved"]


@pytest.mark.parametrize("decide", [directory.approve, directory.reject])
def test_only_a_waiting_application_can_be_decided_and_the_sentence_says_why(
    database: Database, clock: StoppedClock, ben: Person, decide: object
) -> None:
    def find_refusal(number: int) -> str:
        with pytest.raises((Conflict, NotFound)) as caught, database.write() as session:
            decide(session, number, now=clock.now(), actor="staff")  # type: ignore[operator]
        return str(caught.value)

    assert "no application number 1" in find_refusal(1)
    with database.write() as session:
        _apply(session, ben, clock=clock)
    assert "has not confirmed the address yet" in find_refusal(1)
    with database.write() as session:
        directory.mark_address_confirmed(session, contact_id=ben.id)
        directory.reject(session, 1, now=clock.now(), actor="staff")
    assert "already rejected" in find_refusal(1)
    assert _states(database) == ["rejected"]


@on_postgresql
def test_of_two_concurrent_decisions_one_is_refused(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        listing = _add_waiting(session, ben, clock=clock)

    def reject(session: Session) -> None:
        directory.reject(session, listing.id, now=clock.now(), actor="second")

    with (
        meanwhile(database, before="UPDATE listings", do=reject),
        pytest.raises(Conflict, match="already rejected"),
        database.write() as session,
    ):
        directory.approve(session, listing.id, now=clock.now(), actor="first")
    assert _states(database) == ["rejected"]
    with database.read() as session:
        assert contacts.get(session, ben.id).organization == ""


def test_leaving_withdraws_the_open_application(database: Database, clock: StoppedClock, ben: Person) -> None:
    with database.write() as session:
        listing = _add_waiting(session, ben, clock=clock)
        _apply(session, ben, clock=clock)
        directory.withdraw(session, contact_id=ben.id)
    assert _states(database) == ["withdrawn", "withdrawn"]
    with pytest.raises(Conflict, match="already withdrawn"), database.write() as session:
        directory.approve(session, listing.id, now=clock.now(), actor="staff")
    with database.write() as session:
        assert not directory.mark_address_confirmed(session, contact_id=ben.id)


def test_an_approval_does_not_restore_a_subscription_that_was_left(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        listing = _add_waiting(session, cleo, clock=clock)
        subscriptions.leave(session, contact_id=cleo.id, now=clock.now())
    with pytest.raises(Conflict, match="left the organizer list"), database.write() as session:
        directory.approve(session, listing.id, now=clock.now(), actor="staff")
    assert _states(database) == ["waiting"]
    with database.read() as session:
        assert contacts.get(session, cleo.id).organization == ""


@on_postgresql
def test_an_approval_fails_when_the_person_leaves_at_the_same_moment(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        listing = _add_waiting(session, ben, clock=clock)

    def leave(session: Session) -> None:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now(), list="organizers")

    with (
        meanwhile(database, before="UPDATE subscriptions", do=leave),
        pytest.raises(Conflict, match="left the organizer list"),
        database.write() as session,
    ):
        directory.approve(session, listing.id, now=clock.now(), actor="staff")
    assert _states(database) == ["waiting"]


def test_a_person_who_left_and_applies_again_waits_again(
    database: Database, clock: StoppedClock, ana: Person
) -> None:
    with database.write() as session:
        listing = _add_waiting(session, ana, clock=clock)
        directory.approve(session, listing.id, now=clock.now(), actor="staff")
        subscriptions.leave(session, contact_id=ana.id, now=clock.now())
        directory.withdraw(session, contact_id=ana.id)
        second_listing = _add_waiting(session, ana, clock=clock)
        directory.approve(session, second_listing.id, now=clock.now(), actor="staff")
        subscription = subscriptions.find(session, contact_id=ana.id, list="organizers")
        assert subscription is not None and (subscription.state, subscription.round) == ("confirmed", 1)


@pytest.mark.parametrize(
    ("application", "sentence"),
    [
        (Application(organization=" "), "tell us the name of your congregation"),
        (Application(organization="x" * 121), "longer than 120 characters"),
        (Application(organization="St. Mark\r\nBcc: all@example.org"), "hidden character"),
        (Application(organization="St. Mark", name="n" * 81), "longer than 80 characters"),
        (Application(organization="St. Mark", offer="o" * (OFFER_LENGTH + 1)), "longer than 1000"),
        (Application(organization="St. Mark", offer="a hall\x00"), "hidden character"),
        (Application(organization="St. Mark", role="\u202epastor"), "hidden character"),
    ],
)
def test_an_invalid_application_is_refused_with_what_to_do(application: Application, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        application.clean()


def test_an_offer_may_have_several_lines_with_any_line_ending() -> None:
    application = Application(organization="St. Mark", offer=" A hall,\r\ncoffee. ")
    assert application.clean().offer == "A hall,\ncoffee."


def test_a_zip_code_is_stored_in_five_digits_and_checked_in_the_form() -> None:
    assert Application(organization="St. Mark", zip=" 10027-1234 ").clean().zip == "10027"
    with pytest.raises(BadZip):
        Application(organization="St. Mark", zip="Harlem").clean()


def test_an_unknown_zip_code_is_stored_as_it_was_typed() -> None:
    assert geography.find("00000") is None
    assert Application(organization="St. Mark", zip="00000").clean().zip == "00000"
