"""Catalog: lists that staff add have texts in both languages, and can be closed and opened."""

from typing import Any

import pytest

from lists import catalog
from lists.db import Database
from lists.errors import BadInput, Conflict, NotFound
from tests.clocks import START

CLERGY: dict[str, Any] = {
    "title": {"en": "Clergy circle", "es": "Círculo del clero"},
    "about": {"en": "One email a month.", "es": "Una carta al mes."},
    "confirmation_message": {},
}


def add(database: Database, name: str = "clergy", **changed: Any) -> None:
    with database.write() as session:
        catalog.add(session, name, **(CLERGY | changed), now=START, actor="staff")


def test_a_list_is_added_to_the_built_in_lists(database: Database) -> None:
    add(database, "youth-2026")
    add(database)
    with database.read() as session:
        assert list(catalog.list_names(session)) == ["interest", "organizers", "clergy", "youth-2026"]
        assert catalog.get(session, "clergy").title["es"] == "Círculo del clero"
        assert catalog.find(session, "interest") is None


@pytest.mark.parametrize("name", ["", "Clergy", "9am", "clergy_", "-clergy", "clergy-", "a" * 41, "clérigos"])
def test_a_name_that_is_no_address_is_refused(database: Database, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be the name of a list"):
        add(database, name)


@pytest.mark.parametrize("name", ["interest", "organizers", "all", "added", "clergy"])
def test_a_name_is_used_once(database: Database, name: str) -> None:
    add(database)
    with pytest.raises(Conflict, match="is taken"):
        add(database, name)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"title": {"en": "Clergy circle", "es": " "}}, "The Spanish title is missing"),
        ({"about": {"es": "Una carta al mes."}}, "The English text about the list is missing"),
        ({"title": {"en": "Clergy\nBcc: eva@example.org", "es": "Clero"}}, "line break or a hidden"),
        ({"about": {"en": "x" * 401, "es": "Una carta."}}, "longer than 400"),
    ],
)
def test_invalid_texts_are_refused(database: Database, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        add(database, **changed)
    with database.read() as session:
        assert list(catalog.list_names(session)) == ["interest", "organizers"]


def test_a_text_that_is_not_given_is_not_changed(database: Database) -> None:
    add(database, confirmation_message={"en": {"subject": "s", "preview": "p", "body": "b"}})
    with database.write() as session:
        options: dict[str, Any] = {"now": START, "actor": "staff"}
        mailing_list = catalog.reword(
            session,
            "clergy",
            title={"en": "Clergy", "es": ""},
            about={},
            confirmation_message=None,
            **options,
        )
        assert mailing_list.title == {"en": "Clergy", "es": "Círculo del clero"}
        assert mailing_list.about == CLERGY["about"] and "en" in mailing_list.letter
        assert (
            catalog.reword(session, "clergy", title={}, about={}, confirmation_message={}, **options).letter
            == {}
        )


def test_a_closed_list_exists_and_cannot_be_joined(database: Database) -> None:
    add(database)
    with database.write() as session:
        catalog.check_open(session, "clergy")
        catalog.close(session, "clergy", now=START, actor="staff")
        with pytest.raises(Conflict, match="closed already"):
            catalog.close(session, "clergy", now=START, actor="staff")
    with database.write() as session:
        assert catalog.check_name(session, "clergy") == "clergy"
        with pytest.raises(Conflict, match="mailer list reopen clergy"):
            catalog.check_open(session, "clergy")
        catalog.reopen(session, "clergy", now=START, actor="staff")
        with pytest.raises(Conflict, match="open already"):
            catalog.reopen(session, "clergy", now=START, actor="staff")


def test_the_texts_of_built_in_lists_cannot_be_changed(database: Database) -> None:
    with database.write() as session, pytest.raises(BadInput, match="built in"):
        catalog.close(session, "interest", now=START, actor="staff")
    with database.read() as session, pytest.raises(NotFound, match="The lists are: interest, organizers"):
        catalog.check_name(session, "friends")


def test_the_number_of_lists_is_limited(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "MAX_LISTS", 1)
    add(database)
    with pytest.raises(Conflict, match="no more can be added"):
        add(database, "youth")
