"""Journal: its lines survive kill -9, and a damaged file never yields a line that was not written."""

import mmap
import resource
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lists.errors import StorageError
from mailer.delivery import journal
from mailer.delivery.journal import Journal, JournalContents

BOOT = "11111111-2222-3333-4444-555555555555"
OTHER_BOOT = "99999999-2222-3333-4444-555555555555"
LINES = st.lists(
    st.tuples(st.sampled_from(["dot", *journal.MARKS]), st.integers(1, 2**62), st.integers(1, 2**31)),
    max_size=40,
)


def settle_all(folder: Path, *, boot: str = BOOT) -> list[JournalContents]:
    with journal.settle_ended(folder, boot=boot) as journals:
        return list(journals)


def write_journal(folder: Path, lines: list[tuple[str, int, int]], *, worker: str = "worker") -> Path:
    """Write a journal whose process then ends without settling it."""
    writer = Journal(folder, worker=worker, boot=BOOT)
    for mark, row, attempt in lines:
        if mark == "dot":
            writer.record_start(row, attempt)
        else:
            writer.record_outcome(row, attempt, mark)
    writer.close(is_settled=False)
    return writer.path


def test_a_dead_worker_s_journal_says_what_was_begun_and_how_it_ended(tmp_path: Path) -> None:
    write_journal(tmp_path, [("dot", 41, 1), ("sent", 41, 1), ("dot", 42, 3)])
    (contents,) = settle_all(tmp_path)
    assert contents.worker == "worker"
    assert contents.is_complete
    assert contents.started_attempts == {(41, 1), (42, 3)}
    assert contents.outcomes == {(41, 1): "sent"}


def test_the_journal_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    writer = Journal(tmp_path, worker="alive", boot=BOOT)
    writer.record_start(1, 1)
    assert settle_all(tmp_path) == []
    writer.close(is_settled=False)
    assert [contents.worker for contents in settle_all(tmp_path)] == ["alive"]


def test_a_journal_is_settled_once(tmp_path: Path) -> None:
    path = write_journal(tmp_path, [("dot", 1, 1)])
    assert len(settle_all(tmp_path)) == 1
    assert settle_all(tmp_path) == []
    assert path.with_suffix(journal.SETTLED_SUFFIX).exists()


def test_a_journal_stays_unsettled_when_settling_fails(tmp_path: Path) -> None:
    write_journal(tmp_path, [("dot", 1, 1)])
    with pytest.raises(StorageError), journal.settle_ended(tmp_path, boot=BOOT):
        raise StorageError("The disk is full.")
    assert len(settle_all(tmp_path)) == 1


def test_two_who_settle_at_once_do_not_settle_the_same(tmp_path: Path) -> None:
    write_journal(tmp_path, [("dot", 1, 1)])
    with journal.settle_ended(tmp_path, boot=BOOT) as journals:
        assert len(journals) == 1
        assert settle_all(tmp_path) == []


def test_after_a_reboot_the_journal_is_not_complete(tmp_path: Path) -> None:
    write_journal(tmp_path, [("dot", 1, 1), ("sent", 1, 1)])
    (contents,) = settle_all(tmp_path, boot=OTHER_BOOT)
    assert not contents.is_complete
    assert contents.outcomes == {(1, 1): "sent"}


def test_a_worker_that_closed_in_order_left_nothing_to_settle(tmp_path: Path) -> None:
    writer = Journal(tmp_path, worker="done", boot=BOOT)
    writer.close(is_settled=True)
    assert settle_all(tmp_path) == []


