"""Links of a mail: read from its bytes, and followed as a person and as a mail program do."""

import email
import email.policy
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

from lists.db import Base, Database
from mailer.service import Service
from tests.mailer.web.visitor import FORM, Response, Visitor

URL = re.compile(r"https?://[^\s<>\"]+")
AFTER_A_LINK = ".,;:!?)]}>'"  # programs that find links in plain text omit these at the end
ONE_CLICK = b"List-Unsubscribe=One-Click"
LEADS_ON = (302, 303)


@dataclass(frozen=True, kw_only=True)
class Links:
    """The addresses in one message, by part; `one_click` is "" where there is none."""

    headers: Mapping[str, str]
    text: Sequence[str]
    html: Sequence[str]
    calendar: Sequence[str]
    one_click: str

    @property
    def all(self) -> Sequence[str]:
        """Return each address once, in the order of the message."""
        addresses = [*self.headers.values(), *self.text, *self.html, *self.calendar]
        return list(dict.fromkeys(addresses))


def links(raw: bytes) -> Links:
    """Return every web address in a message, as mail programs find them."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    headers = {}
    for name in ("List-Unsubscribe", "List-Help", "List-Subscribe", "List-Archive"):
        for link in re.findall(r"<(https?://[^>]+)>", str(message[name] or "")):
            headers[name] = link
    parts: dict[str, list[str]] = {
        "text/plain": [],
        "text/html": [],
        "text/calendar": [],
        "application/ics": [],
    }
    for part in message.walk():
        kind = part.get_content_type()
        if kind not in parts:
            continue
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        parts[kind] += _extract_links(kind, payload.decode("utf-8"))
    one_click = message["List-Unsubscribe-Post"] == ONE_CLICK.decode()
    return Links(
        headers=headers,
        text=parts["text/plain"],
        html=parts["text/html"],
        calendar=[*parts["text/calendar"], *parts["application/ics"]],
        one_click=headers["List-Unsubscribe"] if one_click else "",
    )


def _extract_links(kind: str, content: str) -> list[str]:
    if kind == "text/html":
        reader = _Html()
        reader.feed(content)
        return [link for link in reader.links if link.startswith("http")]
    if kind != "text/plain":
        content = content.replace("\r\n ", "").replace("\\n", "\n").replace("\\,", ",").replace("\\;", ";")
    return [address.rstrip(AFTER_A_LINK) for address in URL.findall(content)]


class _Html(HTMLParser):
    """Collects the links of a page, and its forms with their fields and buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the link, form, field or button of this element."""
        attributes = {name: value or "" for name, value in attrs}
        if "href" in attributes:
            self.links.append(attributes["href"])
        if tag == "form":
            self.forms.append(Form(action=attributes.get("action", "")))
        if tag == "input" and self.forms and attributes.get("name"):
            is_submitted = attributes.get("type") not in ("radio", "checkbox") or "checked" in attributes
            if is_submitted:
                self.forms[-1].fields[attributes["name"]] = attributes.get("value", "")
        if tag == "button" and self.forms:
            self.forms[-1].buttons.append((attributes.get("name", ""), attributes.get("value", "")))


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form on a page: its action, the values of its fields, and its buttons as (name, value)."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


def forms(page: Response) -> Sequence[Form]:
    """Return the forms on a page."""
    reader = _Html()
    reader.feed(page.text)
    return reader.forms


@dataclass(frozen=True, kw_only=True)
class Hands:
    """Opens links and presses buttons; `provider` sends from another site, without a cookie."""

    visitor: Visitor
    provider: Visitor

    def look(self, link: str, *, method: str = "GET") -> Response:
        """Open a link of ours and follow redirects within our pages."""
        page = self.visitor.ask(method, _path(link))
        if page.status_code in LEADS_ON and page.headers["location"].startswith("/"):
            page = self.visitor.ask(method, page.headers["location"])
        return page

    def press(self, page: Response, button_value: str = "", **fields: str) -> Response:
        """Press the button with this value, with its form filled in."""
        for form in forms(page):
            for name, value in form.buttons:
                if value == button_value:
                    button = {name: value} if name else {}
                    return self.visitor.post(form.action, {**form.fields, **fields, **button})
        raise AssertionError(f"the page has no button for {button_value}")

    def one_click(self, link: str) -> Response:
        """Post as mailbox providers do (RFC 8058)."""
        headers = {"content-type": FORM, "sec-fetch-site": "cross-site", "origin": "https://mail.example.com"}
        return self.provider.ask("POST", _path(link), [ONE_CLICK], headers)


def _path(link: str) -> str:
    parts = urlsplit(link)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path or "/"


def hands(service: Service, visitor: Visitor) -> Hands:
    """Return the browsers of a person and of a provider for this service."""
    provider = Visitor(service, visitor.clock, client="203.0.113.9", host="mail.example.org")
    return Hands(visitor=visitor, provider=provider)


Row = Mapping[str, Any]
Rows = Mapping[str, Mapping[Any, Row]]


class Shelter:
    """Reads every row of a SQLite database, detects writes, and restores all rows."""

    def __init__(self, database: Database) -> None:
        self._line = sqlite3.connect(database.url.removeprefix("sqlite:///"), isolation_level=None)
        self._line.row_factory = sqlite3.Row

    @property
    def version(self) -> int:
        """Return a number that changes after any other connection has written."""
        (number,) = self._line.execute("PRAGMA data_version").fetchone()
        return int(number)

    def rows(self) -> Rows:
        """Return every row of every table by its primary key, with stored values."""
        tables = {}
        for name, table in Base.metadata.tables.items():
            keys = [column.name for column in table.primary_key.columns]
            rows = [dict(row) for row in self._line.execute(f"SELECT * FROM {name}")]
            tables[name] = {tuple(row[key] for key in keys): row for row in rows}
        return tables

    def put_back(self, before: Rows) -> None:
        """Restore the rows of every table."""
        self._line.execute("BEGIN IMMEDIATE")
        for name, rows in self.rows().items():
            keys = [column.name for column in Base.metadata.tables[name].primary_key.columns]
            condition = " AND ".join(f"{key} = ?" for key in keys)
            for key in rows.keys() | before[name].keys():
                row = before[name].get(key)
                if row == rows.get(key):
                    continue
                self._line.execute(f"DELETE FROM {name} WHERE {condition}", key)
                if row is not None:
                    placeholders = ", ".join("?" * len(row))
                    self._line.execute(f"INSERT INTO {name} VALUES ({placeholders})", tuple(row.values()))
        self._line.execute("COMMIT")


def changes(before: Rows, after: Rows) -> Mapping[str, Sequence[Row]]:
    """Return the rows of `after`, by table, that differ from those before."""
    changed = {
        name: [row for key, row in rows.items() if before[name].get(key) != row]
        for name, rows in after.items()
    }
    return {name: rows for name, rows in changed.items() if rows}
