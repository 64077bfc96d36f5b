"""Dialects: the first records decide the dialect, and each record is read with the line where it begins."""

import csv
import io
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from lists.tables import csv_records, encoding_detection
from lists.tables.csv_records import QUOTING, SEPARATORS, CsvDialect, Record

TABLE = [
    ["email", "name", "notes"],
    ["ana@example.org", 'Ana "la jefa" Núñez', "first line\nsecond line"],
    ["ben@example.org", "Ibáñez, Ben; hijo", "a|b\tc"],
    ["cleo@example.org", "Cleo O'Neil", "'t Hooft"],
]


def detect_dialect(data: bytes) -> CsvDialect:
    file = io.BytesIO(data)
    return csv_records.detect(file, encoding_detection.detect(file))


def records(data: bytes) -> list[Record]:
    file = io.BytesIO(data)
    encoding = encoding_detection.detect(file)
    return [*csv_records.read_records(file, encoding, csv_records.detect(file, encoding))]


def write_table(separator: str, quoting: str, ending: str, *, quote_all: bool) -> str:
    text = io.StringIO(newline="")
    quoting_style = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    csv.writer(
        text,
        delimiter=SEPARATORS[separator],
        lineterminator=ending,
        quoting=quoting_style,
        **QUOTING[quoting],
    ).writerows(TABLE)
    return text.getvalue()


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_every_separator_ending_and_encoding_is_read(separator: str, ending: str, codec: str) -> None:
    for quoting, quote_all in itertools.product(QUOTING, [True, False]):
        if not quote_all and (quoting == "single quotes" or ending == "\r"):
            continue  # no evidence; and Python writes LF unquoted where CR ends a line
        data = write_table(separator, quoting, ending, quote_all=quote_all).encode(codec)
        assert [cells for _, cells in records(data)] == TABLE, (quoting, quote_all)


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("name;email\nDoe, John;john@example.org\nRoe, Jane;jane@example.org", "semicolon"),
        ("email;name, first;zip\na@b.org;Ana;1\nb@b.org;Ben;2", "semicolon"),
        ("email\tname\na@b.org\tDoe, John", "tab"),
        ("email|name|x,y\na@b.org|Ana, Maria|", "pipe"),
        ("email\na@b.org\nb@b.org", "comma"),
        ("sep=;\nemail;a,b,c\nx@b.org;1,2,3", "semicolon"),
        ("email,zip\n\n\na@b.org,1", "comma"),
    ],
)
def test_the_separator_is_the_one_the_rows_agree_on(text: str, separator: str) -> None:
    assert detect_dialect(text.encode()).separator == separator


def test_excels_separator_line_is_no_record() -> None:
    assert records(b"sep=;\r\nemail;name\r\na@b.org;Ana\r\n") == [
        (2, ["email", "name"]),
        (3, ["a@b.org", "Ana"]),
    ]


def test_an_apostrophe_at_the_beginning_of_a_name_quotes_nothing() -> None:
    assert records(b"name,email\n't Hooft,a@b.org\n'n Bosch,b@b.org")[1][1] == ["'t Hooft", "a@b.org"]


def test_a_given_separator_is_used() -> None:
    file = io.BytesIO(b"email,a;b\nx,1;2")
    encoding = encoding_detection.detect(file)
    assert csv_records.detect(file, encoding, separator_name="semicolon").separator == "semicolon"
    with pytest.raises(BadInput, match="These are: comma, semicolon, tab, pipe"):
        csv_records.detect(file, encoding, separator_name="dash")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"\r\n \n", "empty"),
        ("email\nx\0y".encode("utf-16"), "Line 2 holds a NUL"),
        (b'email,name\na@example.org,"Dora\nb@example.org,Eli', "Line 2: a quotation mark is never closed"),
        (b'email,name\na@example.org,"Do"ra', "Line 2: a quotation mark stands in the middle"),
        (b'email,name\na@example.org,"' + b"x\n" * 200_000 + b'"', "Line 2: a quotation mark opens a cell"),
        (b"email\n" + b"x" * 2_000_000, "Line 2 is longer than a million characters"),
    ],
)
def test_an_unreadable_file_is_refused_with_the_line(data: bytes, sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        records(data)
    assert sentence in str(error.value)


def test_records_are_read_one_at_a_time_and_the_file_stays_open() -> None:
    file = io.BytesIO(b"email,name\n" + b"a@b.org,Ana\n" * 200_000)
    encoding = encoding_detection.detect(file)
    reading = csv_records.read_records(file, encoding, csv_records.detect(file, encoding))
    assert next(reading) == (1, ["email", "name"])
    assert file.tell() < 100_000
    reading.close()
    assert not file.closed


cell = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(cell, min_size=3, max_size=3), min_size=3, max_size=8), st.sampled_from([*SEPARATORS])
)
def test_any_quoted_table_is_read_cell_by_cell(table: list[list[str]], separator: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=SEPARATORS[separator], quoting=csv.QUOTE_ALL).writerows(
        [["email", "name", "zip"], *table]
    )
    assert [cells for _, cells in records(text.getvalue().encode("utf-8"))][1:] == table
