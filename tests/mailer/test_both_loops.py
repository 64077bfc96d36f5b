"""Delivery to a real relay under both event loops that people run it with: asyncio's and uvloop's."""

from collections import Counter

import pytest

from mailer.service import Service
from tests.loops import LOOPS
from tests.peers.counting import counting
from tests.people import Person
from tests.real_delivery import deliver_all, real_worker
from tests.relays import World, broadcast, confirmation, crowd, elsewhere, states

pytestmark = [
    pytest.mark.parametrize("loop", LOOPS),
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]


@pytest.mark.parametrize("rate", [None, "200/second"])
@pytest.mark.parametrize("domains", [(), ("crowd.example=100/second", "*=200/second")])
def test_everybody_gets_it_once_with_and_without_limits(
    service: Service, world: World, ben: Person, cleo: Person, loop: str, rate: str | None, domains: list[str]
) -> None:
    ids = crowd(service, 100)
    elsewhere(service, ids[::2], "elsewhere.example")
    broadcast(service)
    confirmation(service, ben)
    with counting() as peer:
        made = real_worker(service, peer.port, rate=rate, domains=domains)
        faults = deliver_all(made, loop)
    assert faults == []
    assert states(service) == {"sent": 102}
    assert Counter(peer.taken.values()) == {1: 100, 2: 1} and peer.taken[cleo.email] == 0
    assert not [each for each in world.logs if each["log_level"] == "error"]


def test_a_look_at_a_moment_that_is_over_ends_no_worker(
    service: Service, world: World, loop: str, cleo: Person
) -> None:
    """uvloop's handle of a moment in the past cannot tell which one it was."""
    crowd(service, 60)
    broadcast(service)
    with counting() as peer:
        made = real_worker(service, peer.port, rate="100/second", connections=3)
        assert deliver_all(made, loop) == []
    assert states(service) == {"sent": 60} and peer.taken[cleo.email] == 0
