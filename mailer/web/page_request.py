"""Page requests: what a handler receives, already parsed; and what it returns, a page or a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lists.contacts import LANGUAGES
from mailer.service import Service
from mailer.web import bot_detection, words
from mailer.web.bot_detection import FormTimestamps
from mailer.web.words import Section

TEMPLATES = Path(__file__).parents[2] / "templates" / "web"


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """One request as the handlers receive it.

    `language` is that of the page, `chosen_language` the one requested by `?lang=` or "", `accepted_language`
    the browser's. `now` is the service's time, `real` the machine's, corrected by the database's clock.
    `source` stands for the client's network.
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
        """Return the request in the language of the person it is about, unless the client chose another."""
        return self if self.chosen_language or language not in LANGUAGES else replace(self, language=language)

    def with_language(self, language: str) -> "PageRequest":
        """Return the request in a language that was just stored as the person's choice."""
        return replace(self, language=language, chosen_language=self.chosen_language and language)

    @property
    def form_timestamps(self) -> FormTimestamps:
        """The signer of the time when a form was opened."""
        return FormTimestamps(self.service.keys.links)

    def form_timestamp(self, *, already: bool = False) -> str:
        """Return the timestamp for a form shown now: the one it came with if that is valid, else a new one.

        `already` says that the form was shown before, so that it may be sent at once.
        """
        timestamp = self.form.get("opened", "")
        if timestamp and self.form_timestamps.read(timestamp, now=self.real):
            return timestamp
        return self.form_timestamps.sign(self.real - bot_detection.MIN_FILL_TIME if already else self.real)

    @property
    def is_expired(self) -> bool:
        """The form was opened too long ago, or its timestamp is not ours.

        One without a timestamp is no form of ours, such as one on another page of the campaign; the throttle
        and the confirmation protect against it all the same.
        """
        return "opened" in self.form and self.form_timestamps.read(self.form["opened"], now=self.real) is None

    @property
    def is_automated(self) -> bool:
        """A program filled the form: the hidden field too, or faster than a person can."""
        opened_at = self.form_timestamps.read(self.form.get("opened", ""), now=self.real)
        return bool(self.form.get(bot_detection.HONEYPOT_FIELD)) or (
            opened_at is not None and self.real - opened_at < bot_detection.MIN_FILL_TIME
        )


@dataclass(frozen=True, kw_only=True)
class PageResponse:
    """A page to render: its template, the values it uses, its status; `request` carries the language."""

    request: PageRequest
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, kw_only=True)
class RawResponse:
    """A response that is no page; its headers are added to those of every response."""

    body: bytes
    kind: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PageRedirect:
    """A redirect to another of our own pages (303); `path` is a path of ours, never a text from outside."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    fragment: str = ""


@dataclass(frozen=True, kw_only=True)
class ExternalRedirect:
    """A redirect to a link that staff set (302); it may change at any time."""

    link: str


@dataclass(frozen=True, kw_only=True)
class Download:
    """A stored file to be saved as `name`, read in chunks; `etag` changes with its content."""

    path: Path
    kind: str
    name: str
    etag: str


HandlerResponse = PageResponse | RawResponse | PageRedirect | ExternalRedirect | Download
