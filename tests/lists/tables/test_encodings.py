"""An encoding is told by marks and letters, with its evidence, and can be said instead."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from lists.tables import encodings

PEOPLE = (
    "email,name\r\nana@example.org,Ana Núñez\r\n"
    "ben@example.org,Benjamín Ibáñez\r\ncleo@example.org,Cleo Peña\r\n"
)


def text(data: bytes, *, said: str = "") -> str:
    file = io.BytesIO(data)
    found = encodings.detect(file, encoding_name=said)
    assert file.tell() == 0
    return data[found.mark :].decode(found.codec)


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16-le"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("cp1252", "windows-1252"),
        ("mac_roman", "mac-roman"),
        ("cp850", "cp850"),
    ],
)
def test_the_encodings_of_spreadsheets_are_told_apart(codec: str, name: str) -> None:
    data = PEOPLE.encode(codec)
    assert encodings.detect(io.BytesIO(data)).name == name
    assert text(data) == PEOPLE


def test_latin_1_reads_as_windows_1252_which_has_the_same_letters() -> None:
    assert text(PEOPLE.encode("latin-1")) == PEOPLE


WINDOWS = ["’", "O’Neil", "“Ana”", "José", "Zoë", "François", "Müller", "Ñandú", "¿Quién?", "Marín"]
MAC = ["José", "François", "Müller", "Ñandú", "¿Quién?", "Núñez"]  # “Marín” alone could be Mar’n as well


@pytest.mark.parametrize(
    ("letters", "codec"),
    [*((each, "cp1252") for each in WINDOWS), *((each, "mac_roman") for each in MAC)],
)
def test_a_single_name_is_enough(letters: str, codec: str) -> None:
    data = f"email,name\nana@example.org,{letters}\n".encode(codec)
    assert letters in text(data)


def test_the_evidence_shows_the_letters_so_that_somebody_can_judge() -> None:
    found = encodings.detect(io.BytesIO("name\nDoña\n".encode("cp1252")))
    assert found.evidence == "not UTF-8; it makes these letters of the file: ñ"


def test_a_letter_far_down_is_not_overlooked() -> None:
    plain = b"email\n" + b"ana@example.org\n" * 60_000
    assert encodings.detect(io.BytesIO(plain)).name == "utf-8"
    assert encodings.detect(io.BytesIO(plain + b"Do\xf1a")).name == "windows-1252"
    assert encodings.detect(io.BytesIO(plain + "Doña".encode())).name == "utf-8"


def test_octets_that_no_spreadsheet_writes_are_read_as_latin_1() -> None:
    every = bytes(range(128, 256))
    assert len(text(b"name\n" + every)) == 5 + 128


def test_what_is_said_is_believed_where_it_can_be() -> None:
    assert text(PEOPLE.encode("cp437"), said="cp437") == PEOPLE
    assert text(PEOPLE.encode("utf-8-sig"), said="utf-8") == PEOPLE
    assert text(PEOPLE.encode("utf-16"), said="utf-16") == PEOPLE
    assert text("\ufeff".encode("utf-16-be") + PEOPLE.encode("utf-16-be"), said="utf-16") == PEOPLE


@pytest.mark.parametrize(
    ("data", "said", "sentence"),
    [
        (b"email\nx\nDo\xf1a", "utf-8", "Line 3 is not text in utf-8"),
        (b"email\rx\rDo\xf1a", "utf-8", "Line 3 is not text in utf-8"),
        (b"email", "klingon", "“klingon” is not an encoding read here. These are: utf-8, utf-16"),
        (b"\xef\xbb\xbfemail\nDo\xf1a", "", "The file begins as utf-8, but line 2 is not"),
        (b"\xff\xfee\0\n\0x", "", "The file begins as utf-16-le, but line 2 is not"),
        (b"email\nx@example.org\0", "", "Line 2 holds a NUL"),
        (b"PK\3\4\0\0\0\0", "", "Line 1 holds a NUL"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(data: bytes, said: str, sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        encodings.detect(io.BytesIO(data), encoding_name=said)
    assert sentence in str(refused.value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100), st.sampled_from(["", *encodings.CODECS]))
def test_any_bytes_have_an_encoding_in_which_they_are_text_or_are_refused(data: bytes, said: str) -> None:
    try:
        found = encodings.detect(io.BytesIO(data), encoding_name=said)
    except BadInput:
        return
    told = data[found.mark :].decode(found.codec)
    assert said or "\0" not in told  # what is said is believed
    assert told.encode(found.codec) == data[found.mark :]  # no octet is lost or made up
