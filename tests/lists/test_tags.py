"""Tags: a tag has one spelling, and a contact has it at most once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists import tags
from lists.db import Database
from lists.errors import BadInput
from tests.clocks import StoppedClock
from tests.people import Person


@pytest.mark.parametrize(
    ("text", "tag"), [("Choir", "choir"), (" guest  speaker ", "guest-speaker"), ("ÁRBOL", "árbol")]
)
def test_a_tag_has_one_spelling(text: str, tag: str) -> None:
    assert tags.parse(text) == tag


@pytest.mark.parametrize("text", ["", "=cmd", "-a", "a,b", "a\x00b", "x" * 41, "<b>"])
def test_a_text_that_is_no_tag_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(BadInput, match="cannot be a tag"):
        tags.parse(text)


@given(st.text(max_size=50))
def test_a_parsed_tag_stays_the_same(text: str) -> None:
    try:
        tag = tags.parse(text)
    except BadInput:
        return
    assert tags.parse(tag) == tag


def test_a_cell_may_hold_several() -> None:
    assert tags.parse_all("choir; Guest speaker,choir | ") == ["choir", "guest-speaker"]
    with pytest.raises(BadInput, match="more than 50"):
        tags.parse_all(",".join(f"t{number}" for number in range(51)))


def test_tags_are_added_removed_and_listed(
    database: Database, clock: StoppedClock, ana: Person, ben: Person
) -> None:
    with database.write() as session:
        tags_by_contact = [(ana.id, ["choir"]), (ben.id, ["choir", "host"])]
        assert (
            tags.add_all(session, tags_by_contact, now=clock.now()),
            tags.add_all(session, tags_by_contact, now=clock.now()),
        ) == (3, 0)
        assert [contact.id for contact in tags.list_contacts(session, "choir", limit=9)] == [ana.id, ben.id]
        assert (tags.remove(session, ben.id, "host"), tags.remove(session, ben.id, "host")) == (True, False)
        assert tags.list_for_contacts(session, [ana.id, ben.id]) == {ana.id: ["choir"], ben.id: ["choir"]}
