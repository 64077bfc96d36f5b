"""Search: people are found by how a word of their address, name or organization begins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from lists import addresses, contacts, search
from lists.db import Database
from lists.errors import BadInput
from lists.search import SearchWord
from tests import people
from tests.clocks import START
from tests.people import Person


@pytest.fixture
def indexed_people(database: Database, ana: Person, ben: Person, cleo: Person) -> None:
    with database.write() as session:
        contacts.amend(session, ben.id, name="Ben Núñez", organization="St. Mark’s, Phoenix")
        while search.update_index(session, limit=2):
            pass


def find_emails(database: Database, text: str, *, limit: int = 50) -> list[str]:
    with database.read() as session:
        return [contact.email for contact in search.find(session, text, limit=limit).people]


def add(database: Database, email: str, **values: str) -> int:
    with database.write() as session:
        return contacts.find_or_add(
            session, addresses.parse(email, pepper=people.PEPPER), now=START, **values
        ).id


@pytest.mark.usefixtures("indexed_people")
@pytest.mark.parametrize(
    "text",
    [
        "ben",
        "BEN",
        "nunez",
        "Núñez",
        "nuñ",
        "mark",
        "st. mark's",
        "phoenix ben",
        "Mark Ben N",
        "phoe",
        "st mark",
    ],
)
def test_ben_is_found_by_the_beginning_of_any_word(database: Database, ben: Person, text: str) -> None:
    assert find_emails(database, text) == [ben.email]


@pytest.mark.usefixtures("indexed_people")
def test_addresses_are_found_by_each_part_and_by_the_domain(database: Database) -> None:
    email = "dora.lopez+list@mail.vecinos.example.org"
    add(database, email)
    with database.write() as session:
        search.update_index(session, limit=10)
    for text in (email, "dora.lo", "lopez", "mail.vecinos", "@mail.vecinos.example.org", "list", "dora"):
        assert email in find_emails(database, text), text
    assert email in find_emails(database, "vecinos.example.org")
    assert email not in find_emails(database, "opez")


@pytest.mark.usefixtures("indexed_people")
def test_every_word_must_be_right(database: Database) -> None:
    assert find_emails(database, "ben ana") == []
    assert find_emails(database, "zebedee") == []


def test_a_whole_address_is_found_before_its_words_are_made(database: Database) -> None:
    add(database, "eva@example.org", name="Eva")
    assert find_emails(database, " Eva@Example.org ") == ["eva@example.org"]
    assert find_emails(database, "eva") == []


@pytest.mark.usefixtures("indexed_people")
def test_a_changed_name_is_found_and_the_old_one_is_not(database: Database, ben: Person) -> None:
    with database.write() as session:
        contacts.amend(session, ben.id, name="Benito")
        assert search.update_index(session, limit=10) == 1
        assert search.update_index(session, limit=10) == 0
    assert find_emails(database, "benito") == [ben.email]
    assert find_emails(database, "nunez") == []


@pytest.mark.usefixtures("indexed_people")
def test_a_change_of_other_columns_makes_no_words(database: Database, ben: Person) -> None:
    with database.write() as session:
        contacts.amend(session, ben.id, language="en", discreet=True)
        assert search.update_index(session, limit=10) == 0


@pytest.mark.usefixtures("indexed_people")
def test_no_word_of_an_erased_person_remains(database: Database, ben: Person) -> None:
    with database.write() as session:
        contacts.erase(session, ben.id)
    with database.read() as session:
        assert session.scalar(select(func.count()).where(SearchWord.contact_id == ben.id)) == 0
    assert find_emails(database, "nunez") == []


def test_too_many_matches_are_cut_and_reported(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        add(database, f"neighbor{number}@example.org", name=f"Nadia {number}")
    with database.write() as session:
        search.update_index(session, limit=10)
    with database.read() as session:
        first_result = search.find(session, "nadia", limit=4)
        assert ([contact.email[8] for contact in first_result.people], first_result.has_more) == (
            [*"0123"],
            True,
        )
        monkeypatch.setattr(search, "MAX_CANDIDATES", 3)
        assert search.find(session, "nadia", limit=10).has_more
        exact_result = search.find(session, "nadia 5", limit=10)
        assert ([contact.email[8] for contact in exact_result.people], exact_result.has_more) == (
            ["5"],
            False,
        )


@pytest.mark.parametrize("text", ["", "  ", "., -", "a b c d e f g h i"])
def test_a_question_without_words_is_refused(database: Database, text: str) -> None:
    with database.read() as session, pytest.raises(BadInput, match="Write how"):
        search.find(session, text, limit=10)


def test_words_are_made_again_after_a_restore(database: Database, indexed_people: None, ben: Person) -> None:
    with database.write() as session:
        search.reset_index(session)
        assert search.update_index(session, limit=10) == 3
    assert find_emails(database, "nunez") == [ben.email]


@given(st.text(max_size=80), st.text(max_size=120))
def test_any_name_makes_words_that_can_be_stored_and_queried(name: str, organization: str) -> None:
    words = search.make_words(email_key="ana@example.org", name=name, organization=organization)
    assert {"ana@example.org", "example.org"} <= words
    assert all(0 < len(word) <= search.WORD_LENGTH for word in words)
