"""Every page that neighbors can come to see, walked to without a browser, and what can be read on it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

from mailer.web import app
from mailer.web.routes import STATUSES_WITH_TEXT
from tests import settled
from tests.mailer.web.visitor import Response, Visitor, hidden
from tests.reading import readability
from tests.reading.readability import WORD, Figures

Walk = Callable[[Visitor, Mapping[str, str], str], Response]
SENTENCES = ("p", "li", "h1", "h2", "h3")  # what is read as sentences; the rest are labels and names
EMPTY = ("br", "input", "meta", "link", "hr")
UNSEEN = ("trap", "away", "error")  # a mistake is told twice, at the top and at its field: it counts once
NAMES = ("address", "eyebrow")  # classes of what is no prose: addresses, numbers


def asked(path: str) -> Walk:
    """Open a page."""
    return lambda visitor, links, language: visitor.get(_in(path, language))


def linked(link: str, end: str = "") -> Walk:
    """Open the page behind a link that somebody got."""
    return lambda visitor, links, language: visitor.get(_in(links[link] + end, language))


def pressed(link: str, **form: str) -> Walk:
    """Press a button on the page behind a link."""

    def walk(visitor: Visitor, links: Mapping[str, str], language: str) -> Response:
        path = _in(links[link], language)
        return visitor.post(path, {**hidden(visitor.get(path)), **form})

    return walk


def sent(path: str, **form: str) -> Walk:
    """Send a form after some time."""
    return lambda visitor, links, language: visitor.join(_in(path, language), language=language, **form)


WALKS: dict[str, Walk] = {
    "home": asked("/"),
    "join": asked("/join"),
    "join, mistakes": sent("/join", email="dora@", zip="123"),
    "join, too old": sent("/join", email="dora@example.org", opened=""),
    "join, of a list that staff added": asked("/join/clergy"),
    "join, sent": sent("/join", email="dora@gmial.com"),
    "organize": asked("/organize"),
    "organize, mistakes": sent("/organize", email="", zip="00000"),
    "organize, sent": sent("/organize", email="eva@example.org", organization="St. Mark", zip="10027"),
    "privacy": asked("/privacy"),
    "resources": asked("/resources"),
    "sample": asked("/r/toolkit"),
    "confirm, interest": linked("confirm-interest"),
    "confirm, organizers": linked("confirm-organizers"),
    "confirmed, interest": pressed("confirm-interest"),
    "confirmed, organizers": pressed("confirm-organizers"),
    "confirm, new address": linked("confirm-back"),
    "join, closed": asked("/join/choir"),
    "confirm, added": linked("confirm-added"),
    "confirmed, added": pressed("confirm-added"),
    "unsubscribe, added": linked("unsubscribe-added"),
    "confirm, ended": linked("confirm-ended"),
    "preferences": linked("preferences"),
    "preferences, paused": pressed("preferences", do="pause-30"),
    "preferences, no list": linked("preferences-none"),
    "preferences, mailed": pressed("preferences", do="mine"),
    "preferences, not mailed": pressed("preferences-later", do="mine"),
    "confirmed, new address": pressed("confirm-back"),
    "mine": linked("mine"),
    "mine, saved": pressed("mine", do="save", name="Ana", language="en"),
    "known": linked("mine", "/all"),
    "forget": pressed("mine", do="forget"),
    "unsubscribe": linked("unsubscribe"),
    "unsubscribe, left": pressed("unsubscribe-left"),
    "rsvp": linked("rsvp"),
    "rsvp, nothing chosen": pressed("rsvp"),
    "rsvp, answered": pressed("rsvp", answer="maybe"),
    **{f"refusal {status}": asked(f"/refused/{status}") for status in STATUSES_WITH_TEXT},
    "forgotten": pressed("mine", do="forget-surely"),
}


@dataclass(kw_only=True)
class Read(HTMLParser):
    """What stands on a page: its sentences, all the words a reader sees at once, its first buttons."""

    parts: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    primary: list[str] = field(default_factory=list)
    _open: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Go into an element."""
        if tag in EMPTY:
            return
        classes = dict(attrs).get("class") or ""
        self._open.append((tag, classes))
        if not self._within("main"):
            return
        if tag in SENTENCES:
            self.parts.append("")
        first = tag == "button" and not re.search(r"\b(plain|bare)\b", classes)
        if first or (tag == "a" and classes == "button"):
            self.primary.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        assert self._open.pop()[0] == tag, tag

    def handle_data(self, data: str) -> None:
        """Take in a text."""
        if not self._within("main") or self._of_class(*UNSEEN):
            return
        if not self._within("details") or self._within("summary"):
            self.seen.append(data)
        if any(self._within(tag) for tag in SENTENCES) and not self._of_class(*NAMES):
            self.parts[-1] += data

    def _within(self, tag: str) -> bool:
        return any(name == tag for name, _ in self._open)

    def _of_class(self, *wanted: str) -> bool:
        return any(name in classes.split() for _, classes in self._open for name in wanted)


def read(page: Response) -> Read:
    """Read a page."""
    reader = Read()
    reader.feed(page.text)
    return reader


def figures(page: Response, *, language: str) -> Figures:
    """How long and how easy a page is."""
    found = read(page)
    words = len(WORD.findall(" ".join(found.seen)))
    return readability.figures(found.parts, language=language, words=words)


def walk(visitor: Visitor, *, language: str) -> dict[str, Response]:
    """Visit every page once, in one language: name → what was answered."""
    visitor.app = app.build(visitor.service)
    visitor.app.routes.append(settled.REFUSED)
    links = settled.settle(visitor.service, deliver=lambda: None)
    return {name: go(visitor, links, language) for name, go in WALKS.items()}


def _in(path: str, language: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}lang={language}"
