"""Encoding detection: finds the encoding of a text file from its bytes, with evidence, or checks a given one.

Files come from spreadsheets of many years and countries. Valid UTF-8 is UTF-8. A file with a byte order mark,
or with a NUL beside every letter, is UTF-16. Otherwise each legacy encoding is scored by the letters that it
makes of the file: letters of names count for it, signs that people rarely write count against it. The whole
file is read, in chunks.
"""

import codecs
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from lists.errors import BadInput

CHUNK_BYTES = 1 << 18  # octets read at once

# Values of --encoding → Python's codec.
CODECS: Mapping[str, str] = {
    "utf-8": "utf-8",
    "utf-16": "utf-16-le",
    "utf-16-le": "utf-16-le",
    "utf-16-be": "utf-16-be",
    "windows-1252": "cp1252",
    "latin-1": "latin-1",
    "mac-roman": "mac_roman",
    "cp850": "cp850",
    "cp437": "cp437",
}
# For files without a mark that are not UTF-8: Windows, older Macs, and “CSV (MS-DOS)” of Western Europe and
# the United States. Of equal scores the first is chosen.
LEGACY_ENCODINGS = ("windows-1252", "mac-roman", "cp850", "cp437")
COMMON_LETTERS = frozenset("áéíóúñüçàèìòùâêîôûäëïöãõÁÉÍÓÚÑÜÇÀÈÌÒÙÂÊÎÔÛÄËÏÖÃÕ")
RARE_LETTERS = frozenset("åøæßýÿœšžÅØÆÝŒŠŽðþÐÞ")
QUOTES = frozenset("’‘“”–—…«»¿¡")
SIGNS = frozenset("ºª·€°©®™§\N{NO-BREAK SPACE}")
LIKELY, POSSIBLE, UNLIKELY = 3, 1, -3
MAX_LETTERS = 200_000  # beyond ASCII; more would not change the result
BEYOND_ASCII = re.compile(rb"(?s)(?<=(.))([\x80-\xff])(?=(.))")
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LETTERS_SHOWN = 8
MIN_NUL_SHARE = 0.3  # of all octets; with fewer, a file without a mark is not UTF-16


@dataclass(frozen=True, kw_only=True)
class TextEncoding:
    """An encoding: its name for people, Python's codec, the octets of its mark, and the evidence for it."""

    name: str
    codec: str
    evidence: str
    mark_length: int = 0


def detect(file: BinaryIO, *, encoding_name: str = "") -> TextEncoding:
    """Return the encoding of a file opened for reading bytes; the file is at its beginning afterwards.

    `encoding_name` is one of CODECS, or "" to detect it. Raises BadInput, with the line, for bytes that are
    not valid in it, and for files that are no text at all.
    """
    file.seek(0)
    start = file.read(CHUNK_BYTES)
    file.seek(0)
    try:
        return _check_named(file, start, encoding_name) if encoding_name else _guess(file, start)
    finally:
        file.seek(0)


def _check_named(file: BinaryIO, start: bytes, encoding_name: str) -> TextEncoding:
    if encoding_name not in CODECS:
        raise BadInput(f"“{encoding_name}” is not an encoding read here. These are: {', '.join(CODECS)}.")
    mark = next(
        (
            len(mark)
            for mark, name in BYTE_ORDER_MARKS
            if start.startswith(mark) and name.startswith(encoding_name)
        ),
        0,
    )
    is_big_endian = encoding_name == "utf-16" and start.startswith(codecs.BOM_UTF16_BE)
    codec = "utf-16-be" if is_big_endian else CODECS[encoding_name]
    encoding = TextEncoding(name=encoding_name, codec=codec, evidence="as you said", mark_length=mark)
    if (line := _find_bad_line(file, encoding.codec)) is not None:
        raise BadInput(
            f"Line {line} is not text in {encoding_name}. Leave out --encoding to have it found out."
        )
    return encoding


def _guess(file: BinaryIO, start: bytes) -> TextEncoding:
    for mark, name in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            encoding = TextEncoding(
                name=name, codec=name, evidence="the file begins with its mark", mark_length=len(mark)
            )
            if (line := _find_bad_line(file, encoding.codec)) is not None:
                raise BadInput(
                    f"The file begins as {name}, but line {line} is not. Save it again as CSV UTF-8."
                )
            return encoding
    if b"\0" in start:
        return _detect_utf_16(file, start)
    if _find_bad_line(file, "utf-8") is None:
        is_ascii = start.isascii()
        return TextEncoding(
            name="utf-8",
            codec="utf-8",
            evidence="every letter is plain" if is_ascii else "every letter is valid in it",
        )
    return _detect_legacy(file)


