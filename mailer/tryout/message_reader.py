"""Message reader: parses a message of any origin for display; nothing in it can raise.

The stdlib's parser raises on some malformed headers and charsets, and recurses into nested parts, so every
access is wrapped and everything has a limit. A message that cannot be parsed is shown as its source.
"""

import email.errors
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

# All errors that the stdlib's parser was seen to raise, besides those of its recursion depth.
PARSER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    email.errors.MessageError,
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
    """The content of a message. `html`, `text` and `calendar` are "" where there is none.

    `method` is the calendar part's method parameter; `source` is the whole message, as text, truncated when
    it is very long; `damage` is a sentence on unreadable parts, "" when there are none.
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
    """Return the subject, decoded, on one line without control or direction marks, at most 200 characters."""
    end = _HEAD_END.search(raw, 0, 1_000_000)
    match = _SUBJECT.search(raw, 0, end.start() if end else len(raw))
    return _clean_line(_decode_header(match.group(1)), SUBJECT_CHARACTERS) if match else ""


def parse_message(raw: bytes) -> ParsedMessage:
    """Parse a message for display; never raises, whatever the message is."""
    source = raw[:TEXT_CHARACTERS].decode("utf-8", "replace")
    message = _read_or_none(lambda: email.parser.BytesParser(policy=email.policy.compat32).parsebytes(raw))
    if message is None:
        return ParsedMessage(source=source, damage="This message cannot be taken apart; its source is shown.")
    bodies: dict[str, str] = {}
    method, damage, attachments = "", "", []
    for part in _list_leaf_parts(message):
        kind = _read_or_none(part.get_content_type) or "application/octet-stream"
        name = _clean_line(str(_read_or_none(part.get_filename) or ""), SUBJECT_CHARACTERS)
        slot = {"text/plain": "text", "text/html": "html", "text/calendar": "calendar"}.get(kind)
        content = _read_or_none(lambda part=part: part.get_payload(decode=True))  # type: ignore[misc]
        if not isinstance(content, bytes):
            damage, content = "Some part of this message cannot be read.", b""
        if slot is None or name or slot in bodies:
            attachments.append(Attachment(name=name, type=_clean_line(kind, 100), size=len(content)))
            continue
        bodies[slot] = _decode_text(content, _read_or_none(part.get_content_charset))
        if slot == "calendar":
            method = _clean_line(str(_read_or_none(lambda part=part: part.get_param("method")) or ""), 40)  # type: ignore[misc]
    return ParsedMessage(
        headers=_read_headers(message),
        text=bodies.get("text", ""),
        html=bodies.get("html", ""),
        calendar=bodies.get("calendar", ""),
        method=method,
        attachments=tuple(attachments),
        source=source,
        damage=damage,
    )


def _list_leaf_parts(message: email.message.Message) -> Iterator[email.message.Message]:
    """Yield the parts that hold no parts, in order; at most PARTS of them, from at most DEPTH levels."""
    pending, count = [(message, 0)], 0
    while pending and count < PARTS:
        part, depth = pending.pop(0)
        payload = part.get_payload()
        if isinstance(payload, list) and depth < DEPTH:
            pending[:0] = [
                (subpart, depth + 1)
                for subpart in payload[:PARTS]
                if isinstance(subpart, email.message.Message)
            ]
        else:
            count += 1
            yield part


def _read_headers(message: email.message.Message) -> tuple[tuple[str, str], ...]:
    pairs = _read_or_none(lambda: list(message.raw_items())) or []
    return tuple(
        (_clean_line(str(name), 100), _clean_line(_decode_header(str(value)), HEADER_CHARACTERS))
        for name, value in pairs[:HEADERS]
    )


def _decode_header(value: bytes | str) -> str:
    """Return a header's value with its encoded words (RFC 2047) decoded; unchanged where they cannot be."""
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


def _clean_line(text: str, limit: int) -> str:
    if not text.isprintable():
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text[:limit]


def _read_or_none(read: Callable[[], _T]) -> _T | None:
    try:
        return read()
    except PARSER_ERRORS:
        return None
