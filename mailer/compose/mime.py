"""MIME: the bytes of a message: RFC 5322 headers, a text, an HTML and an optional calendar part.

The encoder does not use the standard library, which unquotes long names, encodes long List-Unsubscribe values
and takes over a millisecond a message.
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote

from lists.errors import BadInput

MAX_LINE = 78
MAX_WORD = 75
MAX_QP_LINE = 76
MAX_SUBJECT = 998
MAX_NAME = 256
MAX_ADDRESS = 320
MAX_LOCAL_PART = 64
MAX_URL = 900
MAX_BODY = 5_000_000

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]+")  # they turn the direction of writing
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ATOM = r"[^\x00-\x20\x7f-\xa0()<>@,;:\\\"\[\].]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED = re.compile(r'"(?:[^\x00-\x1f\x7f-\xa0"\\]|\\[\x21-\x7e])*"')
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+>")
_URL = re.compile(r"https?://[!-;=?-~]+")
_LIST_ID = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_METHOD = re.compile(r"[A-Z]+")
_IDNA_DEVIATIONS = re.compile("[ßς\u200c\u200d]")  # the older rules for domains read these as other letters
_Q_LITERALS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q_ENCODED = [
    "_" if byte == 0x20 else chr(byte) if byte in _Q_LITERALS else f"={byte:02X}" for byte in range(256)
]
_MAX_CACHED_LENGTH = 64_000  # characters of a piece


@dataclass(frozen=True, kw_only=True)
class MimeMessage:
    """The complete content of one message.

    People are (name, address) pairs, the name "" when there is none; `message_id` with its angle brackets;
    `date` aware; `html` whole, or in the pieces it was rendered in, because those that are the same in every
    copy are encoded only once; `calendar` a VCALENDAR in CRLF lines whose METHOD is `method`. A message with
    `list_id`, a pair of a name and an identifier such as `interest.example.org`, is list mail.
    """

    message_id: str
    date: datetime
    sender: tuple[str, str]
    to: tuple[str, str]
    subject: str
    text: str
    html: str | Sequence[str]
    reply_to: str | None = None
    list_id: tuple[str, str] | None = None
    unsubscribe_url: str | None = None
    help_url: str | None = None
    owner: str | None = None
    automatic: bool = True
    calendar: bytes | None = None
    method: str = "REQUEST"


def encode(message: MimeMessage) -> bytes:
    """Return the message: CRLF lines, headers per RFC 5322, 2047, 2369, 2919, 3834, 8058, bodies in ASCII.

    An address whose local part is not ASCII stays UTF-8 (RFC 6532); the SMTP session decides whether it can
    be sent. Raises BadInput for header values with line breaks, control characters or half characters, and
    for values that are too long to be intended.
    """
    boundary_id = blake2b(message.message_id.encode("ascii", "replace"), digest_size=9).hexdigest()
    headers = [
        _cached_mailbox("From", *message.sender),
        _mailbox("To", *message.to),
        _subject(message.subject),
        f"Date: {_date(message.date)}\r\n",
        _message_id(message.message_id),
    ]
    if message.reply_to:
        headers.append(_cached_mailbox("Reply-To", "", message.reply_to))
    headers += _list_headers(message)
    if message.automatic:
        headers.append("Auto-Submitted: auto-generated\r\n")
    headers.append("MIME-Version: 1.0\r\n")
    return b"".join(_build_pieces("".join(headers), message, boundary_id))


def _build_pieces(headers: str, message: MimeMessage, boundary_id: str) -> list[bytes]:
    """Return the pieces of the message in order.

    Boundaries begin with "=_", which neither quoted-printable nor base64 can hold, and differ by message, so
    that one message can carry another.
    """
    inner = f"=_a{boundary_id}"
    alternative = f'Content-Type: multipart/alternative; boundary="{inner}"\r\n\r\n'
    html = (message.html,) if isinstance(message.html, str) else message.html
    body = [
        _text_part(inner, "text/plain", message.text.splitlines(keepends=True)),
        _text_part(inner, "text/html", html),
    ]
    if message.calendar is None:
        top = (headers + alternative).encode()
        return [top, *body, f"--{inner}--\r\n".encode()]
    if not _METHOD.fullmatch(message.method):
        raise BadInput(f"“{message.method[:20]}” is no calendar method. Use REQUEST or CANCEL.")
    if f"\r\nMETHOD:{message.method}\r\n".encode() not in message.calendar or _BARE_LF.search(
        message.calendar
    ):
        raise BadInput(f"The calendar part must say METHOD:{message.method} and end its lines with CRLF.")
    outer = f"=_m{boundary_id}"
    event = b2a_base64(message.calendar, newline=False)
    lines = b"".join(event[start : start + 76] + b"\r\n" for start in range(0, len(event), 76))
    return [
        f'{headers}Content-Type: multipart/mixed; boundary="{outer}"\r\n\r\n'.encode(),
        f"--{outer}\r\n{alternative}".encode(),
        *body,
        f"--{inner}\r\nContent-Type: text/calendar; method={message.method}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n".encode(),
        lines,
        f'--{inner}--\r\n\r\n--{outer}\r\nContent-Type: application/ics; name="invite.ics"\r\n'
        'Content-Disposition: attachment; filename="invite.ics"\r\n'
        "Content-Transfer-Encoding: base64\r\n\r\n".encode(),
        lines,
        f"--{outer}--\r\n".encode(),
    ]


def _text_part(boundary: str, kind: str, pieces: Sequence[str]) -> bytes:
    """Return one text part in quoted-printable (RFC 2045, 6.7): lines of at most 76, CRLF."""
    if sum(map(len, pieces)) > MAX_BODY:
        raise BadInput(f"A mail cannot be longer than {MAX_BODY:,} characters. Shorten its text.")
    part_header = f"--{boundary}\r\nContent-Type: {kind}; charset=utf-8\r\n"
    encode_piece = _cached_qp if max(map(len, pieces), default=0) <= _MAX_CACHED_LENGTH else _qp
    try:
        body = b"".join(map(encode_piece, pieces))
    except UnicodeEncodeError as error:
        raise BadInput(
            "The text holds half a character, which cannot be sent. Write that place anew."
        ) from error
    return part_header.encode() + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + body + b"\r\n"


def _qp(piece: str) -> bytes:
    """Return a piece of a text in quoted-printable; one that stops within a line ends in a soft line break.

    So the neighboring pieces affect neither its encoding nor the length of its lines.
    """
    if "\r" in piece:
        piece = piece.replace("\r\n", "\n").replace("\r", "\n")
    # Line by line: b2a_qp makes lines that are too long before a line's end.
    *lines, last = [b2a_qp(line.encode(), istext=True) for line in piece.split("\n")]
    if last:
        if len(last) - last.rfind(b"\n") > MAX_QP_LINE:  # no room for the "=" after it
            at = -3 if last[-3:-2] == b"=" else -1
            lines.append(last[:at] + b"=")
            last = last[at:]
        lines.append(last + b"=")
    return b"\r\n".join([*lines, b""]).replace(b"=\n", b"=\r\n")


_cached_qp = lru_cache(maxsize=1024)(_qp)  # most pieces are the same in every copy of a mail


def _list_headers(message: MimeMessage) -> list[str]:
    """Return the headers of list mail; addresses in them are never encoded."""
    headers = []
    if message.list_id is not None:
        headers.append(_list_id(*message.list_id))
    if message.unsubscribe_url:
        headers.append(_url_header("List-Unsubscribe", message.unsubscribe_url))
        headers.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
    if message.list_id is not None:
        if message.help_url:
            headers.append(_url_header("List-Help", message.help_url))
        if message.owner:
            headers.append(_owner(message.owner))
        headers.append("List-Post: NO\r\n")
    return headers


def _check_value(value: str, label: str, *, limit: int) -> str:
    """Return a header's value; raises BadInput for one whose line breaks would inject another header."""
    if len(value) > limit:
        raise BadInput(f"The {label} has {len(value):,} characters; at most {limit} fit. Shorten it.")
    if not value.isprintable():
        if _CONTROL.search(value):
            raise BadInput(f"The {label} holds a line break or another control character. Take it out.")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise BadInput(f"The {label} holds half a character, which cannot be sent. Write it anew.")
    return value


