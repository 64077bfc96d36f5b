"""Keys: the two keys of an installation, made at first start and never changed.

One keys the hashes of addresses, one signs links.

mailer/settings/key_check.py detects a key that is lost or changed while the database depends on it.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lists.errors import BadSettings, StorageError
from mailer import file_lock

KEY_BYTES = 32
LOSS_SENTENCES = {
    "pepper": "without it nobody knows any more which addresses must never be written to",
    "links": "without it every link in mails already sent is dead, also the one to leave",
}


@dataclass(frozen=True, kw_only=True)
class Keys:
    """`pepper` keys the digests of addresses, `links` signs links; neither is ever shown."""

    pepper: bytes = field(repr=False)
    links: bytes = field(repr=False)


def make_folder(folder: Path) -> None:
    """Make the folder of the keys, and the data folder around it, for this account alone.

    Raises StorageError when it cannot be made.
    """
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as trouble:
        raise _unusable_folder(folder, trouble) from trouble


def load(folder: Path, *, create: bool = True) -> Keys:
    """Read both keys from this folder; several processes at once get the same keys.

    Missing keys are made, unless `create` is False. The folder has mode 0700, the files 0600. BadSettings
    when others can read them, or they are damaged or missing; StorageError when they cannot be written.
    """
    if create:
        make_folder(folder)
    try:
        with _lock_folder(folder):
            return Keys(
                pepper=_load_key(folder / "pepper", create=create),
                links=_load_key(folder / "links", create=create),
            )
    except OSError as trouble:
        raise _unusable_folder(folder, trouble) from trouble


def _unusable_folder(folder: Path, trouble: OSError) -> StorageError:
    return StorageError(f"The keys in {folder} cannot be read or made: {trouble.strerror}.")


@contextmanager
def _lock_folder(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        _require_private(folder, mode="700")
        file_lock.acquire(handle)
        yield
        os.fsync(handle)
    finally:
        os.close(handle)


def _load_key(path: Path, *, create: bool) -> bytes:
    if not path.exists():
        if not create:
            sentence = f"{path} is missing, and the database needs it. Put the file back from a backup:"
            raise BadSettings([f"{sentence} {LOSS_SENTENCES[path.name]}."])
        _create_key(path)
    _require_private(path, mode="600")
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadSettings([f"{path} is damaged; put the file back from a backup, never make a new one."])
    return key


def _create_key(path: Path) -> None:
    """Write a complete key or none: a file that appears under the final name is complete and on the disk."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def _require_private(path: Path, *, mode: str) -> None:
    if path.stat().st_mode & 0o077:
        raise BadSettings([f"{path} is open to others on this machine; run: chmod {mode} {path}"])
