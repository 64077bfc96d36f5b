"""A manipulated backup, made with the passphrase, writes only into its places."""

import contextlib
import gzip
import io
import json
import tarfile

import pytest

from lists.errors import BadInput, Conflict
from mailer.backup.encryption import Encryptor
from tests.sealed import FAST, PASSPHRASE, Folder, regular, seal

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@sqlite
@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../outside", "secrets/../../outside", "secrets", "secrets/", "outside.txt",
        "mailer.toml/below", "departures/x", "secrets/database_url", "secrets/x.unfinished",
        "resources/a/../../../x", "restore.unfinished", "mailer.db", "mailer.db-wal", "",
    ],
)  # fmt: skip
def test_a_doctored_backup_writes_nowhere_but_into_its_places(folder: Folder, name: str) -> None:
    manifest, *rest = folder.parts.items()
    seal(folder.backup, dict([manifest, (f"files/{name}", b"x"), *rest]))
    folder.refused(BadInput, match="belongs nowhere here|damaged|not a file")


@sqlite
@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_a_doctored_backup_brings_no_links_devices_or_folders(folder: Folder, kind: bytes) -> None:
    head = tarfile.TarInfo("files/secrets/x")
    head.type, head.linkname = kind, "/etc/passwd"
    members = [regular(*each) for each in folder.parts.items()]
    seal(folder.backup, [members[0], (head, b""), *members[1:]])
    folder.refused(BadInput, match="not a file")


@sqlite
def test_a_doctored_backup_with_a_huge_declared_size_is_refused(folder: Folder) -> None:
    head, _ = regular("files/secrets/x", b"")
    head.size = 1 << 50
    with contextlib.suppress(OSError, tarfile.TarError):
        members = [regular(*each) for each in folder.parts.items()]
        buffer = io.BytesIO()
        with tarfile.open(mode="w|", fileobj=buffer) as tar:
            tar.addfile(members[0][0], io.BytesIO(members[0][1]))
        raw = buffer.getvalue()[: 512 + -(-members[0][0].size // 512) * 512] + head.tobuf() + b"\0" * 1024
        with folder.backup.open("wb") as file:
            encryptor = Encryptor(file, PASSPHRASE, hardness=FAST)
            encryptor.write(gzip.compress(raw))
            encryptor.close()
    folder.refused(BadInput, match="damaged")


@pytest.mark.parametrize("change", ["table", "column", "type", "short", "order", "twice", "newer", "nothing"])
def test_a_doctored_backup_whose_rows_do_not_fit_leaves_nothing(folder: Folder, change: str) -> None:
    parts = dict(folder.parts)
    manifest = json.loads(parts["manifest.json"])
    contacts = json.loads(parts["tables/contacts/000000"])
    if change == "table":
        manifest["columns"]["pg_class"] = ["relname"]
        parts["tables/pg_class/000000"] = b'[["x"]]'
        parts["end.json"] = parts.pop("end.json")
    elif change == "column":
        manifest["columns"]["contacts"][1] = "email; DROP TABLE contacts"
    elif change == "type":
        contacts[0][0] = {"a": []}
    elif change == "short":
        contacts[0] = contacts[0][:3]
    elif change == "order":
        parts["files/secrets/late"] = b"x"
    elif change == "twice":
        contacts.append(contacts[0])
    elif change == "newer":
        manifest["revision"] = "9999"
    else:
        parts = {"manifest.json": b"{}"}
    if change != "nothing":
        parts |= {"manifest.json": json.dumps(manifest).encode()}
        parts |= {"tables/contacts/000000": json.dumps(contacts).encode()}
    seal(folder.backup, parts)
    folder.refused(Conflict if change == "newer" else BadInput, match="damaged|not whole|newer version")
    seal(folder.backup, folder.parts)
    assert folder.restore().rows
