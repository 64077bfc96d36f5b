"""Several relays: each gets its share, a failing one slows no other, and each person gets a message once."""

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from mailer.service import Service
from tests.loops import run
from tests.people import Person
from tests.relays import (
    DOWN,
    SENT,
    World,
    broadcast,
    confirmation,
    crowd,
    deliver,
    make_pool,
    rows,
    states,
    worker,
)


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite: the relay of a message is chosen in memory."""
    return sqlite_url


@pytest.fixture
def other(world: World) -> World:
    """A second relay on the same clock."""
    return World(world.clock, logs=world.logs)


def each_arrived_once(number: int, *worlds: World) -> bool:
    arrived = Counter(recipient for world in worlds for recipient in world.arrived)
    return len(arrived) == number and set(arrived.values()) == {1}


def test_relays_that_work_get_their_shares_by_weight(
    service: Service, world: World, other: World, cleo: Person
) -> None:
    crowd(service, 400)
    broadcast(service)
    world.seconds = other.seconds = 0.05
    deliver(service, world, pools=[make_pool(world, weight=3), make_pool(other, name="other.example:25")])
    assert each_arrived_once(400, world, other)
    assert cleo.email not in world.arrived + other.arrived
    assert (len(world.arrived), len(other.arrived)) == (300, 100)


def test_the_shares_hold_for_a_few_messages_at_a_time_too(
    service: Service, world: World, other: World
) -> None:
    pools = [make_pool(world, weight=2), make_pool(other, name="other.example:25")]
    crowd(service, 30)
    broadcast(service)
    world.seconds = other.seconds = 0.01
    deliver(service, world, pools=pools, connections=1)
    assert (len(world.arrived), len(other.arrived)) == (20, 10)


def test_a_relay_that_is_down_costs_no_attempt_and_the_other_takes_all_of_it_as_fast_as_alone(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 600)
    broadcast(service)
    world.seconds, other.seconds, other.answer = 0.05, 0.02, lambda recipient: DOWN
    start = world.clock.now()
    delivery = deliver(service, world, pools=[make_pool(world), make_pool(other, name="other.example:25")])
    assert each_arrived_once(600, world)
    assert delivery.trouble == "" and delivery.pools[1].trouble == "connection refused"
    assert {(row.state, row.tries) for row in rows(service)} == {("sent", 1)}
    assert len(other.begun) <= 13  # each of its connections once, then a probe after 1, 2, 4 … seconds
    assert world.clock.now() - start < timedelta(seconds=600 * 0.05 / 10 * 1.3)


def test_a_relay_that_hangs_holds_up_only_what_it_has(service: Service, world: World, other: World) -> None:
    crowd(service, 600)
    broadcast(service)
    world.seconds, other.seconds, other.dotted_after = 0.05, 1e6, 1e6
    delivery = worker(service, world, pools=[make_pool(world), make_pool(other, name="other.example:25")])

    async def run_until_stopped() -> None:
        asyncio.get_running_loop().call_later(5.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_until_stopped())
    held_count = len(other.begun)
    assert held_count <= 25  # its connections, then two probes a second
    assert each_arrived_once(600 - held_count, world)
    assert states(service) == {"sent": 600 - held_count, "queued": held_count}


def test_a_relay_that_is_back_is_tried_by_one_message_and_then_gets_its_share_again(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 2_000)
    broadcast(service)
    world.seconds = other.seconds = 0.05
    start = world.clock.monotonic()
    reachable_at = world.clock.now() + timedelta(seconds=4)
    other.answer = lambda recipient: SENT if world.clock.now() >= reachable_at else DOWN
    deliver(service, world, pools=[make_pool(world), make_pool(other, name="other.example:25")])
    assert each_arrived_once(2_000, world, other)
    probe_seconds = [round(at - start - 0.05) for _, at in other.begun if at > start + 0.5][:3]
    assert probe_seconds == [1, 3, 7]  # reachable from second 4 on; one message tested it
    assert len(other.arrived) > 100


def test_nobody_who_waits_is_used_to_try_a_relay_while_another_works(
    service: Service, world: World, other: World, ben: Person
) -> None:
    world.seconds, other.seconds = 0.05, 60.0
    other.answer, other.dotted_after = lambda recipient: DOWN, 60.0
    pools = [make_pool(world), make_pool(other, name="other.example:25")]
    pools[1].trouble = "connection refused"
    confirmation(service, ben)
    deliver(service, world, pools=pools)
    assert world.arrived == [ben.email] and other.begun == []


def test_a_backup_gets_mail_only_while_all_others_are_down(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 100)
    broadcast(service)
    world.seconds = other.seconds = 0.05
    pools = [make_pool(world), make_pool(other, name="backup.example:25", weight=0)]
    deliver(service, world, pools=pools)
    assert other.begun == []
    world.clock.advance(minutes=2)
    broadcast(service)
    world.answer = lambda recipient: DOWN
    deliver(service, world, pools=pools)
    assert len(other.arrived) == 100
    assert states(service) == {"sent": 200}
    world.answer = lambda recipient: SENT
    world.clock.advance(minutes=2)
    broadcast(service)
    deliver(service, world, pools=pools)
    assert len(other.arrived) <= 110  # while one message tested the other relay, for 0.05 s
    assert states(service) == {"sent": 300}


def test_when_all_are_down_the_worker_rests_and_goes_on_with_the_first_that_is_back(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 50)
    broadcast(service)
    reachable_at = world.clock.now() + timedelta(minutes=30)
    world.answer = lambda recipient: DOWN
    other.answer = lambda recipient: SENT if world.clock.now() >= reachable_at else DOWN
    delivery = worker(service, world, pools=[make_pool(world), make_pool(other, name="other.example:25")])

    async def run_for_an_hour() -> None:
        asyncio.get_running_loop().call_later(3600.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_for_an_hour())
    assert each_arrived_once(50, other)
    assert {(row.state, row.tries) for row in rows(service)} == {("sent", 1)}
    assert max(row.sent_at for row in rows(service) if row.sent_at) < reachable_at + timedelta(seconds=62)
    assert len(world.begun) + len(other.begun) < 50 + 250  # by one message a minute each
