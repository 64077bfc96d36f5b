"""Every error of the house on one page; the text of each is a full sentence for the person who can act.

MailerError
├── BadInput            what somebody gave us cannot be used, and the sentence says what to do
│   ├── BadAddress      … as an email address
│   ├── BadZip          … as a ZIP code
│   ├── BrokenTemplate  … as an email template; names file and line
│   └── BadSettings     … as settings; names every mistake at once
├── NotFound            nothing of that name or number is here
├── Conflict            it is here, but in a state that forbids what was asked
├── InvalidLink         a link that we would not read back; a fault of ours, and no mail may hold it
└── StorageError        the database is locked, full or gone; nothing was lost, try again
"""

from collections.abc import Sequence
from pathlib import Path


class MailerError(Exception):
    """Anything this service refuses or cannot do, told in a sentence."""


class BadInput(MailerError):
    """What somebody gave us cannot be used; the sentence says what to do."""


class BadAddress(BadInput):
    """The text is not an email address we can write to."""


class BadZip(BadInput):
    """The text is not a United States ZIP code."""


class BrokenTemplate(BadInput):
    """An email template cannot be used; names the file and the line."""

    def __init__(self, sentence: str, *, path: str | Path, line: int) -> None:
        super().__init__(f"{path}, line {line}: {sentence}")
        self.sentence = sentence
        self.path = str(path)
        self.line = line


class BadSettings(BadInput):
    """The settings cannot be used; `mistakes` holds a sentence for each."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)


class NotFound(MailerError):
    """Nothing of that name or number is here."""


class Conflict(MailerError):
    """It is here, but in a state that forbids what was asked."""


class InvalidLink(MailerError):
    """A link of ours that its own page would refuse; what would hold it must not be sent."""


class StorageError(MailerError):
    """The database is locked, full or gone; nothing was lost, the same request may be tried again."""
