"""A visit: what a handler is handed, already parsed; and what it gives back, a page or a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lists.contacts import LANGUAGES
from mailer.service import Service
from mailer.web import forms, words
from mailer.web.forms import FormTimestamps
from mailer.web.words import Section

TEMPLATES = Path(__file__).parents[2] / "templates" / "web"


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """One request as the handlers see it.

    `language` is that of the page, `chosen_language` the one asked for by `?lang=`
    or "", `accepted_language` the browser's.
    `now` is the service's moment, `real` the machine's. `source` stands for the visitor's network.
    """

    service: Service
    path: str
    now: datetime
    real: datetime
    source: bytes = b""
    language: str = "en"
    chosen_language: str = ""
    accepted_language: str = "en"
    parameters: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> Section:
        """The words of the page's language."""
        return words.load(TEMPLATES, self.language)

    def with_default_language(self, language: str) -> "PageRequest":
        """Return the visit in the language of the person it is about, unless the visitor chose another."""
        return self if self.chosen_language or language not in LANGUAGES else replace(self, language=language)

    def with_language(self, language: str) -> "PageRequest":
        """Return the visit in a language that its visitor has just chosen for good."""
        return replace(self, language=language, chosen_language=self.chosen_language and language)

    @property
    def form_timestamps(self) -> FormTimestamps:
        """What signs the moment a form was opened."""
        return FormTimestamps(self.service.keys.links)

    def form_timestamp(self, *, already: bool = False) -> str:
        """Return the stamp for a form shown now: the one it came with while that is good, else a new one.

        `already` says that the form was looked at before, so that pressing its button at once is no haste.
        """
        stamp = self.form.get("opened", "")
        if stamp and self.form_timestamps.read(stamp, now=self.real):
            return stamp
        return self.form_timestamps.sign(self.real - forms.MIN_FILL_TIME if already else self.real)

    @property
    def is_expired(self) -> bool:
        """The form was opened too long ago, or its stamp is not ours.

        One without a stamp is no form of ours at all, such as one that the campaign put on another page of
        its own; the brakes and the confirmation stand before it all the same.
        """
        return "opened" in self.form and self.form_timestamps.read(self.form["opened"], now=self.real) is None

    @property
    def is_automated(self) -> bool:
        """A machine filled the form: the hidden field too, or faster than a hand can."""
        opened = self.form_timestamps.read(self.form.get("opened", ""), now=self.real)
        return bool(self.form.get(forms.HONEYPOT_FIELD)) or (
            opened is not None and self.real - opened < forms.MIN_FILL_TIME
        )


@dataclass(frozen=True, kw_only=True)
class PageResponse:
    """A page to set: its template, the values it names, its status; `request` carries the language."""

    request: PageRequest
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, kw_only=True)
class RawResponse:
    """An answer that is no page; its headers come on top of those every answer has."""

    body: bytes
    kind: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PageRedirect:
    """Go on to another of our own pages (303); `path` is a path of ours, never somebody's text."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    fragment: str = ""


@dataclass(frozen=True, kw_only=True)
class ExternalRedirect:
    """Go on to a link that staff have given (302); tomorrow it may be another."""

    link: str


@dataclass(frozen=True, kw_only=True)
class Download:
    """A kept file to be saved as `name`, read piece by piece; `etag` changes with its content."""

    path: Path
    kind: str
    name: str
    etag: str


HandlerResponse = PageResponse | RawResponse | PageRedirect | ExternalRedirect | Download
