"""File store: a file must match its extension, is stored under its hash alone, and deleted when unneeded."""

import hashlib
import os
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadInput, NotFound, StorageError
from mailer.library import file_store, file_types
from mailer.library.file_store import StoredFile

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
ODF = "application/vnd.oasis.opendocument."


def write_office_file(path: Path, part: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(part, "<x/>")
    return path


def write_open_document(path: Path, what: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", ODF + what)
        archive.writestr("content.xml", "<x/>")
    return path


def write_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The data folder; the files to store are elsewhere."""
    path = tmp_path / "data"
    path.mkdir()
    return path


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """The folder of the files to store."""
    path = tmp_path / "uploads"
    path.mkdir()
    return path


def test_each_type_is_kept_when_it_is_one(uploads: Path, home: Path) -> None:
    files = [
        write_file(uploads / "a.PDF", PDF),
        write_office_file(uploads / "b.pptx", "ppt/presentation.xml"),
        write_office_file(uploads / "c.docx", "word/document.xml"),
        write_open_document(uploads / "d.odp", "presentation"),
        write_open_document(uploads / "e.odt", "text"),
        write_file(uploads / "f.mp4", b"\0\0\0\x20ftypisom" + bytes(100)),
        write_file(uploads / "g.png", b"\x89PNG\r\n\x1a\n" + bytes(20)),
        write_file(uploads / "h.jpg", b"\xff\xd8\xff\xe0" + bytes(20)),
        write_file(uploads / "i.txt", b"Bienvenidas y bienvenidos\n"),
    ]
    kinds = [file_store.store_file(path, home=home).kind for path in files]
    assert kinds == list(file_types.FILE_TYPES)
    assert (
        file_store.store_file(write_file(uploads / "j.jpeg", b"\xff\xd8\xff\xe0" + bytes(21)), home=home).kind
        == "jpg"
    )


def test_a_file_is_kept_whole_under_its_hash_for_this_account_alone(uploads: Path, home: Path) -> None:
    content = PDF + os.urandom(3_000_000)
    stored = file_store.store_file(write_file(uploads / "..secret name;rm -rf.pdf", content), home=home)
    assert stored == StoredFile(digest=hashlib.sha256(content).hexdigest(), kind="pdf", size=len(content))
    (path,) = (home / "resources").iterdir()
    assert (path.name, path.read_bytes()) == (stored.digest, content)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (home / "resources").stat().st_mode & 0o777 == 0o700
    assert file_store.find_path(stored.digest, home=home) == path
    assert file_store.store_file(uploads / "..secret name;rm -rf.pdf", home=home) == stored
    assert list((home / "resources").iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("kit.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("kit.html", b"<html>"),
        ("kit.pdf.exe", b"MZ"),
        ("kit", PDF),
        ("kit.pdf", b"<html><script>alert(1)</script>"),
        ("kit.pdf", b"\n" + PDF),
        ("kit.png", PDF),
        ("kit.docx", b"PK\x03\x04" + bytes(100)),
        ("kit.odp", b"PK\x03\x04" + bytes(100)),
        ("kit.mp4", b"RIFF" + bytes(100)),
        ("kit.txt", b"MZ\0\1"),
        ("kit.txt", "ñandú\n".encode("latin-1")),
        ("kit.txt", b""),
        ("kit.pdf", b""),
    ],
)
def test_what_is_not_what_it_says_is_refused_and_leaves_nothing(
    uploads: Path, home: Path, name: str, content: bytes
) -> None:
    with pytest.raises(BadInput, match=r"[.]$"):
        file_store.store_file(write_file(uploads / name, content), home=home)
    assert not list(home.rglob("*.unfinished"))
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_an_office_file_of_another_kind_is_refused(uploads: Path, home: Path) -> None:
    for path in (
        write_office_file(uploads / "talk.docx", "ppt/presentation.xml"),
        write_office_file(uploads / "letter.pptx", "word/document.xml"),
        write_open_document(uploads / "letter.odp", "text"),
        write_office_file(uploads / "letter.odt", "word/document.xml"),
    ):
        with pytest.raises(BadInput, match="something else"):
            file_store.store_file(path, home=home)


def test_what_is_too_large_is_refused_before_it_is_read(uploads: Path, home: Path) -> None:
    path = write_file(uploads / "film.mp4", b"\0\0\0\x20ftypisom")
    os.truncate(path, 2 * 1024**3)
    with pytest.raises(BadInput, match="larger than 500 MB"):
        file_store.store_file(path, home=home)
    assert not list(home.iterdir())


def test_what_is_no_plain_file_is_refused_at_once(uploads: Path, home: Path) -> None:
    os.mkfifo(uploads / "pipe.pdf")
    (uploads / "folder.pdf").mkdir()
    for name in ("pipe.pdf", "folder.pdf"):
        with pytest.raises(BadInput, match="is not a file"):
            file_store.store_file(uploads / name, home=home)
    with pytest.raises(NotFound, match="There is no file"):
        file_store.store_file(uploads / "nothing.pdf", home=home)


def test_a_folder_that_cannot_be_written_is_a_trouble_that_says_so(uploads: Path, home: Path) -> None:
    (home / "resources").write_bytes(b"in the way")
    with pytest.raises(StorageError, match="cannot be kept"):
        file_store.store_file(write_file(uploads / "kit.pdf", PDF), home=home)


def test_what_no_version_needs_is_deleted_after_a_day_and_nothing_else_is(uploads: Path, home: Path) -> None:
    needed, old, new = (
        file_store.store_file(write_file(uploads / "kit.pdf", PDF + end), home=home).digest
        for end in (b"1", b"2", b"3")
    )
    folder = home / "resources"
    (folder / "77-ab.unfinished").write_bytes(b"half of it")
    (folder / "note.md").write_text("mine")
    real = datetime.now(UTC)
    for name in (needed, old, "77-ab.unfinished", "note.md"):
        timestamp = (real - timedelta(days=1, seconds=1)).timestamp()
        os.utime(folder / name, (timestamp, timestamp))
    assert file_store.delete_unneeded(home, needed_digests=frozenset({needed}), real=real) == 2
    assert {path.name for path in folder.iterdir()} == {needed, new, "note.md"}
    assert file_store.delete_unneeded(home / "nowhere", needed_digests=frozenset(), real=real) == 0


def test_handing_in_the_same_file_again_spares_it(uploads: Path, home: Path) -> None:
    path = write_file(uploads / "kit.pdf", PDF)
    digest = file_store.store_file(path, home=home).digest
    os.utime(home / "resources" / digest, (0, 0))
    file_store.store_file(path, home=home)
    assert file_store.delete_unneeded(home, needed_digests=frozenset(), real=datetime.now(UTC)) == 0


@given(name=st.text(max_size=40))
def test_only_a_hash_ever_leads_to_a_file(name: str) -> None:
    if file_store._DIGEST.fullmatch(name) is None:
        with pytest.raises(AssertionError):
            file_store.find_path(name, home=Path("/"))