def _date(moment: datetime) -> str:
    """Return a moment in the format of RFC 5322, in UTC, in English whatever the machine's language."""
    assert moment.tzinfo is not None
    at = moment.astimezone(UTC)
    day, month = _DAYS[at.weekday()], _MONTHS[at.month - 1]
    return f"{day}, {at.day:02} {month} {at.year:04} {at.hour:02}:{at.minute:02}:{at.second:02} +0000"


def _message_id(value: str) -> str:
    """Return the Message-ID header."""
    if len(value) > MAX_ADDRESS or not _MESSAGE_ID.fullmatch(value):
        raise BadInput("The Message-ID must be of the form <letters-and-digits@domain>.")
    return _unfolded_header("Message-ID", value)


def _unfolded_header(name: str, value: str) -> str:
    """Return a header whose value cannot be broken, on a line of its own where that keeps to 78 columns."""
    gap = "\r\n " if len(name) + len(value) + 2 > MAX_LINE and len(value) < MAX_LINE else " "
    return f"{name}:{gap}{value}\r\n"


def _url_header(name: str, url: str) -> str:
    """Return a header with one web address in angle brackets."""
    if len(url) > MAX_URL or not _URL.fullmatch(url):
        raise BadInput(
            f"The address for {name} must begin with https:// and hold neither blanks nor accents."
        )
    return _unfolded_header(name, f"<{url}>")


@lru_cache(maxsize=64)
def _list_id(name: str, identifier: str) -> str:
    """Return the List-Id header (RFC 2919)."""
    if len(identifier) > 255 or not _LIST_ID.fullmatch(identifier):
        raise BadInput("The identifier of a list must look like interest.example.org.")
    return _phrase_header("List-Id", _clean_name(name, "name of the list"), f"<{identifier}>")


