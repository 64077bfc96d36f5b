"""Delivery to a real relay under both event loops in use: asyncio's and uvloop's."""

import asyncio
import time
from collections import Counter

import pytest

from mailer.reasons import Reason
from mailer.service import Service
from tests.loops import LOOPS
from tests.peers.counting import counting
from tests.peers.stalling import Moment, stalling
from tests.people import Person
from tests.real_delivery import deliver_all, deliver_while, real_worker, until
from tests.relays import World, broadcast, confirmation, crowd, move_to_domain, rows, states

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
    move_to_domain(service, ids[::2], "elsewhere.example")
    broadcast(service)
    confirmation(service, ben)
    with counting() as peer:
        delivery = real_worker(service, peer.port, rate=rate, domains=domains)
        faults = deliver_all(delivery, loop)
    assert faults == []
    assert states(service) == {"sent": 102}
    assert Counter(peer.taken.values()) == {1: 100, 2: 1} and peer.taken[cleo.email] == 0
    assert not [line for line in world.logs if line["log_level"] == "error"]


def test_a_domain_that_is_a_little_slower_than_its_relay_goes_on(
    service: Service, world: World, loop: str, cleo: Person
) -> None:
    """Each claim parked two thousand rows one by one, and meanwhile its own slots became void."""
    crowd(service, 2_100)
    broadcast(service)
    with counting() as peer:
        delivery = real_worker(service, peer.port, rate="400/second", domains=["*=350/second"])

        async def work() -> None:
            running = asyncio.create_task(delivery.run())
            await until(lambda: peer.total >= 60)
            delivery.stop()
            await running

        assert deliver_while(delivery, loop, work) == []
    assert peer.taken[cleo.email] == 0 and set(peer.taken.values()) == {1}


def test_a_look_at_a_moment_that_is_over_ends_no_worker(
    service: Service, world: World, loop: str, cleo: Person
) -> None:
    """uvloop's handle of a moment in the past does not hold this moment."""
    crowd(service, 60)
    broadcast(service)
    with counting() as peer:
        delivery = real_worker(service, peer.port, rate="100/second", connections=3)
        assert deliver_all(delivery, loop) == []
    assert states(service) == {"sent": 60} and peer.taken[cleo.email] == 0


@pytest.mark.parametrize("moment", ["RCPT", "DATA", "dot"])
@pytest.mark.parametrize("shared", [None, 10])
def test_while_ten_stall_at_a_real_relay_a_confirmation_and_the_broadcast_go_on(
    service: Service,
    world: World,
    ben: Person,
    cleo: Person,
    loop: str,
    moment: Moment,
    shared: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mailer.delivery.delivery.DRAIN_SECONDS", 0.2)
    number = 10 if shared is None else 6  # of ten connections two are reserved for urgent mail
    ids = crowd(service, 100 + number)
    for index in range(number):
        move_to_domain(service, [ids[index]], f"stall{index}.example")
    broadcast(service)
    stalls: dict[str, Moment] = {f"n{ids[index]}@stall{index}.example": moment for index in range(number)}
    asked_at: list[float] = []
    with stalling(stalls) as peer:
        delivery = real_worker(service, peer.port, shared=shared)

        async def work() -> None:
            running = asyncio.create_task(delivery.run())
            await until(lambda: len(peer.stalled) >= 6)
            asked_at.append(time.monotonic())
            await asyncio.to_thread(confirmation, service, ben)
            await until(lambda: peer.total >= 102)
            delivery.stop()
            await running

        assert deliver_while(delivery, loop, work) == []
    assert peer.at[ben.email] - asked_at[0] <= 2.0
    assert peer.taken[cleo.email] == 0 and not set(peer.taken) & set(stalls)


def test_what_is_given_up_before_the_dot_is_deferred_and_its_connection_is_gone(
    service: Service, world: World, loop: str, cleo: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailer.delivery.delivery.DRAIN_SECONDS", 0.2)
    monkeypatch.setattr("mailer.delivery.concurrency.SILENCE_SECONDS", 1.5)
    ids = crowd(service, 8)
    for contact_id in ids[:4]:
        move_to_domain(service, [contact_id], f"stall{contact_id}.example")
    broadcast(service)
    stalls: dict[str, Moment] = {f"n{contact_id}@stall{contact_id}.example": "RCPT" for contact_id in ids[:4]}
    with stalling(stalls) as peer:
        delivery = real_worker(service, peer.port, shared=2, connections=2)

        async def work() -> None:
            running = asyncio.create_task(delivery.run())
            await until(lambda: peer.total >= 4)
            delivery.stop()
            await running

        assert deliver_while(delivery, loop, work) == []
    deferred_rows = [row for row in rows(service) if row.tries and row.state == "queued"]
    assert deferred_rows and {row.reason for row in deferred_rows} == {Reason.NO_ANSWER}
    assert "unknown" not in states(service) and peer.most_open <= 3 and peer.taken[cleo.email] == 0
