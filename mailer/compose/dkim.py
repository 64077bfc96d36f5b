"""DKIM: DKIM-Signature headers (RFC 6376, RFC 8463), relaxed/relaxed, over a finished message.

All headers that people see or that mail programs act on are signed. Most are listed once more than they occur
(“oversigned”), so that adding a second one breaks the signature. There is no `l=`: all of the body is
covered. There is no `x=`: a message may wait for days in the queue of another server.

The same message, moment and keys give the same bytes: `t=` is the message's own date, and both algorithms are
deterministic.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256

from lists.errors import BadInput
from mailer.compose.dkim_keys import DkimKey

MAX_LINE = 78
ALWAYS_SIGNED = (b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"reply-to")
OVERSIGNED = frozenset(
    (
        *ALWAYS_SIGNED,
        b"mime-version",
        b"content-type",
        b"content-transfer-encoding",
        b"list-unsubscribe",
        b"list-unsubscribe-post",
    )
)
SIGNED_IF_PRESENT = (b"auto-submitted", b"list-id", b"list-help", b"list-owner", b"list-post")
SIGNED_HEADERS = (*ALWAYS_SIGNED, *sorted(OVERSIGNED - set(ALWAYS_SIGNED)), *SIGNED_IF_PRESENT)

_NAME, _RELAXED_NAME = b"DKIM-Signature: ", b"dkim-signature:"
_REDUNDANT_BLANK = re.compile(
    rb" (?=[ \r])"
)  # a blank before a blank or a line's end; one pass, no backtracking


@dataclass(frozen=True, kw_only=True)
class Signer:
    """Signs with every key of the domain in From; a domain without keys leaves its mail unsigned."""

    keys: Sequence[DkimKey] = ()
    _by_domain: Mapping[bytes, Sequence[DkimKey]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        by_domain: dict[bytes, list[DkimKey]] = {}
        for key in self.keys:
            by_domain.setdefault(key.domain.encode("ascii"), []).append(key)
        object.__setattr__(self, "_by_domain", by_domain)

    @property
    def is_slow(self) -> bool:
        """Some key is rsa: signing is slow, and releases the interpreter lock to other threads."""
        return any(key.kind == "rsa" for key in self.keys)

    def sign(self, message: bytes, *, at: datetime) -> bytes:
        """Return the message with a signature on top for each key of its From domain (`d=` is that domain).

        `message` has CRLF lines only, as mime.encode makes them, else the signature would break in transit;
        raises BadInput where that is evident. `at` is aware and becomes `t=`.
        """
        if not self._by_domain:
            return message
        headers, blank, body = message.partition(b"\r\n\r\n")
        if not blank:
            raise BadInput("A message must end its lines with CRLF before it is signed.")
        fields = canonicalize_headers(headers)
        keys = self._by_domain.get(_from_domain(fields))
        if not keys:
            return message
        names, signed = select_signed_headers(fields)
        header_hash = sha256(signed)
        body_hash = b2a_base64(sha256(canonicalize_body(body)).digest(), newline=False)
        message_tags = b"t=%d;\r\n h=%s;\r\n bh=%s;\r\n b=" % (
            int(at.timestamp()),
            _fold_names(names),
            body_hash,
        )
        pieces: list[bytes] = []
        for key in keys:
            unfinished = _constant_tags(key.kind, key.domain, key.name) + message_tags
            digest = header_hash.copy()
            digest.update(_RELAXED_NAME + unfinished.replace(b"\r\n ", b" "))
            signature = b2a_base64(key.sign(digest.digest()), newline=False)
            pieces += (_NAME, unfinished, _fold_signature(signature), b"\r\n")
        return b"".join((*pieces, message))


def canonicalize_headers(headers: bytes) -> dict[bytes, list[bytes]]:
    """Return the values of the headers in the relaxed form (RFC 6376, 3.4.2), by name, top first."""
    fields: dict[bytes, list[bytes]] = {}
    unfolded = headers.replace(b"\t", b" ").replace(b"\r\n ", b" ")
    for line in _REDUNDANT_BLANK.sub(b"", unfolded).split(b"\r\n"):
        name, _, value = line.partition(b":")
        fields.setdefault(name.rstrip(b" ").lower(), []).append(value.strip(b" "))
    return fields


def canonicalize_body(body: bytes) -> bytes:
    """Return a body of CRLF lines in the relaxed form (RFC 6376, 3.4.4)."""
    narrow = _REDUNDANT_BLANK.sub(b"", body.replace(b"\t", b" ")).rstrip(b" \r\n")
    return narrow + b"\r\n" if narrow else b""


def select_signed_headers(fields: Mapping[bytes, Sequence[bytes]]) -> tuple[tuple[bytes, ...], bytes]:
    """Return the names for `h=` in order, and the octets they stand for; the last of a name first."""
    names: list[bytes] = []
    octets: list[bytes] = []
    for name in SIGNED_HEADERS:
        values = fields.get(name)
        if values is not None:
            for value in reversed(values):
                names.append(name)
                octets += (name, b":", value, b"\r\n")
            if name in OVERSIGNED:
                names.append(name)
        elif name in ALWAYS_SIGNED:
            names.append(name)
    return tuple(names), b"".join(octets)


def _from_domain(fields: Mapping[bytes, Sequence[bytes]]) -> bytes:
    """Return the domain of the one From header, b"" when there is none."""
    values = fields.get(b"from", ())
    return values[0].rpartition(b"@")[2].rstrip(b"> ").lower() if len(values) == 1 else b""


@lru_cache(maxsize=64)
def _constant_tags(kind: str, domain: str, name: str) -> bytes:
    """Return the tags that are the same in every message of a key, folded with one blank."""
    return f"v=1; a={kind}-sha256; c=relaxed/relaxed;\r\n d={domain};\r\n s={name};\r\n ".encode("ascii")


@lru_cache(maxsize=64)
def _fold_names(names: tuple[bytes, ...]) -> bytes:
    """Return the value of the tag `h=`, folded after colons."""
    lines = [b" h=" + names[0]]
    for name in names[1:]:
        if len(lines[-1]) + len(name) + 2 < MAX_LINE:
            lines[-1] += b":" + name
        else:
            lines[-1] += b":"
            lines.append(b" " + name)
    return b"\r\n".join(lines)[len(b" h=") :]


def _fold_signature(signature: bytes) -> bytes:
    """Return a signature in lines; blanks in it mean nothing."""
    step = MAX_LINE - 4
    return b"\r\n ".join([signature[start : start + step] for start in range(0, len(signature), step)])


def describe_missing_keys(keys: Iterable[DkimKey], *, domain: str) -> str:
    """Return a sentence on the keys missing for receivers to verify this domain's mail; "" when none is."""
    kinds = {key.kind for key in keys if key.domain == domain}
    if not kinds:
        return (
            f"Mail from {domain} leaves unsigned, because there is no DKIM key for it, and large receivers"
            f" refuse such mail; make one with: mailer dkim keygen {domain}"
        )
    if "rsa" not in kinds:
        return (
            f"{domain} has only an ed25519 key, which many receivers cannot verify yet; put an rsa key beside"
            f" it with: mailer dkim keygen {domain}"
        )
    return ""
