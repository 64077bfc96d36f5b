"""A passphrase is the first line of a file that is not endless and that no other account can read."""

from pathlib import Path

import pytest

from lists.errors import BadInput
from mailer.cli.db import passphrases

WORDS = "harbor lantern meadow quartz willow"


def test_the_first_line_is_the_passphrase(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(f"{WORDS}\nand a note\n")
    file.chmod(0o600)
    assert passphrases.ask_existing(file) == passphrases.ask_new(file) == WORDS.encode()


def test_a_passphrase_as_long_as_can_be_is_read(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.touch(0o600)
    file.write_text("é" * passphrases.MAX_CHARACTERS + "\r\n")
    assert passphrases.ask_existing(file).decode() == "é" * passphrases.MAX_CHARACTERS
    file.write_text("é" * (passphrases.MAX_CHARACTERS + 1))
    with pytest.raises(BadInput, match="it is no passphrase"):
        passphrases.ask_existing(file)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/full"])
def test_a_file_without_an_end_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="longer than 4,000 characters, so it is no passphrase"):
        passphrases.ask_existing(Path(name))


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(WORDS)
    file.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        passphrases.ask_new(file)
