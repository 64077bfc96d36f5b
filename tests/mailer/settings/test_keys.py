"""Keys: made once, complete, and for this account only."""

import subprocess
import sys
from pathlib import Path

import pytest

from lists.errors import BadSettings, StorageError
from mailer.settings import keys

MAKE = """
import sys, pathlib
from mailer.settings import keys
sys.stdin.readline()
print(keys.load(pathlib.Path(sys.argv[1])).pepper.hex())
"""


def test_first_start_makes_two_different_keys_only_for_this_account(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "secrets"
    created = keys.load(folder)
    assert len(created.pepper) == len(created.links) == 32
    assert created.pepper != created.links
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert keys.load(folder) == created


def test_processes_that_start_at_once_end_with_the_same_keys(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path / "data" / "secrets")]
    processes = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert len({process.communicate()[0] for process in processes}) == 1


def test_a_crash_while_making_leaves_nothing_half_written_behind(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o700)
    (folder / "pepper.unfinished").write_text("half")
    assert len(keys.load(folder).pepper) == 32
    assert not (folder / "pepper.unfinished").exists()


def test_keys_open_to_others_are_told_with_the_command_that_closes_them(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    keys.load(folder)
    (folder / "links").chmod(0o640)
    with pytest.raises(BadSettings, match=f"run: chmod 600 {folder}/links"):
        keys.load(folder)
    (folder / "links").chmod(0o600)
    folder.chmod(0o755)
    with pytest.raises(BadSettings, match="run: chmod 700"):
        keys.load(folder)


@pytest.mark.parametrize("content", ["", "00", "not hexadecimal", "é"])
def test_a_damaged_key_is_never_replaced(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "secrets"
    keys.load(folder)
    (folder / "pepper").write_text(content)
    with pytest.raises(BadSettings, match="put the file back from a backup"):
        keys.load(folder)


def test_a_folder_that_cannot_be_made_is_trouble_with_storage(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be read or made"):
        keys.load(tmp_path / "data" / "secrets")


def test_keys_are_never_shown(tmp_path: Path) -> None:
    created = keys.load(tmp_path / "secrets")
    assert created.pepper.hex() not in repr(created)
    assert repr(created.pepper) not in repr(created)
