"""Discreet wording: replaces the campaign's name in mails and calendars of readers whose phone others see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class DiscreetWording:
    """The name in From, the subject, and the title of a calendar entry, in one language."""

    sender: str
    subject: str
    event_title: str

    @classmethod
    def from_words(cls, words: Mapping[str, str]) -> Self:
        """Return the wording from the words of a language's frame."""
        return cls(
            sender=words["discreet_sender"],
            subject=words["discreet_subject"],
            event_title=words["discreet_call"],
        )