def _detect_utf_16(file: BinaryIO, start: bytes) -> TextEncoding:
    """Detect UTF-16 without a mark: plain letters have a NUL behind them (LE) or before them (BE)."""
    for name, nuls, plain_octets in (
        ("utf-16-le", start[1::2], start[::2]),
        ("utf-16-be", start[::2], start[1::2]),
    ):
        has_enough_nuls = nuls.count(0) >= MIN_NUL_SHARE * len(start)
        if has_enough_nuls and 0 not in plain_octets and _find_bad_line(file, name) is None:
            return TextEncoding(name=name, codec=name, evidence="every plain letter has a NUL beside it")
    line = start.count(b"\n", 0, start.index(b"\0")) + 1
    raise BadInput(
        f"Line {line} holds a NUL character, so this is not a CSV file."
        " Save it again from your spreadsheet as “CSV UTF-8”."
    )


def _detect_legacy(file: BinaryIO) -> TextEncoding:
    """Detect an encoding of one octet per letter by the letters that it makes of the file."""
    octet_counts = _count_octets(file)
    scores = {name: _score_codec(octet_counts, CODECS[name]) for name in LEGACY_ENCODINGS}
    best = max(LEGACY_ENCODINGS, key=lambda name: scores[name])
    if scores[best] == -math.inf:
        best = "latin-1"  # which has a character for every octet
    frequent_octets = [octets[1:2] for octets, _ in octet_counts.most_common()]
    shown = b"".join(dict.fromkeys(frequent_octets))[:LETTERS_SHOWN].decode(CODECS[best], "replace")
    return TextEncoding(
        name=best, codec=CODECS[best], evidence=f"not UTF-8; it makes these letters of the file: {shown}"
    )


def _count_octets(file: BinaryIO) -> Counter[bytes]:
    """Count the octets beyond ASCII, each together with its two neighbors."""
    octet_counts: Counter[bytes] = Counter()
    file.seek(0)
    previous = b"\n"
    while (chunk := file.read(CHUNK_BYTES)) and octet_counts.total() < MAX_LETTERS:
        octet_counts.update(
            b"".join(match.groups()) for match in BEYOND_ASCII.finditer(previous + chunk + b"\n")
        )
        previous = chunk[-1:]
    return octet_counts


def _score_codec(octet_counts: Mapping[bytes, int], codec: str) -> float:
    """Return how likely the letters are in names; an octet without a letter excludes the encoding."""
    score = 0.0
    for octets, number in octet_counts.items():
        character = octets[1:2].decode(codec, "ignore")
        if not character:
            return -math.inf
        score += number * _score_letter(
            character, word_neighbors=_is_word_octet(octets[:1]) + _is_word_octet(octets[2:])
        )
    return score


def _score_letter(character: str, *, word_neighbors: int) -> int:
    """Return how likely a letter is; `word_neighbors` of its neighbors, 0 to 2, belong to a word."""
    if character in COMMON_LETTERS:
        return LIKELY if word_neighbors else UNLIKELY
    if character in QUOTES:
        return LIKELY if word_neighbors < 2 or character == "’" else UNLIKELY  # O’Neil
    return POSSIBLE if character in RARE_LETTERS | SIGNS else UNLIKELY


def _is_word_octet(octet: bytes) -> bool:
    return octet.isalpha() or not octet.isascii()


def _find_bad_line(file: BinaryIO, codec: str) -> int | None:
    """Return the first line that is not valid in this encoding, or None."""
    decoder = codecs.getincrementaldecoder(codec)()
    line_ends: Counter[str] = Counter()
    file.seek(0)
    try:
        while chunk := file.read(CHUNK_BYTES):
            text = decoder.decode(chunk)
            line_ends.update({"\n": text.count("\n"), "\r": text.count("\r")})
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # `error.object` is the undecoded rest of the previous chunk together with this chunk.
        before = error.object[: error.start]
        return 1 + max(line_ends["\n"] + before.count(b"\n"), line_ends["\r"] + before.count(b"\r"))
    return None
