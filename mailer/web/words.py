"""Words: the texts of the pages, TOML files per language with the same keys, used as `t.join.title`."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape


class Phrase(str):
    """One text of a page; called with values it fills its `{braces}`, escaping both itself and the values."""

    __slots__ = ()

    def __call__(self, **values: object) -> Markup:
        """Fill the braces; a value that is already markup (a link, a bold address) stays markup."""
        return Markup(escape(str(self)).format_map({key: escape(value) for key, value in values.items()}))  # noqa: S704


class Section:
    """A part of the words with its phrases as attributes: `t.join` or `t.join.title`."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = {key: _wrap(value) for key, value in content.items()}

    def __getattr__(self, key: str) -> Any:
        """Look a phrase up by its key; AttributeError names the key that is missing."""
        try:
            return self._content[key]
        except KeyError:
            raise AttributeError(f"the words have no {key!r}") from None

    def __getitem__(self, key: str) -> Any:
        """Look a phrase up by a computed key, such as `title_404`."""
        return self._content[key]

    def get(self, key: str) -> Any:
        """Look a phrase up by a key made of a value; None for a value without words."""
        return self._content.get(key)


def _wrap(value: Any) -> Any:
    if isinstance(value, dict):
        return Section(value)
    if isinstance(value, list):
        return tuple(Phrase(item) for item in value)
    return Phrase(value)


@cache
def load(folder: Path, language: str) -> Section:
    """Read the words of one language ("en" or "es") from all `<folder>/*.<language>.toml`, once.

    Each file has sections of its own: a page with many words has a file that is named after it.
    """
    content: dict[str, Any] = {}
    for file in sorted(folder.glob(f"*.{language}.toml")):
        sections = tomllib.loads(file.read_text(encoding="utf-8"))
        assert not sections.keys() & content.keys(), file
        content |= sections
    return Section(content)
