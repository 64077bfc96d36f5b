"""Every page that neighbors can open, reached without a browser, and the text on it."""

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
SENTENCES = ("p", "li", "h1", "h2", "h3")  # the text of these is sentences; the rest are labels and names
EMPTY = ("br", "input", "meta", "link", "hr")
UNSEEN = ("trap", "away", "error")  # a mistake is shown twice, at the top and at its field: it counts once
NAMES = ("address", "eyebrow")  # classes of text that is no prose: addresses, numbers


def open_page(path: str) -> Walk:
    """Open a page."""
    return lambda visitor, links, language: visitor.get(_in(path, language))


def open_link(link: str, end: str = "") -> Walk:
    """Open the page of a link in a mail."""
    return lambda visitor, links, language: visitor.get(_in(links[link] + end, language))


def press_button(link: str, **form: str) -> Walk:
    """Press a button on the page of a link."""

    def walk(visitor: Visitor, links: Mapping[str, str], language: str) -> Response:
        path = _in(links[link], language)
        return visitor.post(path, {**hidden(visitor.get(path)), **form})

    return walk


def send_form(path: str, **form: str) -> Walk:
    """Send a form after some time."""
    return lambda visitor, links, language: visitor.join(_in(path, language), language=language, **form)


WALKS: dict[str, Walk] = {
    "home": open_page("/"),
    "join": open_page("/join"),
    "join, mistakes": send_form("/join", email="dora@", zip="123"),
    "join, too old": send_form("/join", email="dora@example.org", opened=""),
    "join, of a list that staff added": open_page("/join/clergy"),
    "join, sent": send_form("/join", email="dora@gmial.com"),
    "organize": open_page("/organize"),
    "organize, mistakes": send_form("/organize", email="", zip="00000"),
    "organize, sent": send_form("/organize", email="eva@example.org", organization="St. Mark", zip="10027"),
    "privacy": open_page("/privacy"),
    "resources": open_page("/resources"),
    "sample": open_page("/r/toolkit"),
    "confirm, interest": open_link("confirm-interest"),
    "confirm, organizers": open_link("confirm-organizers"),
    "confirmed, interest": press_button("confirm-interest"),
    "confirmed, organizers": press_button("confirm-organizers"),
    "confirm, new address": open_link("confirm-back"),
    "join, closed": open_page("/join/choir"),
    "confirm, added": open_link("confirm-added"),
    "confirmed, added": press_button("confirm-added"),
    "unsubscribe, added": open_link("unsubscribe-added"),
    "confirm, ended": open_link("confirm-ended"),
    "preferences": open_link("preferences"),
    "preferences, paused": press_button("preferences", do="pause-30"),
    "preferences, no list": open_link("preferences-none"),
    "preferences, mailed": press_button("preferences", do="mine"),
    "preferences, not mailed": press_button("preferences-later", do="mine"),
    "confirmed, new address": press_button("confirm-back"),
    "mine": open_link("mine"),
    "mine, saved": press_button("mine", do="save", name="Ana", language="en"),
    "known": open_link("mine", "/all"),
    "forget": press_button("mine", do="forget"),
    "unsubscribe": open_link("unsubscribe"),
    "unsubscribe, left": press_button("unsubscribe-left"),
    "rsvp": open_link("rsvp"),
    "rsvp, nothing chosen": press_button("rsvp"),
    "rsvp, answered": press_button("rsvp", answer="maybe"),
    **{f"refusal {status}": open_page(f"/refused/{status}") for status in STATUSES_WITH_TEXT},
    "forgotten": press_button("mine", do="forget-surely"),
}


@dataclass(kw_only=True)
class Read(HTMLParser):
    """The text of a page: its sentences, all the words that are visible at once, its first buttons."""

    parts: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    primary: list[str] = field(default_factory=list)
    _open: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        HTMLParser.__init__(self)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter an element."""
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
        """Collect a text."""
        if not self._within("main") or self._of_class(*UNSEEN):
            return
        if not self._within("details") or self._within("summary"):
            self.seen.append(data)
        if any(self._within(tag) for tag in SENTENCES) and not self._of_class(*NAMES):
            self.parts[-1] += data

    def _within(self, tag: str) -> bool:
        return any(name == tag for name, _ in self._open)

    def _of_class(self, *class_names: str) -> bool:
        return any(name in classes.split() for _, classes in self._open for name in class_names)


def read(page: Response) -> Read:
    """Parse a page."""
    reader = Read()
    reader.feed(page.text)
    return reader


def figures(page: Response, *, language: str) -> Figures:
    """Return how long and how easy a page is."""
    text = read(page)
    words = len(WORD.findall(" ".join(text.seen)))
    return readability.figures(text.parts, language=language, words=words)


def walk(visitor: Visitor, *, language: str) -> dict[str, Response]:
    """Open every page once, in one language: name → response."""
    visitor.app = app.build(visitor.service)
    visitor.app.routes.append(settled.REFUSED)
    links = settled.settle(visitor.service, deliver=lambda: None)
    return {name: go(visitor, links, language) for name, go in WALKS.items()}


def _in(path: str, language: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}lang={language}"
