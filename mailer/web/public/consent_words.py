"""Consent words: where a person said yes or no, and what they chose there, in the words of the data page.

The evidence itself stays as it was stored; the file of the data page has it.
"""

import re

from lists.topic_optouts import TOPICS
from mailer.web.words import Phrase, Section

TOKENS_ACTION = "topics"  # its wording is the names of topics; other wordings were read or written by people
UNDONE_ACTION = "undone"  # its wording is a sentence of the code, in English
PAGE_KEY = re.compile(r"/?(?P<key>[a-z]+(?: [a-z]+)*)(?: [0-9]+)?(?:/[^?]*)?(?:\?via=(?P<congregation>.+))?")


def describe_page(words: Section, page: str) -> str:
    """Return where a yes or no was given: “the page to sign up”; as it is stored where it has no words."""
    match = PAGE_KEY.fullmatch(page)
    phrase: Phrase | None = words.page.get(match["key"].replace(" ", "_")) if match else None
    if match is None or phrase is None:
        return page
    congregation = match["congregation"]
    return (
        str(words.page.with_congregation.format(where=phrase, name=congregation)) if congregation else phrase
    )


def describe_wording(words: Section, wording: str, *, action: str) -> str:
    """Return what the person saw or chose; topics by their names, and what people wrote as they wrote it."""
    if action == UNDONE_ACTION:
        return str(words.value.undone_wording)
    if action != TOKENS_ACTION:
        return wording
    topics = [topic for topic in wording.split(", ") if topic in TOPICS]
    return ", ".join(words.value[f"topic_{topic}"] for topic in topics) or str(words.value.no_topic)
