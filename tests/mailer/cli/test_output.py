"""The same rows for people and for scripts."""

import json
from datetime import UTC, datetime

import pytest

from mailer.cli import output

COLUMNS = {"name": "Name", "at": "Since", "asked": "Asked"}
MOMENT = datetime(2026, 12, 8, 20, 0, tzinfo=UTC)


def test_people_read_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows([{"name": "Ana", "at": MOMENT, "asked": True, "id": 1}], columns=COLUMNS, as_json=False)
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["Name", "Since", "Asked"]
    assert row.split() == ["Ana", "2026-12-08", "20:00", "UTC", "yes"]


def test_scripts_read_json_with_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows([{"name": "Ana", "at": MOMENT, "id": 1}], columns=COLUMNS, as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"name": "Ana", "at": "2026-12-08T20:00:00+00:00", "id": 1}
    ]


def test_no_rows_are_said_in_words_and_as_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rows([], columns=COLUMNS, as_json=False, none="Nobody has asked yet.")
    assert capsys.readouterr().out == "Nobody has asked yet.\n"
    output.print_rows([], columns=COLUMNS, as_json=True)
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("as_json", [True, False])
def test_a_name_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    name = "[red]Ben[/red]\x1b[2J\x9b31m\u202egnihton\r"
    output.print_rows([{"name": name}], columns=COLUMNS, as_json=as_json)
    output.print_facts({"name": name}, labels={"name": "Name"}, as_json=as_json)
    printed = capsys.readouterr().out
    assert "[red]Ben[/red]" in printed
    assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(printed)


def test_one_thing_is_a_line_for_each_fact(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_facts({"name": "Ana", "at": None}, labels={"name": "Name", "at": "Since"}, as_json=False)
    assert capsys.readouterr().out.splitlines()[0].split() == ["Name", "Ana"]