@lru_cache(maxsize=64)
def _owner(address: str) -> str:
    """Return the List-Owner header (RFC 2369)."""
    escaped = quote(_address(address), safe="@!$*/~'")
    return _unfolded_header("List-Owner", f"<mailto:{escaped}>")


def _mailbox(header: str, name: str, address: str) -> str:
    """Return a header that holds exactly one mailbox."""
    display_name = _clean_name(name, "name of a sender or recipient")
    if not display_name:
        return _unfolded_header(header, _address(address))
    return _phrase_header(header, display_name, f"<{_address(address)}>")


_cached_mailbox = lru_cache(maxsize=64)(_mailbox)  # all copies have the same sender


def _clean_name(name: str, label: str) -> str:
    """Return a display name that is safe to show: one line, no controls of the writing direction."""
    name = _check_value(name, label, limit=MAX_NAME)
    return " ".join((name if name.isprintable() else _BIDI_CONTROLS.sub("", name)).split())


def _address(address: str) -> str:
    """Return an address in the form for a header, its domain in punycode."""
    local, _, domain = _check_value(address, "email address", limit=MAX_ADDRESS).rpartition("@")
    if not domain.isascii():
        if _IDNA_DEVIATIONS.search(domain):
            raise BadInput("Write the domain of this email address in its form that begins with xn--.")
        try:
            domain = domain.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise BadInput("The domain of this email address cannot be written in plain letters.") from error
    if (
        len(local.encode()) > MAX_LOCAL_PART
        or not (_DOT_ATOM.fullmatch(local) or _QUOTED.fullmatch(local))
        or not _DOMAIN.fullmatch(domain)
    ):
        raise BadInput("This is not an email address that mail can be sent to. Check it.")
    return f"{local}@{domain}"


def _phrase_header(header: str, name: str, tail: str) -> str:
    """Return a header of a name and a part in angle brackets, folded between them where it is long."""
    if not name:
        return _unfolded_header(header, tail)
    column = len(header) + 2
    if _ATOMS.fullmatch(name) and "=?" not in name and len(name) <= MAX_LINE - column:
        phrase = [name]
    elif name.isascii() and "=?" not in name and len(quoted := _quote_name(name)) <= MAX_LINE - column:
        phrase = [quoted]
    else:
        phrase = _encoded_words(name, MAX_LINE - 2 - column)
    lines = [f"{header}: {phrase[0]}", *(f" {word}" for word in phrase[1:])]
    if len(lines[-1]) + 1 + len(tail) <= MAX_LINE:
        lines[-1] += f" {tail}"
    else:
        lines.append(f" {tail}")
    return "\r\n".join(lines) + "\r\n"


def _quote_name(name: str) -> str:
    """Return a name as a quoted string."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@lru_cache(maxsize=1024)
def _subject(value: str) -> str:
    """Return the Subject header, folded at blanks, or in encoded words where it is not plain ASCII."""
    value = _check_value(value, "subject", limit=MAX_SUBJECT).replace("\t", " ").strip()
    if len(value) <= MAX_LINE - 9 and value.isascii() and "=?" not in value:
        return f"Subject: {value}\r\n"
    words = value.split(" ")
    if value.isascii() and "=?" not in value and "" not in words and max(map(len, words)) < MAX_LINE - 9:
        lines = [f"Subject: {words[0]}"]
        for word in words[1:]:
            if len(lines[-1]) + 1 + len(word) <= MAX_LINE:
                lines[-1] += f" {word}"
            else:
                lines.append(f" {word}")
        return "\r\n".join(lines) + "\r\n"
    return "Subject: " + "\r\n ".join(_encoded_words(value, MAX_LINE - 2 - 9)) + "\r\n"


def _encoded_words(text: str, first: int) -> list[str]:
    """Return a text in encoded words (RFC 2047) of at most 75 columns, the first of at most `first`.

    No character is split between two of them.
    """
    data = text.encode()
    q = "".join([_Q_ENCODED[byte] for byte in data])
    base64 = len(q) > 4 * ((len(data) + 2) // 3)
    if not base64 and len(q) + len("=?utf-8?q??=") <= first:
        return [f"=?utf-8?q?{q}?="]
    units = [character.encode() for character in text]
    words, word_data, capacity = [], b"", min(first, MAX_WORD) - len("=?utf-8?q??=")
    for unit in units:
        size = (
            4 * ((len(word_data) + len(unit) + 2) // 3)
            if base64
            else sum(len(_Q_ENCODED[byte]) for byte in word_data + unit)
        )
        if size > capacity and word_data:
            end = word_data.rfind(b" ") + 1
            end = (
                end if end > len(word_data) // 2 else len(word_data)
            )  # some mail programs show a blank between two
            words.append(word_data[:end])
            word_data, capacity = word_data[end:], MAX_WORD - len("=?utf-8?q??=")
        word_data += unit
    words.append(word_data)
    if base64:
        return [f"=?utf-8?b?{b2a_base64(word, newline=False).decode()}?=" for word in words]
    return [f"=?utf-8?q?{''.join([_Q_ENCODED[byte] for byte in word])}?=" for word in words]
