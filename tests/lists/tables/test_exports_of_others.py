"""Exports of other tools are read by the tool's own columns, and people who left there are skipped.

The files in exports/ are made up, each in the form that its tool writes (lists/tables/foreign_exports.py and
rosters.py name the sources).
"""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from lists.tables import address_lines, column_mapping, csv_file, importing
from lists.tables.column_mapping import ColumnMapping
from lists.tables.csv_file import TableFile
from lists.tables.row_parsing import ImportRow
from lists.tables.staged_rows import UNDECIDED, StagingTable
from tests.people import PEPPER

EXPORTS = Path(__file__).parent / "exports"
ANA, BEN, DORA = "ana@stmark.example.org", "ben@vecinos.example.org", "dora@example.org"


@dataclass(frozen=True, kw_only=True)
class Reading:
    table: TableFile
    columns: ColumnMapping
    staging: StagingTable

    @property
    def rows(self) -> list[ImportRow]:
        return [row for batch in self.staging.batches(UNDECIDED) for _, row in batch]


def read_bytes(data: bytes, name: str) -> Reading:
    table, staging = csv_file.read(io.BytesIO(data)), StagingTable()
    columns = column_mapping.guess(table.columns, file_name=name)
    importing.stage_rows(table, columns, staging, pepper=PEPPER)
    return Reading(table=table, columns=columns, staging=staging)


def read(name: str) -> Reading:
    return read_bytes((EXPORTS / name).read_bytes(), name)


def people(reading: Reading) -> dict[str, tuple[str, str, str]]:
    assert not reading.staging.count("wrong")
    return {
        row.address.email: (row.name, row.language, row.place.zip if row.place else "")
        for row in reading.rows
    }


def list_skipped(reading: Reading) -> dict[str, str]:
    return {
        result.email: result.why for result in reading.staging.read_results() if result.outcome == "declined"
    }


def test_mailchimps_subscribed_members_are_read_with_their_opt_in() -> None:
    reading = read("subscribed_email_audience_export_0a1b2c3d4e.csv")
    assert reading.columns.tool == "Mailchimp"
    assert people(reading) == {
        ANA: ("Ana", "en", "10027"),
        BEN: ("Benjamín", "es", "85003"),
        DORA: ("Dora", "en", "02139"),
    }
    assert reading.rows[0].since == "OPTIN_TIME 2025-03-16 14:40:47; CONFIRM_TIME 2025-03-16 14:41:30"
    assert "OPTIN_IP" in reading.columns.unread_names


@pytest.mark.parametrize(
    ("kind", "email", "why"),
    [
        ("unsubscribed", "cleo@left.example.org", "left there"),
        ("cleaned", "eli@gone.example.org", "their address takes no mail there"),
        ("nonsubscribed", "fay@example.org", "never asked for mail there"),
    ],
)
def test_mailchimps_other_members_are_skipped(kind: str, email: str, why: str) -> None:
    reading = read(f"{kind}_email_audience_export_0a1b2c3d4e.csv")
    assert (people(reading), list_skipped(reading)) == ({}, {email: why})


def test_members_who_left_mailchimp_are_skipped_for_any_name_of_the_file() -> None:
    data = (EXPORTS / "unsubscribed_email_audience_export_0a1b2c3d4e.csv").read_bytes()
    assert list_skipped(read_bytes(data, "people.csv")) == {"cleo@left.example.org": "left there"}


def test_listmonks_enabled_subscribers_are_read_and_blocked_ones_skipped() -> None:
    reading = read("listmonk.csv")
    assert reading.columns.tool == "listmonk"
    assert people(reading) == {ANA: ("Ana Núñez", "en", ""), BEN: ("Benjamín Ibáñez", "en", "")}
    assert set(list_skipped(reading).values()) == {"blocked there"}


def test_action_networks_subscribed_activists_are_read_and_cleo_is_skipped() -> None:
    reading = read("action_network.csv")
    assert reading.columns.tool == "Action Network"
    assert people(reading) == {ANA: ("Ana", "en", "10027"), BEN: ("Benjamín", "en", "85003")}
    assert list_skipped(reading) == {
        "cleo@left.example.org": "left there",
        "eli@gone.example.org": "their address takes no mail there",
        "fay@example.org": "complained about mail there",
    }
    assert "can2_sms_status" in reading.columns.unread_names


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("mailman3_members.txt", ["Ana Núñez", "Ibáñez, Benjamín", ""]),
        ("mailman3_subscribers.csv", ["", "", ""]),
        ("mailman2_list_members.txt", ["Ana Núñez", "Benjamín Ibáñez", ""]),
    ],
)
def test_mailmans_rosters_are_read_line_by_line(name: str, names: list[str]) -> None:
    reading = read(name)
    assert reading.table.form == "a roster, an address a line"
    assert people(reading) == {
        email: (name, "en", "") for email, name in zip([ANA, BEN, DORA], names, strict=True)
    }
    assert [row.line for row in reading.rows] == [1, 2, 3]


@pytest.mark.parametrize(
    ("lines", "roster"),
    [
        (["ana@b.org\n"], True),
        (["# from the old server\n", "\n", "Ana <ana@b.org>\n"], True),
        (["email\n", "ana@b.org\n"], False),
        (["Ana,ana@b.org\n"], False),
        (["ana@b.org\n", "and some words\n"], False),
        ([], False),
    ],
)
def test_a_roster_is_recognized_by_an_address_in_every_line(lines: list[str], roster: bool) -> None:
    assert address_lines.is_roster(lines) is roster


def test_a_later_line_that_is_no_address_is_reported() -> None:
    text = "ana@b.org\n" * 1 + "".join(f"p{number}@b.org\n" for number in range(30)) + "and some words\n"
    (wrong,) = read_bytes(text.encode(), "roster.txt").staging.read_refused()
    assert (wrong.line, wrong.cells) == (32, ["and some words", ""])
