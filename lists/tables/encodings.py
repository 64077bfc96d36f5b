"""Which encoding a file of text is in: told by its marks and bytes, with the evidence, or said by somebody.

A file comes from a spreadsheet of some year and country. What is valid UTF-8 is UTF-8; what has a mark or
a NUL beside every letter is UTF-16; else each old encoding is tried on the letters it would make, and the one
that makes letters of names rather than signs nobody writes wins. The whole file is looked at, in pieces.
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

# What people may say with --encoding, and Python's name for it.
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
# Files without a mark that are not UTF-8: Windows, older Macs, and “CSV (MS-DOS)” of Western Europe and the
# United States. Of equals the first.
LEGACY_ENCODINGS = ("windows-1252", "mac-roman", "cp850", "cp437")
LETTERS = frozenset("áéíóúñüçàèìòùâêîôûäëïöãõÁÉÍÓÚÑÜÇÀÈÌÒÙÂÊÎÔÛÄËÏÖÃÕ")
RARE_LETTERS = frozenset("åøæßýÿœšžÅØÆÝŒŠŽðþÐÞ")
QUOTES = frozenset("’‘“”–—…«»¿¡")
SIGNS = frozenset("ºª·€°©®™§\N{NO-BREAK SPACE}")
LIKELY, POSSIBLE, UNLIKELY = 3, 1, -3
MAX_LETTERS = 200_000  # of those beyond ASCII; more would not change what is told
BEYOND_ASCII = re.compile(rb"(?s)(?<=(.))([\x80-\xff])(?=(.))")
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LETTERS_SHOWN = 8
MIN_NUL_SHARE = 0.3  # of all octets, before a file without a mark is taken for UTF-16


@dataclass(frozen=True, kw_only=True)
class TextEncoding:
    """An encoding by its name for people, Python's codec, octets of mark to pass over, and why it is this."""

    name: str
    codec: str
    evidence: str
    mark_length: int = 0


def detect(file: BinaryIO, *, encoding_name: str = "") -> TextEncoding:
    """Return the encoding of a file opened for reading bytes; it stands at its beginning afterwards.

    `encoding_name` is one of CODECS, or "" to be told by the file. Raises BadInput, with the line, for bytes
    that are no text in it, and for files that are no text at all.
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
    backwards = encoding_name == "utf-16" and start.startswith(codecs.BOM_UTF16_BE)
    codec = "utf-16-be" if backwards else CODECS[encoding_name]
    found = TextEncoding(name=encoding_name, codec=codec, evidence="as you said", mark_length=mark)
    if (line := _find_bad_line(file, found.codec)) is not None:
        raise BadInput(
            f"Line {line} is not text in {encoding_name}. Leave out --encoding to have it found out."
        )
    return found


def _guess(file: BinaryIO, start: bytes) -> TextEncoding:
    for mark, name in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            found = TextEncoding(
                name=name, codec=name, evidence="the file begins with its mark", mark_length=len(mark)
            )
            if (line := _find_bad_line(file, found.codec)) is not None:
                raise BadInput(
                    f"The file begins as {name}, but line {line} is not. Save it again as CSV UTF-8."
                )
            return found
    if b"\0" in start:
        return _detect_utf_16(file, start)
    if _find_bad_line(file, "utf-8") is None:
        plain = start.isascii()
        return TextEncoding(
            name="utf-8",
            codec="utf-8",
            evidence="every letter is plain" if plain else "every letter is valid in it",
        )
    return _detect_legacy(file)


def _detect_utf_16(file: BinaryIO, start: bytes) -> TextEncoding:
    """Tell UTF-16 without a mark: the plain letters have a NUL behind them (LE) or before them (BE)."""
    for name, nuls, letters in (
        ("utf-16-le", start[1::2], start[::2]),
        ("utf-16-be", start[::2], start[1::2]),
    ):
        enough = nuls.count(0) >= MIN_NUL_SHARE * len(start)
        if enough and 0 not in letters and _find_bad_line(file, name) is None:
            return TextEncoding(name=name, codec=name, evidence="every plain letter has a NUL beside it")
    line = start.count(b"\n", 0, start.index(b"\0")) + 1
    raise BadInput(
        f"Line {line} holds a NUL character, so this is not a CSV file."
        " Save it again from your spreadsheet as “CSV UTF-8”."
    )


def _detect_legacy(file: BinaryIO) -> TextEncoding:
    """Tell an encoding of one octet a letter by the letters that it would make of the file."""
    counted = _count_octets(file)
    scores = {name: _score_codec(counted, CODECS[name]) for name in LEGACY_ENCODINGS}
    best = max(LEGACY_ENCODINGS, key=lambda name: scores[name])
    if scores[best] == -math.inf:
        best = "latin-1"  # which has a character, seen or unseen, for every octet
    often = [octets[1:2] for octets, _ in counted.most_common()]
    shown = b"".join(dict.fromkeys(often))[:LETTERS_SHOWN].decode(CODECS[best], "replace")
    return TextEncoding(
        name=best, codec=CODECS[best], evidence=f"not UTF-8; it makes these letters of the file: {shown}"
    )


def _count_octets(file: BinaryIO) -> Counter[bytes]:
    """Count the octets beyond ASCII, each between its two neighbors."""
    counted: Counter[bytes] = Counter()
    file.seek(0)
    before = b"\n"
    while (piece := file.read(CHUNK_BYTES)) and counted.total() < MAX_LETTERS:
        counted.update(b"".join(found.groups()) for found in BEYOND_ASCII.finditer(before + piece + b"\n"))
        before = piece[-1:]
    return counted


def _score_codec(octet_counts: Mapping[bytes, int], codec: str) -> float:
    """Return how likely the letters are in names; an octet that has no letter rules the encoding out."""
    score = 0.0
    for octets, times in octet_counts.items():
        letter = octets[1:2].decode(codec, "ignore")
        if not letter:
            return -math.inf
        score += times * _score_letter(
            letter, word_neighbors=_is_word_octet(octets[:1]) + _is_word_octet(octets[2:])
        )
    return score


def _score_letter(letter: str, *, word_neighbors: int) -> int:
    """Return how likely a letter is; `word_neighbors` of its neighbors, 0 to 2, belong to a word."""
    if letter in LETTERS:
        return LIKELY if word_neighbors else UNLIKELY
    if letter in QUOTES:
        return LIKELY if word_neighbors < 2 or letter == "’" else UNLIKELY  # O’Neil
    return POSSIBLE if letter in RARE_LETTERS | SIGNS else UNLIKELY


def _is_word_octet(octet: bytes) -> bool:
    return octet.isalpha() or not octet.isascii()


def _find_bad_line(file: BinaryIO, codec: str) -> int | None:
    """Return the first line that is no text in this encoding, or None."""
    decoder = codecs.getincrementaldecoder(codec)()
    ends: Counter[str] = Counter()
    file.seek(0)
    try:
        while piece := file.read(CHUNK_BYTES):
            text = decoder.decode(piece)
            ends.update({"\n": text.count("\n"), "\r": text.count("\r")})
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # `error.object` is what was kept from the piece before together with this piece.
        before = error.object[: error.start]
        return 1 + max(ends["\n"] + before.count(b"\n"), ends["\r"] + before.count(b"\r"))
    return None
