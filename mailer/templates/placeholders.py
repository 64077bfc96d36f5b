"""Placeholders: hide the template tags of a text while other tools process it, and restore them afterwards.

Markdown and HTML tools spoil `{{ name }}`, so each tag is replaced by a mark of letters and digits that they
do not change. Exactly the hidden tags are restored: braces of any other origin are escaped so that they can
never be parsed as a tag.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_LOOSE_BRACE = re.compile(r"\{(?=[{%#]|\Z)")
_BRACE = '{{ "{" }}'


@dataclass(frozen=True, kw_only=True)
class Placeholder:
    """One tag as it stands in the source.

    `word` is "" for a field and the first word of a statement ("if", "else"); `link` is True when the tag is
    one single field that holds an address, such as `{{ leave_url }}`; `line` is its line in its file.
    """

    source: str
    word: str
    link: bool
    line: int


class Placeholders:
    """All tags of one template, each identified by its mark."""

    def __init__(self, *, avoid: Iterable[str]) -> None:
        """Choose a mark that occurs in none of the texts of `avoid`."""
        texts = "\n".join(avoid)
        word = "qhzk"
        while word in texts:
            word += "k"
        self._word = word
        self._all: list[Placeholder] = []
        self.pattern = re.compile(rf"{word}(\d+)z")

    def hide(self, placeholder: Placeholder) -> str:
        """Store the tag and return the mark that replaces it."""
        self._all.append(placeholder)
        return f"{self._word}{len(self._all) - 1}z"

    def get(self, mark: str) -> Placeholder | None:
        """Return the tag when the text is exactly one mark, else None."""
        match = self.pattern.fullmatch(mark)
        return self._all[int(match[1])] if match else None

    def find_all(self, text: str) -> list[Placeholder]:
        """Return the tags whose marks occur in the text, in order."""
        return [self._all[int(match[1])] for match in self.pattern.finditer(text)]

    def has_only_statements(self, text: str) -> bool:
        """Return whether the text holds statements, and nothing else but blanks."""
        tags = self.find_all(text)
        return bool(tags) and all(tag.word for tag in tags) and not self.pattern.sub("", text).strip()

    def restore(self, text: str) -> str:
        """Return the template source: every mark becomes its tag again, every other brace stays text."""
        pieces = self.pattern.split(text)
        pieces[::2] = [_LOOSE_BRACE.sub(lambda _: _BRACE, piece) for piece in pieces[::2]]
        pieces[1::2] = [self._all[int(number)].source for number in pieces[1::2]]
        return "".join(pieces)
