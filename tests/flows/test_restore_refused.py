"""A restore that cannot be done says why, and leaves every file of the folder as it was, octet by octet."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lists.errors import BadInput, BadSettings, Conflict, StorageError
from mailer import migrations
from mailer.backup import backup_contents, restore_run
from mailer.backup.restore_run import RestoreRun
from mailer.processes import restoring
from mailer.settings import data_folder
from tests.sealed import PASSPHRASE, Folder, content, seal

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_wrong_passphrase_touches_nothing_and_the_right_one_then_restores(folder: Folder) -> None:
    before = content(folder.home)
    folder.refused(BadInput, match="passphrase is not the right one", passphrase=b"another passphrase")
    assert folder.restore().rows
    after = content(folder.home)
    assert {name: after[name] for name in before} == {
        name: (what, mode, number) for name, (what, mode, number) in before.items()
    }


@sqlite
def test_a_file_that_is_cut_short_or_garbage_touches_nothing(folder: Folder) -> None:
    complete = folder.backup.read_bytes()
    for broken in (
        b"",
        b"Dear diary",
        complete[:20],
        complete[:1000],
        complete[:-1],
        complete[:-5] + b"xxxxx",
        complete + b"x",
    ):
        folder.backup.write_bytes(broken)
        folder.refused(BadInput, match="damaged|not a backup|cut short")
    folder.backup.unlink()
    folder.refused(BadInput, match="cannot be read")


@sqlite
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_cut_or_flipped_touches_nothing(folder: Folder, data: st.DataObject) -> None:
    complete = seal(folder.backup, folder.parts).read_bytes()
    position = data.draw(st.integers(0, len(complete) - 1))
    broken = (
        complete[:position]
        if data.draw(st.booleans())
        else complete[:position] + bytes([complete[position] ^ 1]) + complete[position + 1 :]
    )
    folder.backup.write_bytes(broken)
    folder.refused(BadInput, match=r"\.")


@sqlite
def test_a_folder_in_use_is_refused_before_anything_is_touched(folder: Folder) -> None:
    for name in ("mailer.db", "mailer.db-wal", "departures", "secrets/pepper", "secrets/links", "journals"):
        path = folder.home / name
        for make in (lambda path: path.write_text("mine"), lambda path: path.symlink_to("/nowhere")):
            make(path)
            folder.refused(Conflict, match=f"is not empty: {name} is there")
            path.unlink()


@sqlite
@pytest.mark.parametrize("name", ["resources", "secrets"])
def test_a_file_or_a_link_where_a_folder_is_expected_is_told(
    folder: Folder, tmp_path: Path, name: str
) -> None:
    shutil.rmtree(folder.home / name)
    (folder.home / name).write_text("a file")
    folder.refused(Conflict, match=f"{name} is in the way: the backup needs a folder")
    (folder.home / name).unlink()
    (tmp_path / "elsewhere").mkdir()
    (folder.home / name).symlink_to(tmp_path / "elsewhere")
    folder.refused(Conflict, match=f"{name} is in the way")
    assert not list((tmp_path / "elsewhere").iterdir())


@sqlite
def test_what_stands_in_a_files_place_is_kept_when_it_is_a_setting_and_told_otherwise(folder: Folder) -> None:
    resource = folder.home / "resources" / f"{'ab' * 32}.pdf"
    resource.write_text("another content")
    folder.refused(Conflict, match=r"pdf is in the way: it is not what the backup has there")
    resource.unlink()
    (folder.home / "mailer.toml").symlink_to("/nowhere")
    folder.refused(Conflict, match=r"mailer\.toml is in the way")
    (folder.home / "mailer.toml").unlink()
    (folder.home / "mailer.toml").write_text('motto.en = "Mine"\n')
    folder.restore()
    assert (folder.home / "mailer.toml").read_text() == 'motto.en = "Mine"\n'


@sqlite
def test_a_folder_that_a_link_leads_to_and_one_that_is_not_there_are_restored_into(
    folder: Folder, tmp_path: Path
) -> None:
    folder.home.rename(tmp_path / "disk")
    folder.home.symlink_to(tmp_path / "disk")
    assert folder.restore().rows
    folder.home.unlink()
    folder.refused(BadInput, match="passphrase", passphrase=b"another passphrase")
    assert not folder.home.exists()
    assert folder.restore().rows


@sqlite
def test_a_home_that_is_a_file_or_lies_below_one_is_told(folder: Folder) -> None:
    shutil.rmtree(folder.home)
    folder.home.write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        folder.restore()
    assert folder.home.read_text() == "a file"


def fail_at(number: int, trouble: BaseException) -> Callable[..., None]:
    """Return a place() that fails at the nth file, after half of it."""
    remaining = [number]
    place = RestoreRun.place

    def fail(self: RestoreRun, name: str, data: BinaryIO) -> None:
        remaining[0] -= 1
        if remaining[0] == 0:
            self.hidden_path(self.home / name).write_bytes(data.read(3))
            raise trouble
        place(self, name, data)

    return fail


@pytest.mark.parametrize(
    "trouble", [OSError(28, "No space left on device"), KeyboardInterrupt(), MemoryError()]
)
def test_a_full_disk_or_a_stop_by_hand_takes_away_only_what_was_placed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    before = content(folder.home)
    for number in range(1, sum(name.startswith("files/") for name in folder.parts) + 1):
        with monkeypatch.context() as patch:
            patch.setattr(RestoreRun, "place", fail_at(number, trouble))
            with pytest.raises((StorageError, KeyboardInterrupt, MemoryError)) as raised:
                folder.restore()
        assert content(folder.home) == before
    if isinstance(trouble, OSError):
        assert "No space left on device" in str(raised.value)
    assert folder.restore().rows


def test_rows_that_fail_in_the_middle_leave_folder_and_database_as_they_were(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in (
        "mailer.processes.restored_rows.begin_hold",
        "mailer.migrations.upgrade_within",
        "mailer.processes.restoring._settle",
    ):
        with monkeypatch.context() as patch:

            def fail(*_: object, **__: object) -> None:
                raise OSError(28, "No space left on device")

            patch.setattr(where, fail)
            folder.refused(StorageError, match="No space left")
    assert folder.restore().rows


@sqlite
def test_a_disk_without_room_for_the_files_is_told_before_anything(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder.home)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    folder.refused(StorageError, match="need more room than the disk")


@sqlite
def test_settings_that_the_backup_brings_and_that_are_wrong_are_told_and_nothing_stays(
    folder: Folder,
) -> None:
    seal(folder.backup, folder.parts | {"files/mailer.toml": b"port = 0\n"})
    folder.refused(BadSettings, match="port")


@sqlite
def test_a_marker_that_no_restore_wrote_is_not_believed(folder: Folder) -> None:
    for marker in (b"hello\n", b"[]\n", b'{"places": 1, "whatever": 2}\n'):
        (folder.home / data_folder.RESTORE_MARKER).write_bytes(marker)
        folder.refused(Conflict, match="was written by no restore")


@sqlite
def test_two_restores_at_once_are_one_and_a_sentence(folder: Folder) -> None:
    with restore_run.lock_folder(folder.home):
        folder.refused(Conflict, match="Another restore into .* is under way")


@sqlite
def test_of_what_an_operator_put_there_after_a_kill_nothing_is_taken_away(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "fill_database", lambda *_: (_ for _ in ()).throw(Killed()))
        patch.setattr(RestoreRun, "undo", lambda *_: None)
        with pytest.raises(Killed):
            folder.restore()
    toml = folder.home / "mailer.toml"
    toml.unlink()
    toml.write_text('motto.en = "Mine"\n')
    assert folder.restore().rows
    assert toml.read_text() == 'motto.en = "Mine"\n'


def test_contents_are_read_before_they_are_believed(tmp_path: Path) -> None:
    empty = seal(tmp_path / "empty", {})
    with empty.open("rb") as file, pytest.raises(BadInput, match="damaged"):
        backup_contents.check(file, PASSPHRASE, newest=migrations.newest_revision())
