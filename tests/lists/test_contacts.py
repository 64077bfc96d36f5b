"""Contacts: one row per person, which knowing an address is not enough to change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lists import addresses, contacts, geography
from lists.addresses import Address
from lists.contacts import DETAIL_LENGTH, NAME_LENGTH, Contact
from lists.db import Database
from lists.errors import BadInput, NotFound
from tests.clocks import StoppedClock
from tests.people import PEPPER, Person
from tests.races import at_once, meanwhile, on_postgresql


def _address(text: str = "dora@example.org") -> Address:
    return addresses.parse(text, pepper=PEPPER)


def test_only_the_address_is_required(database: Database, clock: StoppedClock) -> None:
    with database.write() as session:
        contacts.find_or_add(session, _address(), now=clock.now())
    with database.read() as session:
        dora = contacts.find(session, _address())
        assert dora is not None
        assert (dora.name, dora.language, dora.zip, dora.zone) == ("", "en", "", "")
        assert (dora.latitude, dora.created_at, dora.version) == (None, clock.now(), 1)


def test_a_zip_code_fills_the_place_coarsely(database: Database, ben: Person) -> None:
    with database.read() as session:
        contact = contacts.get(session, ben.id)
        assert (contact.city, contact.state, contact.zone) == ("Phoenix", "AZ", "America/Phoenix")
        assert contact.latitude == round(contact.latitude or 0, 1)


def test_a_form_with_an_existing_address_changes_nothing(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.read() as session:
        before = _columns(contacts.get(session, ben.id))
    with database.write() as session:
        contact = contacts.find_or_add(
            session,
            _address("BEN@Vecinos.example.ORG"),
            now=clock.advance(days=1),
            language="en",
            name="Mallory",
            place=geography.find("10027"),
        )
        assert contact.id == ben.id
    with database.read() as session:
        assert _columns(contacts.get(session, ben.id)) == before


def test_two_forms_sent_at_once_by_one_person_find_one_contact(
    database: Database, clock: StoppedClock
) -> None:
    def add(session: Session) -> int:
        return contacts.find_or_add(session, _address(), now=clock.now(), name="Dora").id

    assert len(set(at_once(database, *[add] * 4))) == 1
    with database.read() as session:
        assert session.scalar(select(func.count(Contact.id))) == 1


def test_an_erased_contact_stays_erased(database: Database, ben: Person, cleo: Person) -> None:
    with database.write() as session:
        contacts.erase(session, cleo.id)
        contacts.amend(session, cleo.id, name="Cleo")
    with database.read() as session:
        with pytest.raises(NotFound, match=f"number {cleo.id}"):
            contacts.get(session, cleo.id)
        assert contacts.get(session, ben.id).name == "Ben"


def test_the_number_of_an_erased_contact_is_never_used_again(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        contacts.erase(session, cleo.id)
    with database.write() as session:
        assert contacts.find_or_add(session, _address(), now=clock.now()).id > cleo.id


@on_postgresql
def test_two_changes_at_once_are_both_kept(database: Database, ben: Person) -> None:
    def rename(session: Session) -> None:
        contacts.amend(session, ben.id, name="Benjamín")

    with meanwhile(database, before="UPDATE contacts", do=rename), database.write() as session:
        contacts.get(session, ben.id)
        contacts.amend(session, ben.id, role="deacon")
    with database.read() as session:
        contact = contacts.get(session, ben.id)
        assert (contact.name, contact.role, contact.version) == ("Benjamín", "deacon", 3)


@pytest.mark.parametrize("hidden", ["\r", "\n", "\r\nBcc: all@example.org", "\x00", "\u202e", "\ud800", "\t"])
def test_a_detail_that_could_inject_a_header_is_refused(hidden: str) -> None:
    with pytest.raises(BadInput, match=r"The name holds .* Please type it again\."):
        contacts.clean(f"Ana{hidden}", label="name")


def test_surrounding_and_double_spaces_of_a_detail_are_removed() -> None:
    assert contacts.clean("  Ana   María ", label="name") == "Ana María"


def test_a_no_break_space_is_a_space() -> None:
    assert contacts.clean("Ana\N{NO-BREAK SPACE}María", label="name") == "Ana María"


@pytest.mark.parametrize("limit", [NAME_LENGTH, DETAIL_LENGTH])
def test_a_detail_may_be_as_long_as_its_column_and_no_longer(limit: int) -> None:
    assert contacts.clean("ñ" * limit, label="name", limit=limit) == "ñ" * limit
    with pytest.raises(BadInput, match=f"longer than {limit} characters"):
        contacts.clean("ñ" * (limit + 1), label="name", limit=limit)


@given(st.text(max_size=200))
def test_a_cleaned_text_is_one_printable_line(text: str) -> None:
    try:
        cleaned = contacts.clean(text, label="name")
    except BadInput:
        return
    assert cleaned.isprintable()
    assert cleaned == cleaned.strip()
    assert contacts.clean(cleaned, label="name") == cleaned
    assert "  " not in cleaned


def _columns(contact: Contact) -> dict[str, object]:
    return {column.key: getattr(contact, column.key) for column in Contact.__table__.columns}
