"""A program that signs people up by real requests: how many mails it can cause, to the mail.

A form is answered at once here; the pause before each answer is tested in tests/mailer/web/test_join.py.
"""

import http.client
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from lists import addresses, contacts, subscriptions
from mailer.coordination import signup_throttle
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from mailer.settings.loading import Settings
from mailer.web import app, routes
from tests import served
from tests.people import PEPPER

ROBOTS = 8  # connections at a time
TRIES = 1_000
Form = dict[str, str]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A proxy on this machine is trusted, so that one machine can stand for many networks."""
    return settings.model_copy(update={"port": served.free_port(), "trusted_proxies": ("127.0.0.1",)})


@pytest.fixture
def port(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(routes, "RESPONSE_STEP_SECONDS", 0.001)
    with served.serving(app.build(service), service.settings):
        yield service.settings.port


def send(port: int, requests: Iterable[tuple[str, str, Form]]) -> Counter[int]:
    """Send forms as a script does: (path, network, form) each; returns the number of each status."""
    all_requests = list(requests)

    def robot(assigned: list[tuple[str, str, Form]]) -> Counter[int]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        statuses: Counter[int] = Counter()
        for path, network, form in assigned:
            headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-For": network}
            connection.request("POST", path, urlencode(form), headers)
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
        connection.close()
        return statuses

    with ThreadPoolExecutor(ROBOTS) as robots:
        batches = [all_requests[number::ROBOTS] for number in range(ROBOTS)]
        return sum(robots.map(robot, batches), start=Counter())


def network(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def mails(service: Service) -> dict[str, int]:
    with service.database.read() as session:
        rows = session.execute(select(OutboxRow.list, func.count().label("number")).group_by(OutboxRow.list))
        return {row.list: row.number for row in rows}


def test_a_thousand_addresses_from_one_network_make_sixty_mails(service: Service, port: int) -> None:
    with capture_logs() as logs:
        statuses = send(
            port,
            [("/join", "203.0.113.9", {"email": f"p{each}@example.org"}) for each in range(TRIES)],
        )
    assert statuses == {
        200: signup_throttle.SIGNUPS_PER_NETWORK,
        429: TRIES - signup_throttle.SIGNUPS_PER_NETWORK,
    }
    assert mails(service) == {"interest": 60}
    assert [line["event"] for line in logs] == ["sign-ups from one network are turned away for this hour"]


def test_one_address_a_thousand_times_from_one_network_makes_one_mail(service: Service, port: int) -> None:
    statuses = send(port, [("/join", "203.0.113.9", {"email": "dora@example.org"})] * TRIES)
    assert statuses == {200: 60, 429: 940}
    assert mails(service) == {"interest": 1}


def test_one_address_a_thousand_times_from_everywhere_makes_one_mail_a_list(
    service: Service, port: int
) -> None:
    form = {"email": "dora@example.org", "organization": "St. Mark", "zip": "10027"}
    paths = ("/join", "/organize")
    statuses = send(port, [(paths[each % 2], network(each), form) for each in range(TRIES)])
    assert statuses == {200: TRIES}
    assert mails(service) == {"interest": 1, "organizers": 1}


def test_who_leaves_and_is_signed_up_again_all_day_gets_three(service: Service, port: int) -> None:
    form = {"email": "dora@example.org", "organization": "St. Mark", "zip": "10027"}
    address = addresses.parse("dora@example.org", pepper=PEPPER)
    for each in range(10):
        send(port, [(path, network(each), form) for path in ("/join", "/organize")])
        with service.database.write() as session:
            contact = contacts.find(session, address)
            assert contact is not None
            subscriptions.leave(session, contact_id=contact.id, now=service.clock.now())
    assert sum(mails(service).values()) == 3


def test_hundreds_of_spellings_of_one_mailbox_from_everywhere_make_three_mails(
    service: Service, port: int
) -> None:
    forms: list[Form] = [{"email": f"dora+{each}@example.org"} for each in range(300)]
    statuses = send(port, [("/join", network(each), form) for each, form in enumerate(forms)])
    assert statuses == {200: 300}
    assert mails(service) == {"interest": 3}


def test_hundreds_of_addresses_from_everywhere_are_stopped_by_the_brake_of_all(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signup_throttle, "SIGNUPS_TOTAL", 100)  # 3,000 in earnest, which takes long
    with capture_logs() as logs:
        statuses = send(
            port, [("/join", network(each), {"email": f"p{each}@example.org"}) for each in range(300)]
        )
    assert statuses == {200: 100, 429: 200}
    assert mails(service) == {"interest": 100}
    assert [line["event"] for line in logs] == ["sign-ups from everywhere are turned away for this hour"]
