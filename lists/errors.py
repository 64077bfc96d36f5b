"""Errors: every exception of this service; its text is a full sentence for the person who can act.

```
MailerError
├── BadInput            an input cannot be used, and the sentence says what to do
│   ├── BadAddress      … as an email address
│   ├── BadZip          … as a ZIP code
│   ├── BrokenTemplate  … as an email template; names file and line
│   └── BadSettings     … as settings; names every mistake at once
├── NotFound            there is nothing of that name or number
├── Conflict            it exists, but its state forbids the action
├── InvalidLink         a link that our own page would refuse; our fault, and no message may contain it
└── StorageError        the database is locked, full or unreachable; nothing was lost, try again
```
"""

from collections.abc import Sequence
from pathlib import Path


class MailerError(Exception):
    """The base class of everything that this service refuses or cannot do; its text is a sentence."""


class BadInput(MailerError):
    """An input cannot be used; the sentence says what to do."""


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
    """There is nothing of that name or number."""


class Conflict(MailerError):
    """It exists, but its state forbids the action."""


class InvalidLink(MailerError):
    """A link of ours that its own page would refuse; a message with it must not be sent."""


class StorageError(MailerError):
    """The database is locked, full or unreachable; nothing was lost, and the request may be tried again."""
