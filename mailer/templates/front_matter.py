"""Front matter: the few lines between `---` at the top of a text, parsed the way people write them.

`key: value`, one a line; the value is the rest of the line, colons included, with or without quotes. A key
without a value may be followed by indented `key: value` lines of its own, one level deep.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from lists.errors import BrokenTemplate

_FENCE = "---"
_LINE = re.compile(r"(\s*)([\w-]+)\s*:\s*(.*)$")
_BLOCK_VALUES = ("|", ">", "|-", ">-")


@dataclass(frozen=True, kw_only=True)
class FrontMatterValue:
    """The value of one key; either `value` or `nested` is filled, `line` counts from 1."""

    value: str
    line: int
    nested: Mapping[str, "FrontMatterValue"] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FrontMatter:
    """A parsed text: its values by key, and the body that starts at line `first_line` of the file."""

    values: Mapping[str, FrontMatterValue]
    body: str
    first_line: int


def read(text: str, *, path: str, keys: tuple[str, ...]) -> FrontMatter:
    """Split a text into its front matter and its body.

    Raises BrokenTemplate when there is none, it is not closed, a line cannot be read or a key not in `keys`.
    """
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines[start].strip() != _FENCE:
        raise BrokenTemplate(
            'The file must begin with a line "---", then "subject: …", then a line "---".',
            path=path,
            line=start + 1,
        )
    end_row = next(
        (number for number in range(start + 1, len(lines)) if lines[number].rstrip() == _FENCE), None
    )
    if end_row is None:
        raise BrokenTemplate(
            'The "---" that ends the lines at the top is missing.', path=path, line=start + 1
        )
    values = _parse_values(lines[start + 1 : end_row], first=start + 2, path=path)
    for key, value in values.items():
        if key not in keys:
            raise BrokenTemplate(_describe_unknown_key(key, keys), path=path, line=value.line)
    return FrontMatter(values=values, body="\n".join(lines[end_row + 1 :]), first_line=end_row + 2)


def _parse_values(lines: list[str], *, first: int, path: str) -> dict[str, FrontMatterValue]:
    """Return the values of the lines between the fences."""
    values: dict[str, FrontMatterValue] = {}
    nested: dict[str, FrontMatterValue] | None = None
    for number, line in enumerate(lines, first):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise BrokenTemplate(
                f'“{line.strip()[:40]}” is not of the form "key: value".', path=path, line=number
            )
        is_indented, key, value = (
            bool(match[1]),
            match[2].lower(),
            _unquote(match[3] or "", path=path, line=number),
        )
        if is_indented and nested is None:
            raise BrokenTemplate(
                "An indented line belongs under a key without a value; start this one at the left edge.",
                path=path,
                line=number,
            )
        target = nested if is_indented and nested is not None else values
        if key in target:
            raise BrokenTemplate(f"“{key}” stands here twice. Keep one.", path=path, line=number)
        if is_indented:
            target[key] = FrontMatterValue(value=value, line=number)
        else:
            nested = {} if not value else None
            values[key] = FrontMatterValue(
                value=value, line=number, nested=nested if nested is not None else {}
            )
    return values


def _unquote(text: str, *, path: str, line: int) -> str:
    """Return a value without the blanks and the one pair of quotes around it."""
    text = text.strip()
    if text in _BLOCK_VALUES:
        raise BrokenTemplate("Write the value on the same line as its key.", path=path, line=line)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" and text[0] not in text[1:-1]:
        return text[1:-1].strip()
    return text


def _describe_unknown_key(key: str, keys: tuple[str, ...]) -> str:
    """Return the sentence for an unknown key."""
    matches = get_close_matches(key, keys, n=1)
    hint = f"Did you mean “{matches[0]}”?" if matches else f"The keys are: {', '.join(keys)}."
    return f"“{key}” is not known here. {hint}"
