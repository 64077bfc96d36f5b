"""Characters that no mail can carry, or that show a reader something else than what is written."""

import re

_UNSENDABLE = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def describe_unsendable(text: str, label: str) -> str:
    """Return the sentence that says which character of a line must go and where it is, "" where none must.

    `what` begins the sentence, such as "The subject"; places are counted from 1.
    """
    found = _UNSENDABLE.search(text)
    if found is None:
        return ""
    sign, place = found[0], found.start() + 1
    kind = _name_kind(sign)
    return f"{label} holds {kind} (U+{ord(sign):04X}) at place {place:,}; take it out."


def _name_kind(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return "half a character"
    if "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069":
        return "a mark that turns the direction of writing"
    if character in "\n\r\x0b\x0c\x85\u2028\u2029":
        return "a line break"
    return "a control character"
