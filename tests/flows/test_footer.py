"""A mail that was passed on: what its footer opens is language, a break and leaving, and nothing else.

Every route of the application is tried with every button of every page, so a new one is tried by itself.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from sqlalchemy import select

from lists.db import Base
from mailer.service import Service
from mailer.sources.confirmations import ACCESS_LIFETIME
from mailer.web import app
from mailer.web.visit import TEMPLATES
from tests.clocks import StoppedClock
from tests.mailer.web.visitor import FORM, Response, Visitor
from tests.people import Person
from tests.relays import World, deliver

Rows = dict[str, dict[object, dict[str, object]]]
DONE = re.compile(r'name="(\w+)" value="([a-z][a-z0-9-]*)"')  # the buttons and ticks that pages offer
LISTS = ("leave-interest", "leave-organizers", "leave-all")
EVERYTHING = {
    "name": "Mallory",
    "email": "mallory@example.org",
    "zip": "10027",
    "discreet": "yes",
    "version": "1",
    "organization": "Mallory's",
    "answer": "yes",
    "language": "en",
    "List-Unsubscribe": "One-Click",
}
# Where a footer may write, and which columns of rows that are there already.
MAY_CHANGE = {
    "contacts": {"language", "version"},
    "subscriptions": {"state", "round", "left_at", "paused_until"},
}
MAY_ADD = {"absences", "consents", "departures", "subscription_changes", "outbox", "editions"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def rows(service: Service) -> Rows:
    """Everything in the database."""
    with service.database.read() as session:
        return {
            table.name: {
                tuple(row[key.name] for key in table.primary_key.columns): dict(row)
                for row in session.execute(select(table)).mappings()
            }
            for table in Base.metadata.sorted_tables
        }


def changes(before: Rows, after: Rows) -> Iterator[str]:
    """What is another than before: "contacts.name", "consents, more", "contacts, gone"."""
    for name, old in before.items():
        new = after[name]
        if new.keys() - old.keys():
            yield f"{name}, more"
        if old.keys() - new.keys():
            yield f"{name}, gone"
        for key in old.keys() & new.keys():
            yield from (f"{name}.{column}" for column in old[key] if old[key][column] != new[key][column])


def allowed() -> set[str]:
    told = {f"{name}.{column}" for name, columns in MAY_CHANGE.items() for column in columns}
    return told | {f"{name}, more" for name in MAY_ADD}


def buttons() -> list[dict[str, str]]:
    """Every form worth sending: each button and tick of every page, with all the fields there are."""
    found = {pair for path in TEMPLATES.glob("*.html") for pair in DONE.findall(path.read_text("utf-8"))}
    found |= {("do", wish) for wish in (*LISTS, "topics", "discreet", "name", "zip", "export")}
    leaving_last = sorted(found, key=lambda pair: (pair[1].startswith("leave"), pair))
    return [{}, EVERYTHING, *({**EVERYTHING, name: value} for name, value in leaving_last)]


def visits(service: Service, token: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every route, with every form, with this token wherever one can be."""
    for route in app.build(service).routes:
        path = re.sub(r"\{\w+(:\w+)?\}", token, route.path)
        for method in sorted(route.methods - {"HEAD"}):
            if method == "POST" and "{token}" in route.path:
                yield from ((method, path, form) for form in buttons())
            elif method == "GET":
                yield method, f"{path}?{urlencode({**EVERYTHING, 'token': token})}", {}


def visit(visitor: Visitor, method: str, path: str, form: dict[str, str]) -> Response:
    return visitor.ask(method, path, [urlencode(form).encode()], {"content-type": FORM})


@pytest.fixture
def footer(service: Service, world: World, ben: Person, cleo: Person) -> dict[str, str]:
    """The tokens in the footer of the mail that Ben got: verb → token."""
    service.jobs.tick()
    deliver(service, world)
    assert world.arrived == [ben.email]  # and Cleo, who left, got nothing
    text = world.letters[-1].decode().replace("=\r\n", "")
    found = dict(re.findall(r"https?://[^/\s]+/(\w+)/([0-9a-z_]+(?:\.[0-9a-z_]+)+)", text))
    assert set(found) == {"preferences", "unsubscribe"}
    return found


@pytest.mark.parametrize("verb", ["preferences", "unsubscribe"])
def test_a_footer_changes_language_pause_and_leaving_and_shows_nobody(
    service: Service, clock: StoppedClock, footer: dict[str, str], ben: Person, verb: str
) -> None:
    visitor = Visitor(service, clock)
    before, seen = rows(service), set()
    for method, path, form in visits(service, footer[verb]):
        if path.startswith("/postoffice"):
            continue  # there only in a try-out, and only for this machine
        answer = visit(visitor, method, path, form)
        changed = set(changes(before, rows(service)))
        assert changed <= allowed(), f"{method} {path} {form}"
        seen |= changed
        assert ben.email not in answer.text, path
        assert "Phoenix" not in answer.text, path
        assert "/mine/" not in answer.text or path.startswith("/mine/"), path
    added = rows(service)["outbox"].keys() - before["outbox"].keys()
    after = rows(service)
    assert {after["outbox"][key]["kind"] for key in added} <= {"access"}
    assert {"subscriptions.state", "consents, more"} <= seen
    if verb == "preferences":
        assert {"contacts.language", "subscriptions.paused_until", "outbox, more"} <= seen
    said = {str(row["action"]) for key, row in after["consents"].items() if key not in before["consents"]}
    assert said <= {"left", "paused", "resumed", "language"}


def test_a_look_alone_changes_nothing(service: Service, clock: StoppedClock, footer: dict[str, str]) -> None:
    visitor = Visitor(service, clock)
    before = rows(service)
    for token in footer.values():
        for method, path, form in visits(service, token):
            if method == "GET" and not path.startswith("/postoffice"):
                visit(visitor, method, path, form)
                visit(visitor, "HEAD", path, form)
    assert set(changes(before, rows(service))) == set()


def test_after_its_hour_the_one_hour_link_opens_nothing_anywhere(
    service: Service, clock: StoppedClock, ben: Person
) -> None:
    token = service.tokens.profile(ben.id, until=clock.now() + ACCESS_LIFETIME)
    clock.advance(seconds=ACCESS_LIFETIME.total_seconds())
    visitor = Visitor(service, clock)
    before = rows(service)
    tried = 0
    for method, path, form in visits(service, token):
        if f"/{token}" in path and not path.startswith("/postoffice"):
            answer = visit(visitor, method, path, form)
            assert answer.status_code == 404, path
            assert ben.email not in answer.text
            tried += path.startswith("/mine/")
    assert tried > len(buttons())
    assert set(changes(before, rows(service))) == set()