@hypothesis_settings(deadline=None)  # real files: a busy disk takes its time
@given(lines=LINES, data=st.data())
def test_a_file_torn_anywhere_makes_nothing_up(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journals")
    path = write_journal(folder, lines)
    octets = path.read_bytes()
    size = journal.HEADER.size + len(lines) * journal.LINE_BYTES
    length = data.draw(st.integers(0, size))
    path.write_bytes(octets[:length])
    complete_lines = lines[: max(length - journal.HEADER.size, 0) // journal.LINE_BYTES]
    journals = settle_all(folder)
    if length < journal.HEADER.size:
        assert journals == []
        return
    (contents,) = journals
    assert contents.started_attempts == {
        (row, attempt) for mark, row, attempt in complete_lines if mark == "dot"
    }
    assert set(contents.outcomes) == {
        (row, attempt) for mark, row, attempt in complete_lines if mark != "dot"
    }


@hypothesis_settings(deadline=None)
@given(lines=LINES.filter(bool), data=st.data())
def test_a_damaged_line_is_passed_over_and_the_others_are_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("journals")
    path = write_journal(folder, lines)
    damaged_index = data.draw(st.integers(0, len(lines) - 1))
    octets = bytearray(path.read_bytes())
    octets[journal.HEADER.size + damaged_index * journal.LINE_BYTES + 1] ^= 0xFF
    path.write_bytes(octets)
    (contents,) = settle_all(folder)
    other_lines = [line for index, line in enumerate(lines) if index != damaged_index]
    assert contents.started_attempts == {
        (row, attempt) for mark, row, attempt in other_lines if mark == "dot"
    }


KILLED = """
import os, signal, sys
from pathlib import Path
from mailer.delivery.journal import Journal
journal = Journal(Path(sys.argv[1]), worker="killed")
for row in range(1, 1001):
    journal.record_start(row, 1)
    if row % 2:
        journal.record_outcome(row, 1, "sent")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_every_line_survives_kill_9(tmp_path: Path) -> None:
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    with journal.settle_ended(tmp_path) as journals:
        (contents,) = journals
    assert contents.is_complete
    assert contents.started_attempts == {(row, 1) for row in range(1, 1001)}
    assert set(contents.outcomes) == {(row, 1) for row in range(1, 1001, 2)}


def test_a_journal_longer_than_what_is_allocated_at_a_time_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "CHUNK_OCTETS", mmap.ALLOCATIONGRANULARITY)
    lines = mmap.ALLOCATIONGRANULARITY // journal.LINE_BYTES * 3
    write_journal(tmp_path, [("dot", row, 1) for row in range(1, lines)])
    (contents,) = settle_all(tmp_path)
    assert contents.started_attempts == {(row, 1) for row in range(1, lines)}


def test_a_journal_that_cannot_grow_says_so_before_anything_is_sent(tmp_path: Path) -> None:
    writer = Journal(tmp_path, worker="full", boot=BOOT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.CHUNK_OCTETS, hard))
    try:
        with pytest.raises(OSError, match="large"):
            for row in range(1, journal.CHUNK_OCTETS // journal.LINE_BYTES + 2):
                writer.record_start(row, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.close(is_settled=False)


def test_a_dead_worker_s_journal_takes_no_more_room_than_its_lines_once_it_is_settled(tmp_path: Path) -> None:
    path = write_journal(tmp_path, [("dot", 1, 1), ("sent", 1, 1)])
    assert path.stat().st_size == journal.CHUNK_OCTETS
    assert len(settle_all(tmp_path)) == 1
    settled_path = path.with_suffix(journal.SETTLED_SUFFIX)
    assert settled_path.stat().st_size == journal.HEADER.size + 2 * journal.LINE_BYTES


def test_of_a_worker_that_died_before_it_sent_anything_no_journal_is_kept(tmp_path: Path) -> None:
    write_journal(tmp_path, [])
    assert len(settle_all(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_a_worker_left_that_died_while_it_began_its_journal_is_cleared(tmp_path: Path) -> None:
    unfinished_path = tmp_path / f"worker.1234{journal.UNFINISHED}"
    unfinished_path.touch()
    assert (
        journal.delete_settled(
            tmp_path, before=datetime.fromtimestamp(unfinished_path.stat().st_mtime - 1, UTC)
        )
        == 0
    )
    assert (
        journal.delete_settled(
            tmp_path, before=datetime.fromtimestamp(unfinished_path.stat().st_mtime + 1, UTC)
        )
        == 1
    )
    assert not unfinished_path.exists()


def test_a_long_lived_worker_goes_on_in_a_new_journal_that_holds_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "CHUNK_OCTETS", mmap.ALLOCATIONGRANULARITY)
    monkeypatch.setattr(journal, "MAX_JOURNAL_OCTETS", 2 * mmap.ALLOCATIONGRANULARITY)
    monkeypatch.setattr(journal, "CARRY_OVER_OCTETS", 10 * journal.LINE_BYTES)
    chunk_lines = mmap.ALLOCATIONGRANULARITY // journal.LINE_BYTES
    writer = Journal(tmp_path, worker="long", boot=BOOT)
    first_path = writer.path
    writer.record_start(1, 1)  # answered after ten minutes only
    for row in range(2, 2 * chunk_lines):
        writer.record_start(row, 1)
        writer.record_outcome(row, 1, "sent")
    assert writer.path != first_path
    assert first_path.with_suffix(journal.SETTLED_SUFFIX).exists()
    last_row = row
    writer.record_start(last_row + 1, 1)
    assert settle_all(tmp_path) == [], "it lives"
    writer.close(is_settled=False)
    (contents,) = settle_all(tmp_path)
    assert contents.worker == "long"
    assert contents.started_attempts >= {(1, 1), (last_row + 1, 1)}
    assert contents.outcomes[last_row, 1] == "sent"
    assert (1, 1) not in contents.outcomes
    assert len(contents.started_attempts) < chunk_lines


def test_a_journal_that_cannot_be_begun_anew_goes_on_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "CHUNK_OCTETS", mmap.ALLOCATIONGRANULARITY)
    monkeypatch.setattr(journal, "MAX_JOURNAL_OCTETS", mmap.ALLOCATIONGRANULARITY)
    folder = tmp_path / "journals"
    writer = Journal(folder, worker="long", boot=BOOT)
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("no folder any more")
    lines = range(1, mmap.ALLOCATIONGRANULARITY // journal.LINE_BYTES + 2)
    for row in lines:
        writer.record_start(row, 1)
    writer.close(is_settled=False)
    (contents,) = settle_all(tmp_path / "elsewhere")
    assert contents.started_attempts == {(row, 1) for row in lines}


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "journals").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        Journal(tmp_path / "journals", worker="w")


def test_the_file_is_for_this_account_alone(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "journals", [])
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
