"""Importing: a CSV file subscribes its people, all of them or none, and restores nobody who left."""

import csv
import io
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, select

from lists import addresses, consents, contacts, directory
from lists.contacts import Contact
from lists.db import Database
from lists.errors import BadInput
from lists.identity import erasure
from lists.subscriptions import Subscription, SubscriptionChange
from lists.tables import importing
from lists.tables.row_parsing import ImportRow, RowResult
from lists.tables.staged_rows import UNDECIDED
from tests.clocks import StoppedClock
from tests.importing import Import, stage_file, state
from tests.people import PEPPER, Person


def rows(text: str) -> Sequence[ImportRow]:
    staging = stage_file(text.encode())
    assert not staging.count("wrong")
    return [row for batch in staging.batches(UNDECIDED) for _, row in batch]


def list_refusals(text: str) -> list[tuple[int, str]]:
    return [(row.line, row.why) for row in stage_file(text.encode()).read_refused()]


def outcomes(results: Sequence[RowResult]) -> dict[str, str]:
    return {result.email: result.outcome for result in results}


# reading


def test_columns_come_in_any_order_and_only_the_address_is_needed() -> None:
    first, second = rows("ZIP,Name, EMAIL ,Language\n85003,Dora,dora@example.org,es\n,,eli@example.org,\n")
    assert (first.address.email, first.name, first.language) == ("dora@example.org", "Dora", "es")
    assert first.place is not None and first.place.city == "Phoenix"
    assert (second.name, second.language, second.place, second.line) == ("", "en", None, 3)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_of_all_spreadsheets_are_read(separator: str, ending: str, mark: str) -> None:
    lines = [["name", "email"], ["Doña Dora", "dora@example.org"], []]
    text = mark + ending.join(separator.join(cells) for cells in lines)
    (row,) = rows(text)
    assert (row.name, row.address.email, row.line) == ("Doña Dora", "dora@example.org", 2)


@pytest.mark.parametrize("word", ["es", "ES", "es-MX", "es_US", "Spanish", "Español"])
def test_a_language_is_recognized_by_its_names(word: str) -> None:
    assert rows(f"email,language\ndora@example.org,{word}")[0].language == "es"


def test_zeros_that_a_spreadsheet_dropped_are_restored() -> None:
    place = rows("email,zip\ndora@example.org,2139")[0].place
    assert place is not None and (place.zip, place.city) == ("02139", "Cambridge")


def test_an_unknown_zip_and_a_likely_typo_are_noted() -> None:
    (row,) = rows("email,zip\ndora@gmial.com,00000")
    assert row.place is None
    assert row.note == "the ZIP code 00000 is not known and is left out; was dora@gmail.com meant?"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf\r\n", "empty"),
        (b"email\nx@example.org\0", "Line 2 holds a NUL"),
        (b"name,zip\nDora,85003", "none is known as the address. It has “name”, “zip”"),
        (b"email,Email\na@example.org,", "“email”, “Email” would each be the address. Keep one of them"),
        (b'email,name\na@example.org,"Dora\nb@example.org,Eli', "Line 2: a quotation mark is never closed"),
        (b'email,name\na@example.org,"Do"ra', "Line 2: a quotation mark stands in the middle"),
        (b'email,name\na@example.org,"' + b"x" * 200_000 + b'"', "Line 2: a quotation mark opens a cell"),
        (b"email\n" + b"x" * 100 + b"\0", "Line 2 holds a NUL"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        stage_file(data)
    assert sentence in str(error.value)


def test_more_rows_than_a_file_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lists.tables.row_parsing.MAX_ROWS", 3)
    with pytest.raises(BadInput, match="more than 3 rows"):
        stage_file(b"email\n" + b"a@example.org\n" * 5)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("dora,,", "has no @"),
        (",Dora,", "Write your email address"),
        ('"a@example.org\r\nBcc: b@example.org",,', "cannot be seen"),
        ('dora@example.org,"Dora\nBcc: b@example.org",', "line break"),
        (f"dora@example.org,{'x' * 81},", "longer than 80"),
        (f"{'x' * 300}@example.org,,", "too long"),
        ("dora@example.org,,fr", "“fr” is not a language"),
        ("dora@example.org,,en,more", "4 cells"),
    ],
)
def test_a_wrong_row_is_reported_with_its_line(row: str, why: str) -> None:
    ((line, sentence),) = list_refusals(f"email,name,language\nana@example.org,,\n{row}\n")
    assert line == 3
    assert why in sentence


def test_a_bad_zip_is_reported() -> None:
    assert "is not a ZIP code" in list_refusals("email,zip\ndora@example.org,85x03")[0][1]


def test_the_same_address_twice_names_the_first_line() -> None:
    ((line, sentence),) = list_refusals('email,name\n"dora@example.org","D"\n\nDORA@Example.org,Dora\n')
    assert line == 4
    assert "line 2" in sentence


def test_lines_are_counted_across_quoted_line_breaks() -> None:
    assert [line for line, _ in list_refusals('email,name\na@b.org,"x\ny\nz"\nnone,\n')] == [2, 5]


def test_a_displayed_cell_cannot_control_a_terminal() -> None:
    (result,) = stage_file(b'email,"\x1b[2Jx"\n"a\x1b[31m",\n').read_results()
    assert "\x1b" not in result.email + result.why


