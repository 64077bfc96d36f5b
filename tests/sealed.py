"""Backups as anyone with the passphrase can make them, and a new machine's folder to restore into."""

import gzip
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from lists.errors import MailerError
from mailer.backup.encryption import Encryptor
from mailer.processes import restoring

PASSPHRASE = b"five plain words in a row"
FAST = (10, 8, 1)  # of scrypt
FOREIGN = (
    "mailer.db.old",
    "mailer.db.notes.txt",
    "resources/mine.pdf",
    "secrets/notes",
    ".hidden",
    "strange.bin",
)
Parts = dict[str, bytes]


def content(folder: Path) -> dict[str, Any]:
    """Return every name below a folder with what it is: the octets of a file, a link's target, the mode."""
    entries: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        value = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        entries[str(path.relative_to(folder))] = (value, path.lstat().st_mode, path.lstat().st_ino)
    return entries


def seal(target: Path, parts: Mapping[str, bytes] | list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    """Write a backup of these parts, as anyone with the passphrase could."""
    with target.open("wb") as file:
        encryptor = Encryptor(file, PASSPHRASE, hardness=FAST)
        with (
            gzip.GzipFile(mode="wb", fileobj=cast(BinaryIO, encryptor), mtime=0) as gzip_file,
            tarfile.open(mode="w|", fileobj=gzip_file) as tar,
        ):
            for head, data in (
                [regular(*each) for each in parts.items()] if isinstance(parts, Mapping) else parts
            ):
                tar.addfile(head, io.BytesIO(data))
        encryptor.close()
    return target


def regular(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    head = tarfile.TarInfo(name)
    head.size = len(data)
    return head, data


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A new machine's folder, with files in it that are not ours, and a way to restore into it."""

    home: Path
    backup: Path
    parts: Parts
    restore: Callable[..., restoring.RestoreSummary]

    def refused(self, kind: type[MailerError], *, match: str, passphrase: bytes = PASSPHRASE) -> None:
        before = content(self.home)
        with pytest.raises(kind, match=match):
            self.restore(passphrase)
        assert content(self.home) == before
