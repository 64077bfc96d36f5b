"""Several relays: each gets its share, one in trouble slows nobody, and nobody is lost or mailed twice."""

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
    """SQLite: which relay takes a message is decided in memory."""
    return sqlite_url


@pytest.fixture
def other(world: World) -> World:
    """A second relay on the same clock."""
    return World(world.clock, logs=world.logs)


def everybody_once(number: int, *worlds: World) -> bool:
    arrived = Counter(recipient for world in worlds for recipient in world.arrived)
    return len(arrived) == number and set(arrived.values()) == {1}


def test_relays_that_work_get_their_shares_by_weight(
    service: Service, world: World, other: World, cleo: Person
) -> None:
    crowd(service, 400)
    broadcast(service)
    world.seconds = other.seconds = 0.05
    deliver(service, world, pools=[make_pool(world, weight=3), make_pool(other, name="other.example:25")])
    assert everybody_once(400, world, other)
    assert cleo.email not in world.arrived + other.arrived
    assert (len(world.arrived), len(other.arrived)) == (300, 100)


def test_the_shares_hold_for_a_few_messages_at_a_time_too(
    service: Service, world: World, other: World
) -> None:
    lanes = [make_pool(world, weight=2), make_pool(other, name="other.example:25")]
    crowd(service, 30)
    broadcast(service)
    world.seconds = other.seconds = 0.01
    deliver(service, world, pools=lanes, connections=1)
    assert (len(world.arrived), len(other.arrived)) == (20, 10)


def test_a_relay_that_is_down_costs_no_attempt_and_the_other_takes_all_of_it_as_fast_as_alone(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 600)
    broadcast(service)
    world.seconds, other.seconds, other.answer = 0.05, 0.02, lambda recipient: DOWN
    began = world.clock.now()
    made = deliver(service, world, pools=[make_pool(world), make_pool(other, name="other.example:25")])
    assert everybody_once(600, world)
    assert made.trouble == "" and made.pools[1].trouble == "connection refused"
    assert {(row.state, row.tries) for row in rows(service)} == {("sent", 1)}
    assert len(other.begun) <= 13  # each of its connections once, and then a look after 1, 2, 4 … seconds
    assert world.clock.now() - began < timedelta(seconds=600 * 0.05 / 10 * 1.3)


def test_a_relay_that_hangs_holds_up_only_what_it_has(service: Service, world: World, other: World) -> None:
    crowd(service, 600)
    broadcast(service)
    world.seconds, other.seconds, other.dotted_after = 0.05, 1e6, 1e6
    made = worker(service, world, pools=[make_pool(world), make_pool(other, name="other.example:25")])

    async def stopped() -> None:
        asyncio.get_running_loop().call_later(5.0, made.stop)
        await made.run()

    run(world.clock, stopped())
    held = len(other.begun)
    assert held <= 25  # its connections, and then a look twice a second
    assert everybody_once(600 - held, world)
    assert states(service) == {"sent": 600 - held, "queued": held}


def test_a_relay_that_is_back_is_tried_by_one_message_and_then_gets_its_share_again(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 2_000)
    broadcast(service)
    world.seconds = other.seconds = 0.05
    began = world.clock.monotonic()
    back = world.clock.now() + timedelta(seconds=4)
    other.answer = lambda recipient: SENT if world.clock.now() >= back else DOWN
    deliver(service, world, pools=[make_pool(world), make_pool(other, name="other.example:25")])
    assert everybody_once(2_000, world, other)
    looks = [round(at - began - 0.05) for _, at in other.begun if at > began + 0.5][:3]
    assert looks == [1, 3, 7]  # it was back at 4, and one message found out
    assert len(other.arrived) > 100


def test_nobody_who_waits_is_used_to_try_a_relay_while_another_works(
    service: Service, world: World, other: World, ben: Person
) -> None:
    world.seconds, other.seconds = 0.05, 60.0
    other.answer, other.dotted_after = lambda recipient: DOWN, 60.0
    lanes = [make_pool(world), make_pool(other, name="other.example:25")]
    lanes[1].trouble = "connection refused"
    confirmation(service, ben)
    deliver(service, world, pools=lanes)
    assert world.arrived == [ben.email] and other.begun == []


def test_a_backup_gets_mail_only_while_all_others_are_down(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 100)
    broadcast(service)
    world.seconds = other.seconds = 0.05
    lanes = [make_pool(world), make_pool(other, name="backup.example:25", weight=0)]
    deliver(service, world, pools=lanes)
    assert other.begun == []
    world.clock.advance(minutes=2)
    broadcast(service)
    world.answer = lambda recipient: DOWN
    deliver(service, world, pools=lanes)
    assert len(other.arrived) == 100
    assert states(service) == {"sent": 200}
    world.answer = lambda recipient: SENT
    world.clock.advance(minutes=2)
    broadcast(service)
    deliver(service, world, pools=lanes)
    assert len(other.arrived) <= 110  # while one message tried the other relay, 0.05 s long
    assert states(service) == {"sent": 300}


def test_when_all_are_down_the_worker_rests_and_goes_on_with_the_first_that_is_back(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 50)
    broadcast(service)
    back = world.clock.now() + timedelta(minutes=30)
    world.answer = lambda recipient: DOWN
    other.answer = lambda recipient: SENT if world.clock.now() >= back else DOWN
    made = worker(service, world, pools=[make_pool(world), make_pool(other, name="other.example:25")])

    async def hour() -> None:
        asyncio.get_running_loop().call_later(3600.0, made.stop)
        await made.run()

    run(world.clock, hour())
    assert everybody_once(50, other)
    assert {(row.state, row.tries) for row in rows(service)} == {("sent", 1)}
    assert max(row.sent_at for row in rows(service) if row.sent_at) < back + timedelta(seconds=62)
    assert len(world.begun) + len(other.begun) < 50 + 250  # by one message a minute each
