"""Read a message that anybody may have written, for people to look at; nothing in it can raise.

The stdlib's parser raises on some malformed headers and charsets, and recurses into nested parts, so every
access is wrapped and everything has a limit. What cannot be read is shown as its source.
"""

import email.header
import email.message
import email.parser
import email.policy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

SUBJECT_CHARACTERS = 200
HEADER_CHARACTERS = 2_000
HEADERS = 200
PARTS = 100
DEPTH = 20
TEXT_CHARACTERS = 1_000_000

# All that the stdlib's parser was seen to raise, besides what follows from the depth of its recursion.
PARSER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)

_SUBJECT = re.compile(rb"(?:\A|\n)subject:[ \t]*((?:[^\r\n]|\r?\n[ \t])*)", re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A part that is not shown inline: its file name (for display only), media type and size in octets."""

    name: str
    type: str
    size: int


@dataclass(frozen=True, kw_only=True)
class ParsedMessage:
    """What a message holds. `html`, `text` and `calendar` are "" where there is none.

    `method` is the calendar part's method parameter; `source` is the whole message, as text, cut when it is
    very long; `damage` says what could not be read, "" when all could.
    """

    headers: tuple[tuple[str, str], ...] = ()
    text: str = ""
    html: str = ""
    calendar: str = ""
    method: str = ""
    attachments: tuple[Attachment, ...] = ()
    source: str = ""
    damage: str = ""


def read_subject(raw: bytes) -> str:
    """The subject line, decoded, on one line without control or direction marks, at most 200 characters."""
    end = _HEAD_END.search(raw, 0, 1_000_000)
    found = _SUBJECT.search(raw, 0, end.start() if end else len(raw))
    return _clean_line(_decode_header(found.group(1)), SUBJECT_CHARACTERS) if found else ""


def parse_message(raw: bytes) -> ParsedMessage:
    """Take a message apart for display; never raises, whatever the message is."""
    source = raw[:TEXT_CHARACTERS].decode("utf-8", "replace")
    whole = _read_or_none(lambda: email.parser.BytesParser(policy=email.policy.compat32).parsebytes(raw))
    if whole is None:
        return ParsedMessage(source=source, damage="This message cannot be taken apart; its source is shown.")
    shown: dict[str, str] = {}
    method, damage, attachments = "", "", []
    for part in _list_leaf_parts(whole):
        kind = _read_or_none(part.get_content_type) or "application/octet-stream"
        name = _clean_line(str(_read_or_none(part.get_filename) or ""), SUBJECT_CHARACTERS)
        slot = {"text/plain": "text", "text/html": "html", "text/calendar": "calendar"}.get(kind)
        content = _read_or_none(lambda part=part: part.get_payload(decode=True))  # type: ignore[misc]
        if not isinstance(content, bytes):
            damage, content = "Some part of this message cannot be read.", b""
        if slot is None or name or slot in shown:
            attachments.append(Attachment(name=name, type=_clean_line(kind, 100), size=len(content)))
            continue
        shown[slot] = _decode_text(content, _read_or_none(part.get_content_charset))
        if slot == "calendar":
            method = _clean_line(str(_read_or_none(lambda part=part: part.get_param("method")) or ""), 40)  # type: ignore[misc]
    return ParsedMessage(
        headers=_read_headers(whole),
        text=shown.get("text", ""),
        html=shown.get("html", ""),
        calendar=shown.get("calendar", ""),
        method=method,
        attachments=tuple(attachments),
        source=source,
        damage=damage,
    )


def _list_leaf_parts(message: email.message.Message) -> Iterator[email.message.Message]:
    """The parts that hold no parts, in order; at most PARTS of them, from at most DEPTH levels."""
    waiting, found = [(message, 0)], 0
    while waiting and found < PARTS:
        part, depth = waiting.pop(0)
        inner = part.get_payload()
        if isinstance(inner, list) and depth < DEPTH:
            waiting[:0] = [
                (each, depth + 1) for each in inner[:PARTS] if isinstance(each, email.message.Message)
            ]
        else:
            found += 1
            yield part


def _read_headers(message: email.message.Message) -> tuple[tuple[str, str], ...]:
    pairs = _read_or_none(lambda: list(message.raw_items())) or []
    return tuple(
        (_clean_line(str(name), 100), _clean_line(_decode_header(str(value)), HEADER_CHARACTERS))
        for name, value in pairs[:HEADERS]
    )


def _decode_header(value: bytes | str) -> str:
    """A header's value with its encoded words (RFC 2047) read; as it stands where they cannot be."""
    octets = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    plain = re.sub(r"\r?\n(?=[ \t])", "", octets.decode("utf-8", "replace"))
    if "=?" not in plain:
        return plain
    decoded = _read_or_none(lambda: str(email.header.make_header(email.header.decode_header(plain))))
    return plain if decoded is None else decoded


def _decode_text(content: bytes, charset: str | None) -> str:
    decoded = _read_or_none(lambda: content[:TEXT_CHARACTERS].decode(charset or "utf-8", "replace"))
    text = content[:TEXT_CHARACTERS].decode("utf-8", "replace") if decoded is None else decoded
    return text.replace("\r\n", "\n")


def _clean_line(words: str, limit: int) -> str:
    if not words.isprintable():
        words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words[:limit]


def _read_or_none(read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except PARSER_ERRORS:
        return None
