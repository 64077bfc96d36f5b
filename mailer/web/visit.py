"""A visit: what a handler is handed, already parsed; and what it gives back, a page or a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lists.contacts import LANGUAGES
from mailer.service import Service
from mailer.web import forms, words
from mailer.web.forms import Stamps
from mailer.web.words import Section

TEMPLATES = Path(__file__).parents[2] / "templates" / "web"


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request as the handlers see it.

    `language` is that of the page, `chosen` the one asked for by `?lang=` or "", `accepted` the browser's.
    `now` is the service's moment, `real` the machine's. `source` stands for the visitor's network.
    """

    service: Service
    path: str
    now: datetime
    real: datetime
    source: bytes = b""
    language: str = "en"
    chosen: str = ""
    accepted: str = "en"
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> Section:
        """The words of the page's language."""
        return words.load(TEMPLATES, self.language)

    def speaking(self, language: str) -> "Visit":
        """Return the visit in the language of the person it is about, unless the visitor chose another."""
        return self if self.chosen or language not in LANGUAGES else replace(self, language=language)

    def switched(self, language: str) -> "Visit":
        """Return the visit in a language that its visitor has just chosen for good."""
        return replace(self, language=language, chosen=self.chosen and language)

    @property
    def stamps(self) -> Stamps:
        """What signs the moment a form was opened."""
        return Stamps(self.service.keys.links)

    def opened(self, *, already: bool = False) -> str:
        """Return the stamp for a form shown now: the one it came with while that is good, else a new one.

        `already` says that the form was looked at before, so that pressing its button at once is no haste.
        """
        stamp = self.form.get("opened", "")
        if stamp and self.stamps.opened(stamp, now=self.real):
            return stamp
        return self.stamps.stamp(self.real - forms.FASTEST_HAND if already else self.real)

    @property
    def overdue(self) -> bool:
        """The form was opened too long ago, or its stamp is not ours.

        One without a stamp is no form of ours at all, such as one that the campaign put on another page of
        its own; the brakes and the confirmation stand before it all the same.
        """
        return "opened" in self.form and self.stamps.opened(self.form["opened"], now=self.real) is None

    @property
    def hasty(self) -> bool:
        """A machine filled the form: the hidden field too, or faster than a hand can."""
        opened = self.stamps.opened(self.form.get("opened", ""), now=self.real)
        return bool(self.form.get(forms.TRAP)) or (
            opened is not None and self.real - opened < forms.FASTEST_HAND
        )


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page to set: its template, the values it names, its status; `visit` carries the language."""

    visit: Visit
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, kw_only=True)
class File:
    """An answer that is no page; its headers come on top of those every answer has."""

    body: bytes
    kind: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Go on to another of our own pages (303); `path` is a path of ours, never somebody's text."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class Away:
    """Go on to a link that staff have given (302); tomorrow it may be another."""

    link: str


@dataclass(frozen=True, kw_only=True)
class Download:
    """A kept file to be saved as `name`, read piece by piece; `mark` changes with its content."""

    path: Path
    kind: str
    name: str
    mark: str


Answer = Page | File | Elsewhere | Away | Download
