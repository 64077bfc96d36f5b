"""Encodings: the encoding is detected from marks and letters, with evidence, or given."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from lists.tables import encoding_detection

PEOPLE = (
    "email,name\r\nana@example.org,Ana Núñez\r\n"
    "ben@example.org,Benjamín Ibáñez\r\ncleo@example.org,Cleo Peña\r\n"
)


def text(data: bytes, *, encoding_name: str = "") -> str:
    file = io.BytesIO(data)
    encoding = encoding_detection.detect(file, encoding_name=encoding_name)
    assert file.tell() == 0
    return data[encoding.mark_length :].decode(encoding.codec)


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
def test_the_encodings_of_spreadsheets_are_distinguished(codec: str, name: str) -> None:
    data = PEOPLE.encode(codec)
    assert encoding_detection.detect(io.BytesIO(data)).name == name
    assert text(data) == PEOPLE


def test_latin_1_reads_as_windows_1252_which_has_the_same_letters() -> None:
    assert text(PEOPLE.encode("latin-1")) == PEOPLE


WINDOWS = ["’", "O’Neil", "“Ana”", "José", "Zoë", "François", "Müller", "Ñandú", "¿Quién?", "Marín"]
MAC = ["José", "François", "Müller", "Ñandú", "¿Quién?", "Núñez"]  # “Marín” alone could be Mar’n as well


@pytest.mark.parametrize(
    ("name", "codec"),
    [*((each, "cp1252") for each in WINDOWS), *((each, "mac_roman") for each in MAC)],
)
def test_a_single_name_is_enough(name: str, codec: str) -> None:
    data = f"email,name\nana@example.org,{name}\n".encode(codec)
    assert name in text(data)


def test_the_evidence_shows_the_letters() -> None:
    encoding = encoding_detection.detect(io.BytesIO("name\nDoña\n".encode("cp1252")))
    assert encoding.evidence == "not UTF-8; it makes these letters of the file: ñ"


def test_a_letter_far_down_counts() -> None:
    plain = b"email\n" + b"ana@example.org\n" * 60_000
    assert encoding_detection.detect(io.BytesIO(plain)).name == "utf-8"
    assert encoding_detection.detect(io.BytesIO(plain + b"Do\xf1a")).name == "windows-1252"
    assert encoding_detection.detect(io.BytesIO(plain + "Doña".encode())).name == "utf-8"


def test_octets_that_no_spreadsheet_writes_are_read_as_latin_1() -> None:
    octets = bytes(range(128, 256))
    assert len(text(b"name\n" + octets)) == 5 + 128


def test_a_given_encoding_is_used_where_it_is_possible() -> None:
    assert text(PEOPLE.encode("cp437"), encoding_name="cp437") == PEOPLE
    assert text(PEOPLE.encode("utf-8-sig"), encoding_name="utf-8") == PEOPLE
    assert text(PEOPLE.encode("utf-16"), encoding_name="utf-16") == PEOPLE
    assert text("\ufeff".encode("utf-16-be") + PEOPLE.encode("utf-16-be"), encoding_name="utf-16") == PEOPLE


@pytest.mark.parametrize(
    ("data", "encoding_name", "sentence"),
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
def test_a_file_that_is_no_text_is_refused_with_the_line(
    data: bytes, encoding_name: str, sentence: str
) -> None:
    with pytest.raises(BadInput) as error:
        encoding_detection.detect(io.BytesIO(data), encoding_name=encoding_name)
    assert sentence in str(error.value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100), st.sampled_from(["", *encoding_detection.CODECS]))
def test_any_bytes_have_an_encoding_in_which_they_are_text_or_are_refused(
    data: bytes, encoding_name: str
) -> None:
    try:
        encoding = encoding_detection.detect(io.BytesIO(data), encoding_name=encoding_name)
    except BadInput:
        return
    decoded = data[encoding.mark_length :].decode(encoding.codec)
    assert encoding_name or "\0" not in decoded  # a given encoding is used
    assert decoded.encode(encoding.codec) == data[encoding.mark_length :]  # no octet is lost or added