cell = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(cell, max_size=5), max_size=6))
@example([["a@example.org", "x" * 20, "en", "85003"]])
def test_any_table_is_read_row_by_row(table: list[list[str]]) -> None:
    output = io.StringIO(newline="")
    csv.writer(output).writerows([["email", "name", "language", "zip"], *table])
    filled_rows = [cells for cells in table if any(text.strip() for text in cells)]
    with stage_file(output.getvalue().encode()) as staging:
        good_rows = [row for batch in staging.batches(UNDECIDED) for _, row in batch]
        assert len(good_rows) + staging.count("wrong") == len(filled_rows)
    for row in good_rows:
        assert row.name.isprintable() and "\n" not in row.address.email


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b'email\n"')
@example(b"email,\xff")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for file in (data, b"email,name\n" + data):
        try:
            stage_file(file)
        except BadInput as error:
            assert str(error)


# importing


def test_new_people_are_subscribed_with_their_evidence(
    database: Database, clock: StoppedClock, import_text: Import
) -> None:
    results = import_text("email,name,language,zip\ndora@example.org,Dora,es,85003\neli@example.org,,,")
    assert outcomes(results) == {"dora@example.org": "added", "eli@example.org": "added"}
    assert state(database, "dora@example.org") == "confirmed"
    with database.read() as session:
        dora = contacts.find(session, addresses.parse("dora@example.org", pepper=PEPPER))
        assert dora is not None
        assert (dora.name, dora.language, dora.zone) == ("Dora", "es", "America/Phoenix")
        (consent,) = consents.list_for_contact(session, dora.id)
        assert (consent.action, consent.wording) == ("imported", "the sheet of October 4")
        assert session.scalar(select(func.count(SubscriptionChange.id))) == 2


def test_unconfirmed_people_are_only_asked(database: Database, import_text: Import) -> None:
    import_text("email\ndora@example.org", confirmed=False)
    assert state(database, "dora@example.org") == "pending"
    with database.read() as session:
        assert session.scalar(select(func.count(SubscriptionChange.id))) == 0


@pytest.mark.parametrize("list_name", ["interest", "organizers"])
def test_cleo_left_and_is_imported_to_no_list(
    database: Database, cleo: Person, import_text: Import, list_name: str
) -> None:
    (result,) = import_text(f"email\n{cleo.email.upper()}", list=list_name)
    assert (result.outcome, "left the list interest" in result.why) == ("left", True)
    assert state(database, cleo.email) == "left"
    assert state(database, cleo.email, "organizers") is None


def test_erased_people_stay_erased(
    database: Database, clock: StoppedClock, ben: Person, import_text: Import
) -> None:
    with database.write() as session:
        erasure.erase_person(session, ben.address, now=clock.now(), actor="test")
    (result,) = import_text(f"email\n{ben.email}")
    assert (result.outcome, result.why) == ("suppressed", "asked to be forgotten")
    assert state(database, ben.email) is None


def test_an_existing_contact_is_not_changed(database: Database, ben: Person, import_text: Import) -> None:
    text = f"email,name,language,zip\n{ben.email},Somebody Else,en,10027"
    assert outcomes(import_text(text)) == {ben.email: "already"}
    (result,) = import_text(text, list="organizers")
    assert (result.outcome, "is known here already" in result.why) == ("added", True)
    with database.read() as session:
        contact = contacts.get(session, ben.id)
        assert (contact.name, contact.language, contact.zip, contact.version) == ("Ben", "es", "85003", 1)


def test_a_pending_subscription_is_not_confirmed_by_a_file(database: Database, import_text: Import) -> None:
    import_text("email\ndora@example.org", confirmed=False)
    assert outcomes(import_text("email\ndora@example.org")) == {"dora@example.org": "already"}
    assert state(database, "dora@example.org") == "pending"


def test_a_plan_has_the_same_results_and_changes_nothing(
    database: Database, ben: Person, cleo: Person
) -> None:
    staging = stage_file(f"email\ndora@example.org\n{ben.email}\n{cleo.email}".encode())
    with database.read() as session:
        importing.plan(session, staging, list="interest")
        assert session.scalar(select(func.count(Contact.id))) == 2
    assert [result.outcome for result in staging.read_results()] == ["added", "already", "left"]
    assert [*staging.counts().values()] == [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("evidence", ["", "   ", "x" * 1001, "a\nb"])
def test_evidence_that_shows_nothing_is_refused(evidence: str) -> None:
    with pytest.raises(BadInput):
        importing.check_evidence(evidence)


def test_an_import_queries_per_batch_and_never_per_row(database: Database, import_text: Import) -> None:
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    text = "email\n" + "\n".join(f"person{number}@example.org" for number in range(2_500))
    assert sum(result.outcome == "added" for result in import_text(text)) == 2_500
    assert len(statements) < 140
    with database.read() as session:
        query = select(func.count(Subscription.id)).where(Subscription.state == "confirmed")
        assert session.scalar(query) == 2_500


def test_an_approved_organizer_is_on_the_list_already(
    database: Database, ana: Person, import_text: Import
) -> None:
    assert outcomes(import_text(f"email\n{ana.email}", list="organizers")) == {ana.email: "already"}
    with database.read() as session:
        assert directory.list_applications(session) == []
