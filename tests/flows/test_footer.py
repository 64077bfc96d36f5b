"""A forwarded mail: its footer gives access to language, a pause and leaving, and nothing else.

Every route of the application is requested with every button of every page, so a new one is included.
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
from mailer.web.page_request import TEMPLATES
from tests.clocks import StoppedClock
from tests.mailer.web.visitor import FORM, Response, Visitor
from tests.people import Person
from tests.relays import World, deliver

Rows = dict[str, dict[object, dict[str, object]]]
BUTTON_PATTERN = re.compile(
    r'name="(\w+)" value="([a-z][a-z0-9-]*)"'
)  # the buttons and ticks that pages offer
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
# The tables that a footer may change, and the columns of existing rows.
MAY_CHANGE = {
    "contacts": {"language", "version"},
    "subscriptions": {"state", "round", "left_at", "paused_until"},
}
MAY_ADD = {"absences", "consents", "departures", "subscription_changes", "outbox", "editions"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def rows(service: Service) -> Rows:
    """Return every row of the database."""
    with service.database.read() as session:
        return {
            table.name: {
                tuple(row[key.name] for key in table.primary_key.columns): dict(row)
                for row in session.execute(select(table)).mappings()
            }
            for table in Base.metadata.sorted_tables
        }


def changes(before: Rows, after: Rows) -> Iterator[str]:
    """Yield the differences: "contacts.name", "consents, more", "contacts, gone"."""
    for name, old in before.items():
        new = after[name]
        if new.keys() - old.keys():
            yield f"{name}, more"
        if old.keys() - new.keys():
            yield f"{name}, gone"
        for key in old.keys() & new.keys():
            yield from (f"{name}.{column}" for column in old[key] if old[key][column] != new[key][column])


def allowed() -> set[str]:
    columns_by_table = {f"{name}.{column}" for name, columns in MAY_CHANGE.items() for column in columns}
    return columns_by_table | {f"{name}, more" for name in MAY_ADD}


def buttons() -> list[dict[str, str]]:
    """Return every form worth sending: each button and tick of every page, with all known fields."""
    pairs = {
        pair for path in TEMPLATES.glob("*.html") for pair in BUTTON_PATTERN.findall(path.read_text("utf-8"))
    }
    pairs |= {("do", value) for value in (*LISTS, "topics", "discreet", "name", "zip", "export")}
    leaving_last = sorted(pairs, key=lambda pair: (pair[1].startswith("leave"), pair))
    return [{}, EVERYTHING, *({**EVERYTHING, name: value} for name, value in leaving_last)]


def list_requests(service: Service, token: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield every route, with every form, with this token wherever one can be."""
    for route in app.build(service).routes:
        path = re.sub(r"\{\w+(:\w+)?\}", token, route.path)
        for method in sorted(route.methods - {"HEAD"}):
            if method == "POST" and "{token}" in route.path:
                yield from ((method, path, form) for form in buttons())
            elif method == "GET":
                yield method, f"{path}?{urlencode({**EVERYTHING, 'token': token})}", {}


def send_request(visitor: Visitor, method: str, path: str, form: dict[str, str]) -> Response:
    return visitor.ask(method, path, [urlencode(form).encode()], {"content-type": FORM})


@pytest.fixture
def footer(service: Service, world: World, ben: Person, cleo: Person) -> dict[str, str]:
    """The tokens in the footer of the mail that Ben got: verb → token."""
    service.jobs.tick()
    deliver(service, world)
    assert world.arrived == [ben.email]  # and Cleo, who left, got nothing
    text = world.letters[-1].decode().replace("=\r\n", "")
    tokens = dict(re.findall(r"https?://[^/\s]+/(\w+)/([0-9a-z_]+(?:\.[0-9a-z_]+)+)", text))
    assert set(tokens) == {"preferences", "unsubscribe"}
    return tokens


@pytest.mark.parametrize("verb", ["preferences", "unsubscribe"])
def test_a_footer_changes_language_pause_and_leaving_and_shows_nobody(
    service: Service, clock: StoppedClock, footer: dict[str, str], ben: Person, verb: str
) -> None:
    visitor = Visitor(service, clock)
    before, observed = rows(service), set()
    for method, path, form in list_requests(service, footer[verb]):
        if path.startswith("/postoffice"):
            continue  # there only in a try-out, and only for this machine
        answer = send_request(visitor, method, path, form)
        changed = set(changes(before, rows(service)))
        assert changed <= allowed(), f"{method} {path} {form}"
        observed |= changed
        assert ben.email not in answer.text, path
        assert "Phoenix" not in answer.text, path
        assert "/mine/" not in answer.text or path.startswith("/mine/"), path
    new_keys = rows(service)["outbox"].keys() - before["outbox"].keys()
    after = rows(service)
    assert {after["outbox"][key]["kind"] for key in new_keys} <= {"access"}
    assert {"subscriptions.state", "consents, more"} <= observed
    if verb == "preferences":
        assert {"contacts.language", "subscriptions.paused_until", "outbox, more"} <= observed
    actions = {str(row["action"]) for key, row in after["consents"].items() if key not in before["consents"]}
    assert actions <= {"left", "paused", "resumed", "language"}


def test_a_look_alone_changes_nothing(service: Service, clock: StoppedClock, footer: dict[str, str]) -> None:
    visitor = Visitor(service, clock)
    before = rows(service)
    for token in footer.values():
        for method, path, form in list_requests(service, token):
            if method == "GET" and not path.startswith("/postoffice"):
                send_request(visitor, method, path, form)
                send_request(visitor, "HEAD", path, form)
    assert set(changes(before, rows(service))) == set()


def test_after_its_hour_the_one_hour_link_opens_nothing_anywhere(
    service: Service, clock: StoppedClock, ben: Person
) -> None:
    token = service.tokens.sign_profile(ben.id, until=clock.now() + ACCESS_LIFETIME)
    clock.advance(seconds=ACCESS_LIFETIME.total_seconds())
    visitor = Visitor(service, clock)
    before = rows(service)
    request_count = 0
    for method, path, form in list_requests(service, token):
        if f"/{token}" in path and not path.startswith("/postoffice"):
            answer = send_request(visitor, method, path, form)
            assert answer.status_code == 404, path
            assert ben.email not in answer.text
            request_count += path.startswith("/mine/")
    assert request_count > len(buttons())
    assert set(changes(before, rows(service))) == set()
