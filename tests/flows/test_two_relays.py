"""A relay that breaks every rule beside a correct one: the other takes over, nothing is sent twice."""

import asyncio
from collections import Counter

import pytest

from mailer.service import Service
from mailer.smtp.relay_settings import Relay
from tests.peers.polite import polite
from tests.peers.rude import DROP, RESET, rude
from tests.people import Person
from tests.relays import broadcast, crowd, rows, states

MEGABYTE = "250-" + "x" * 1_000_000

BROKEN = {
    "offers TLS and then drops it": ({"EHLO": "250-rude\r\n250 STARTTLS", "STARTTLS": DROP}, "opportunistic"),
    "offers TLS and speaks in clear": (
        {"EHLO": "250-rude\r\n250 STARTTLS", "STARTTLS": "220 go\r\n250 no"},
        "opportunistic",
    ),
    "answers a greeting of a megabyte": ({"greeting": MEGABYTE}, "none"),
    "answers EHLO with a megabyte": ({"EHLO": MEGABYTE}, "none"),
    "answers without a code": ({"MAIL": "what a lovely day"}, "none"),
    "answers in the wrong order": ({"EHLO": "354 go on", "HELO": "354 go on"}, "none"),
    "answers nothing to a greeting but an end": ({"greeting": RESET}, "none"),
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite: this tests the sockets."""
    return sqlite_url


@pytest.mark.parametrize("fault", BROKEN)
async def test_the_other_relay_takes_over_from_one_that(
    fault: str, service: Service, ben: Person, cleo: Person
) -> None:
    moments, tls = BROKEN[fault]
    crowd(service, 40)
    broadcast(service)
    async with rude(moments) as broken, polite() as good:
        relays = [
            Relay(host="127.0.0.1", port=broken.port, tls=tls),  # type: ignore[arg-type]
            Relay(host="127.0.0.1", port=good.port, tls="none"),
        ]
        with service.delivery(relays) as delivery:
            async with asyncio.timeout(30):
                await delivery.run(until_empty=True)
    arrived = Counter(recipient for recipient, _ in good.letters)
    assert states(service) == {"sent": 41}
    assert set(arrived.values()) == {1} and len(arrived) == 41
    assert broken.letters == [] and cleo.email not in arrived
    assert {row.tries for row in rows(service)} == {1}  # none of it cost an attempt
    assert delivery.pools[0].trouble and not delivery.trouble


async def test_a_relay_that_is_gone_in_the_middle_hands_over_to_the_other(
    service: Service, ben: Person
) -> None:
    crowd(service, 60)
    broadcast(service)
    async with rude(then={"MAIL": DROP, "greeting": DROP}) as broken, polite() as good:
        relays = [Relay(host="127.0.0.1", port=each.port, tls="none") for each in (broken, good)]
        with service.delivery(relays) as delivery:
            async with asyncio.timeout(30):
                await delivery.run(until_empty=True)
    assert states(service) == {"sent": 61}
    assert len(broken.letters) + len(good.letters) == 61
