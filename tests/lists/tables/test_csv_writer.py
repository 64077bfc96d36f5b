"""Spreadsheet files: no cell is run, one account may read them, and they are complete or not there."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadInput, Conflict
from lists.tables import csv_writer


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_formula_is_escaped_and_restored(cell: str) -> None:
    assert csv_writer.escape_formula(cell) == f"'{cell}"
    assert csv_writer.unescape_formula(f"'{cell}") == cell


@pytest.mark.parametrize("cell", ["", "Ana", "'t Hooft", "a=b", "3"])
def test_other_cells_are_not_changed(cell: str) -> None:
    assert csv_writer.escape_formula(cell) == csv_writer.unescape_formula(cell) == cell


@given(st.text(max_size=10))
def test_no_escaped_cell_begins_like_a_formula(cell: str) -> None:
    assert not csv_writer.escape_formula(cell).startswith(csv_writer.FORMULA_STARTS)
    assert cell.startswith("'") or csv_writer.unescape_formula(csv_writer.escape_formula(cell)) == cell


def test_a_file_is_for_one_account_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    with csv_writer.open_writer(path, ["email", "=name"], byte_order_mark=True) as write:
        write(["ana@example.org", None])
        write(["+x@example.org", "Núñez,\nAna"])
        assert not path.exists()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(b"\xef\xbb\xbfemail,'=name\r\n")
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert [*csv.reader(file)][1:] == [["ana@example.org", ""], ["'+x@example.org", "Núñez,\nAna"]]
    with (
        pytest.raises(Conflict, match="is there already"),
        csv_writer.open_writer(path, [], byte_order_mark=False),
    ):
        pass


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        csv_writer.open_writer(tmp_path / "people.csv", ["email"], byte_order_mark=False) as write,
    ):
        write(["ana@example.org"])
        raise RuntimeError
    assert [*tmp_path.iterdir()] == []
    with (
        pytest.raises(BadInput, match="cannot be written"),
        csv_writer.open_writer(tmp_path / "none" / "x.csv", [], byte_order_mark=False),
    ):
        pass
