"""Text matching: headings and cells of files, normalized so that case and accents make no difference."""

import re
import unicodedata
from functools import lru_cache

# “doNotEmail” is three words; “EMAIL” and “Email” are one each.
CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
WORD = re.compile(r"[^\W_]+")
CACHE_SIZE = 2_000  # texts; most cells of a file repeat


@lru_cache(maxsize=CACHE_SIZE)
def normalize(text: str) -> str:
    """Return a text as small words without accents and signs: “Dirección:” is “direccion”."""
    # Twice: a letter such as 𝐄 becomes a capital letter by the first, which only then can be folded.
    folded = unicodedata.normalize("NFKD", CAMEL_CASE.sub(" ", text)).casefold()
    decomposed = unicodedata.normalize("NFKD", folded)
    characters = "".join(character for character in decomposed if not unicodedata.combining(character))
    return " ".join(WORD.findall(characters))


def make_key(text: str) -> str:
    """Return the key that spellings of one heading share: “Do Not Email” and “DO_NOT_EMAIL” have the same."""
    return normalize(text).replace(" ", "")
