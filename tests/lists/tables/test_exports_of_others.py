"""What other tools export is read by its own columns, and nobody who left there comes in here.

The files in exports/ are made up, each in the form its tool writes (lists/tables/column_mapping.py and
rosters.py say where that is written down).
"""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from lists.tables import column_mapping, importing, rosters, table_file
from lists.tables.column_mapping import ColumnMapping
from lists.tables.rows import ImportRow
from lists.tables.staging import UNDECIDED, StagingTable
from lists.tables.table_file import TableFile
from tests.people import PEPPER

EXPORTS = Path(__file__).parent / "exports"
ANA, BEN, DORA = "ana@stmark.example.org", "ben@vecinos.example.org", "dora@example.org"


@dataclass(frozen=True, kw_only=True)
class Reading:
    table: TableFile
    columns: ColumnMapping
    stage: StagingTable

    @property
    def rows(self) -> list[ImportRow]:
        return [row for batch in self.stage.batches(UNDECIDED) for _, row in batch]


def read_bytes(data: bytes, name: str) -> Reading:
    table, stage = table_file.read(io.BytesIO(data)), StagingTable()
    columns = column_mapping.guess(table.columns, file_name=name)
    importing.stage_rows(table, columns, stage, pepper=PEPPER)
    return Reading(table=table, columns=columns, stage=stage)


def read(name: str) -> Reading:
    return read_bytes((EXPORTS / name).read_bytes(), name)


def people(reading: Reading) -> dict[str, tuple[str, str, str]]:
    assert not reading.stage.count("wrong")
    return {
        row.address.email: (row.name, row.language, row.place.zip if row.place else "")
        for row in reading.rows
    }


def passed_over(reading: Reading) -> dict[str, str]:
    return {fate.email: fate.why for fate in reading.stage.read_results() if fate.outcome == "declined"}


def test_mailchimps_subscribed_members_come_with_their_opt_in() -> None:
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
    ("kind", "who", "why"),
    [
        ("unsubscribed", "cleo@left.example.org", "left there"),
        ("cleaned", "eli@gone.example.org", "their address takes no mail there"),
        ("nonsubscribed", "fay@example.org", "never asked for mail there"),
    ],
)
def test_mailchimps_other_members_stay_out(kind: str, who: str, why: str) -> None:
    reading = read(f"{kind}_email_audience_export_0a1b2c3d4e.csv")
    assert (people(reading), passed_over(reading)) == ({}, {who: why})


def test_who_left_in_mailchimp_stays_out_whatever_the_file_is_called() -> None:
    data = (EXPORTS / "unsubscribed_email_audience_export_0a1b2c3d4e.csv").read_bytes()
    assert passed_over(read_bytes(data, "people.csv")) == {"cleo@left.example.org": "left there"}


def test_listmonks_enabled_subscribers_come_and_the_blocked_stay_out() -> None:
    reading = read("listmonk.csv")
    assert reading.columns.tool == "listmonk"
    assert people(reading) == {ANA: ("Ana Núñez", "en", ""), BEN: ("Benjamín Ibáñez", "en", "")}
    assert set(passed_over(reading).values()) == {"blocked there"}


def test_action_networks_subscribed_activists_come_and_cleo_does_not() -> None:
    reading = read("action_network.csv")
    assert reading.columns.tool == "Action Network"
    assert people(reading) == {ANA: ("Ana", "en", "10027"), BEN: ("Benjamín", "en", "85003")}
    assert passed_over(reading) == {
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
def test_a_roster_is_told_by_an_address_in_every_line(lines: list[str], roster: bool) -> None:
    assert rosters.is_roster(lines) is roster


def test_a_line_further_down_that_is_no_address_is_told() -> None:
    text = "ana@b.org\n" * 1 + "".join(f"p{number}@b.org\n" for number in range(30)) + "and some words\n"
    (wrong,) = read_bytes(text.encode(), "roster.txt").stage.read_refused()
    assert (wrong.line, wrong.cells) == (32, ["and some words", ""])
