"""File types: the types of files that staff may upload, and the check that a content is of its type."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lists.errors import BadInput

HEAD_OCTETS = 4_096  # octets that identify a file's type

_ODF = b"mimetypeapplication/vnd.oasis.opendocument."  # OpenDocument 1.3, part 2, section 3.3: at octet 30


@dataclass(frozen=True, kw_only=True)
class FileType:
    """A type of file: its media type for browsers, and the check of a content's first octets."""

    media_type: str
    matches: Callable[[bytes], bool]
    part: str = ""  # a name that a ZIP archive of this type must contain


def _office_type(name: str) -> str:
    return f"application/vnd.openxmlformats-officedocument.{name}"


def _is_zip(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04")


def _is_text(head: bytes) -> bool:
    complete = head if len(head) < HEAD_OCTETS else head[:-3]  # a character may be cut at the end
    try:
        complete.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not any(octet < 32 and octet not in b"\t\n\r\f" for octet in complete)


FILE_TYPES: Mapping[str, FileType] = {
    "pdf": FileType(media_type="application/pdf", matches=lambda head: head.startswith(b"%PDF-")),
    "pptx": FileType(
        media_type=_office_type("presentationml.presentation"), matches=_is_zip, part="ppt/presentation.xml"
    ),
    "docx": FileType(
        media_type=_office_type("wordprocessingml.document"), matches=_is_zip, part="word/document.xml"
    ),
    "odp": FileType(
        media_type="application/vnd.oasis.opendocument.presentation",
        matches=lambda head: _is_zip(head) and head[30:].startswith(_ODF + b"presentation"),
    ),
    "odt": FileType(
        media_type="application/vnd.oasis.opendocument.text",
        matches=lambda head: _is_zip(head) and head[30:].startswith(_ODF + b"text"),
    ),
    "mp4": FileType(media_type="video/mp4", matches=lambda head: head[4:8] == b"ftyp"),
    "png": FileType(media_type="image/png", matches=lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    "jpg": FileType(media_type="image/jpeg", matches=lambda head: head.startswith(b"\xff\xd8\xff")),
    "txt": FileType(media_type="text/plain; charset=utf-8", matches=_is_text),
}
TYPE_ALIASES = {"jpeg": "jpg"}


def find_kind(extension: str) -> str:
    """Return the key in FILE_TYPES of an extension in small letters; raises BadInput if it is not allowed."""
    kind = TYPE_ALIASES.get(extension, extension)
    if kind not in FILE_TYPES:
        raise BadInput(
            f"A file of the type “{extension[:10]}” is not kept. These are: {', '.join(FILE_TYPES)}."
        )
    return kind


def check_content(path: Path, kind: str) -> None:
    """Raise BadInput unless the content is of the kind that the extension states."""
    file_type = FILE_TYPES[kind]
    with path.open("rb") as file:
        is_valid = file_type.matches(file.read(HEAD_OCTETS))
    if is_valid and file_type.part:
        try:
            with zipfile.ZipFile(path) as archive:
                is_valid = file_type.part in archive.namelist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            is_valid = False
    if not is_valid:
        raise BadInput(
            f"The file ends in .{kind}, but its content is something else. Save it again as {kind}."
        )
