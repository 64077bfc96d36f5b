"""Characters: those that no mail can carry, or that show a reader something else than the text."""

import re

_UNSENDABLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def describe_unsendable(text: str, label: str) -> str:
    """Return a sentence on the first unsendable character of a line and its position, "" where there is none.

    `label` begins the sentence, such as "The subject"; positions are counted from 1.
    """
    match = _UNSENDABLE.search(text)
    if match is None:
        return ""
    character, position = match[0], match.start() + 1
    kind = _name_kind(character)
    return f"{label} holds {kind} (U+{ord(character):04X}) at place {position:,}; take it out."


def _name_kind(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return "half a character"
    if "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069":
        return "a mark that turns the direction of writing"
    if character in "\n\r\x0b\x0c\x85\u2028\u2029":
        return "a line break"
    return "a control character"
