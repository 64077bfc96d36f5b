"""Column mapping: the field of a column is guessed from its name or the tool's, and can be corrected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadInput
from lists.tables import column_mapping, mail_statuses, text_matching
from lists.tables.column_mapping import (
    ANY_VALUE_REFUSES,
    COMMON_HEADINGS,
    FIELDS,
    MAIL_STATUS_FIELDS,
    YES_REFUSES,
    YES_REQUIRED,
)
from lists.tables.foreign_exports import TOOLS
from lists.tables.mail_statuses import STATUS_WORDS, WANTS_MAIL


@pytest.mark.parametrize(
    "name", ["email", "E-mail", "EMAIL ADDRESS", "Correo electrónico:", "correo_electronico"]
)
def test_the_address_is_recognized_by_its_names_in_both_languages(name: str) -> None:
    assert column_mapping.guess([name]).fields == ["email"]


def test_a_last_name_is_read_only_with_a_correction() -> None:
    columns = ["Email", "First Name", "Last Name"]
    assert column_mapping.guess(columns).unread_names == ["Last Name"]
    mapping = column_mapping.guess(columns, corrections={"last name": "last_name"})
    assert mapping.fields == ["email", "first_name", "last_name"]


def test_a_correction_replaces_the_guess() -> None:
    columns = ["Email", "Contact e-mail", "Status"]
    with pytest.raises(BadInput, match="none is known"):
        column_mapping.guess(["Contact e-mail"])
    mapping = column_mapping.guess(columns, corrections={"Contact e-mail": "email", "Status": ""})
    assert mapping.fields == ["", "email", ""]


@pytest.mark.parametrize(
    ("columns", "corrections", "sentence"),
    [
        (["Email", "Correo"], {}, "“Email”, “Correo” would each be the address. Keep one of them: --map"),
        (["Email"], {"Mail": "email"}, "no column “Mail”. It has “Email”"),
        (["Email"], {"Email": "phone"}, "“phone” is nothing a column can be. These are: email, name"),
        (["Teléfono", ""], {}, "none is known as the address. It has “Teléfono”. Say which"),
        ([], {}, "It has no names"),
    ],
)
def test_an_invalid_mapping_is_refused_with_what_to_do(
    columns: list[str], corrections: dict[str, str], sentence: str
) -> None:
    with pytest.raises(BadInput) as error:
        column_mapping.guess(columns, corrections=corrections)
    assert sentence in str(error.value)


def test_states_are_recognized_by_their_words() -> None:
    assert mail_statuses.classify("Subscribed") == mail_statuses.classify("") == WANTS_MAIL
    assert mail_statuses.classify("spam_complaint") == "complained about mail there"
    assert mail_statuses.classify("married") is None


def test_the_tables_are_consistent() -> None:
    for tool in TOOLS:
        assert set(tool.fields.values()) <= {*FIELDS, ""}
        assert tool.source and 0 <= tool.min_signs <= len(tool.signs)
        for name in (*tool.fields, *tool.signs, *tool.file_name_words):
            assert text_matching.normalize(name) == name
    assert set(COMMON_HEADINGS.values()) <= set(FIELDS)
    assert all(text_matching.make_key(name) == name for name in COMMON_HEADINGS)
    assert all(text_matching.normalize(word) == word for word in STATUS_WORDS)
    assert set(YES_REQUIRED) | set(YES_REFUSES) | set(ANY_VALUE_REFUSES) | {"state"} == MAIL_STATUS_FIELDS


@given(st.lists(st.text(max_size=12), max_size=6), st.text(max_size=20))
def test_any_names_are_mapped_or_refused(columns: list[str], file_name: str) -> None:
    try:
        mapping = column_mapping.guess(columns, file_name=file_name)
    except BadInput:
        return
    assert len(mapping.fields) == len(columns) and mapping.find_index("email") is not None
