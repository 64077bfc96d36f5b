"""Headings and cells of files as plain words, so that case, accents and separators make no difference."""

import re
import unicodedata
from functools import lru_cache

# “doNotEmail” is three words; “EMAIL” and “Email” are one each.
CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
WORD = re.compile(r"[^\W_]+")
CACHE_SIZE = 2_000  # texts whose words are remembered: most cells of a file repeat


@lru_cache(maxsize=CACHE_SIZE)
def normalize(text: str) -> str:
    """Return a text as small words without accents and signs: “Dirección:” is “direccion”."""
    parted = unicodedata.normalize("NFKD", CAMEL_CASE.sub(" ", text).casefold())
    letters = "".join(letter for letter in parted if not unicodedata.combining(letter))
    return " ".join(WORD.findall(letters))


def make_key(text: str) -> str:
    """Return what two spellings of one heading have in common: “Do Not Email” and “DO_NOT_EMAIL” are one."""
    return normalize(text).replace(" ", "")
