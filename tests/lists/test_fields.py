"""Fields: each value is of its field's type, and an invalid one is refused with how it is written."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists import fields
from lists.db import Database
from lists.errors import BadInput, Conflict, MailerError, NotFound
from lists.fields import MAX_FIELDS, TYPES, Field
from tests.clocks import START, StoppedClock
from tests.people import Person

FIELDS = {
    type_name: Field(name="x", title="Title", type=type_name, choices=["North", "Sur"], created_at=START)
    for type_name in TYPES
}


@pytest.mark.parametrize(
    ("type", "text", "value"),
    [
        ("text", "  a  b ", "a b"),
        ("text", "=1+1", "=1+1"),
        ("number", "012.50", "12.5"),
        ("number", "-0.0", "0"),
        ("number", "100", "100"),
        ("date", "2028-02-29", "2028-02-29"),
        ("yes/no", "Sí", "yes"),
        ("yes/no", "0", "no"),
        ("choice", "NORTH", "North"),
        *((each, "   ", "") for each in TYPES),
    ],
)
def test_a_value_is_kept_as_its_type_writes_it(type: str, text: str, value: str) -> None:
    assert fields.parse(FIELDS[type], text) == value


@pytest.mark.parametrize(
    ("type", "text", "why"),
    [
        ("text", "a\nb", "line break"),
        ("text", "x" * 501, "longer than 500"),
        *(
            ("number", text, "Write it like 12 or 3.5")
            for text in ("twelve", "1e9", "1,5", "NaN", "٣", "9" * 16)
        ),
        *(("date", text, "Write it like 2026-10-04") for text in ("10/04/2026", "2027-02-29", "20261004")),
        ("yes/no", "maybe", "neither yes nor no"),
        ("choice", "East", "These are: North, Sur"),
    ],
)
def test_an_invalid_value_is_refused_with_how_it_is_written(type: str, text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        fields.parse(FIELDS[type], text)


@given(st.sampled_from(TYPES), st.text(max_size=60))
def test_any_text_is_parsed_or_refused_and_a_parsed_value_stays_the_same(type: str, text: str) -> None:
    try:
        value = fields.parse(FIELDS[type], text)
    except MailerError:
        return
    assert fields.parse(FIELDS[type], value) == value


@given(st.dates())
def test_every_day_is_a_date(day: date) -> None:
    assert fields.parse(FIELDS["date"], day.isoformat()) == day.isoformat()


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        ("Size", {}, "small letters"),
        ("a" * 41, {}, "small letters"),
        ("zip", {}, "already"),
        ("tags", {}, "already"),
        ("size", {"title": " "}, "--title"),
        ("status_here", {"title": "Immigration status"}, "what is not written down"),
        ("papers", {"title": "¿Tiene papeles?"}, "what is not written down"),
        ("size", {"choices": ["S", "M"]}, "Only a field of the type"),
        ("size", {"type": "choice", "choices": ["S"]}, "two to 50 different"),
        ("size", {"type": "choice", "choices": ["S", "s"]}, "two to 50 different"),
        ("size", {"type": "colour"}, "no type"),
    ],
)
def test_an_invalid_field_is_refused_with_the_reason(
    database: Database, clock: StoppedClock, name: str, more: dict[str, object], why: str
) -> None:
    options = {"title": "Size", "type": "text", "choices": [], "now": clock.now(), "actor": "staff", **more}
    with database.write() as session, pytest.raises(MailerError, match=why):
        fields.add(session, name, **options)  # type: ignore[arg-type]


def test_a_retired_field_takes_no_values_and_keeps_its_name(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    options = {"title": "Size", "type": "text", "choices": [], "now": clock.now(), "actor": "staff"}
    with database.write() as session:
        fields.add(session, "size", **options)  # type: ignore[arg-type]
        fields.set_values(session, ben.id, {"size": "M"})
        fields.retire(session, "size", now=clock.now(), actor="staff")
        assert not fields.list_active(session)
        assert fields.find_values(session, ben.id) == {"size": "M"}
        for error in (Conflict, NotFound):
            with pytest.raises(error):
                fields.retire(
                    session, "size" if error is Conflict else "none", now=clock.now(), actor="staff"
                )
        with pytest.raises(Conflict, match="already"):
            fields.add(session, "size", **options)  # type: ignore[arg-type]


def test_the_number_of_fields_is_limited(database: Database, clock: StoppedClock) -> None:
    options = {"title": "Size", "type": "text", "choices": [], "now": clock.now(), "actor": "staff"}
    with database.write() as session:
        for number in range(MAX_FIELDS):
            fields.add(session, f"f{number}", **options)  # type: ignore[arg-type]
        with pytest.raises(Conflict, match="the most"):
            fields.add(session, "one_more", **options)  # type: ignore[arg-type]
