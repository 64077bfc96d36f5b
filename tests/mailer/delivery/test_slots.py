"""Slots of several relays, and of relays and domains together: no limit blocks another for ever."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from lists.contacts import Contact
from mailer.delivery.relay_pool import RelayPool
from mailer.service import Service
from mailer.smtp.rate import Rate
from tests.loops import run
from tests.people import Person
from tests.relays import (
    World,
    broadcast,
    confirmation,
    count_most,
    crowd,
    make_pool,
    move_to_domain,
    rows,
    states,
    worker,
)


def test_a_limited_relay_goes_on_beside_a_limited_one_that_only_stands_by(
    service: Service, world: World
) -> None:
    other = World(world.clock, logs=world.logs)
    crowd(service, 8)
    broadcast(service)
    standby_pool = make_pool(other, name="b.standing-by.example:25", weight=0, rate="5/second")
    active_pool = make_pool(world, name="a.relay.example:25", rate="5/second")

    async def run_for_a_minute(pools: Sequence[RelayPool]) -> None:
        delivery = worker(service, world, pools=pools)
        asyncio.get_running_loop().call_later(60.0, delivery.stop)
        await delivery.run(until_empty=True)

    run(world.clock, run_for_a_minute([active_pool, standby_pool]))
    assert states(service) == {"sent": 8}
    assert not other.arrived


def test_a_relay_of_few_slots_and_a_domain_of_short_ones_do_not_miss_each_other_for_ever(
    service: Service, world: World
) -> None:
    """The slot of the domain would always be void before the relay's begins, a little later."""
    crowd(service, 8)
    broadcast(service)
    pools = [make_pool(world, rate="40/minute")]
    delivery = worker(service, world, pools=pools, domains=["crowd.example=2/second"])

    async def run_for_a_minute() -> None:
        asyncio.get_running_loop().call_later(60.0, delivery.stop)
        await delivery.run(until_empty=True)

    run(world.clock, run_for_a_minute())
    assert states(service) == {"sent": 8}


def test_who_waits_for_a_slot_of_their_domain_finds_one_of_a_limited_relay_then(
    service: Service, world: World, ben: Person
) -> None:
    """A relay's slot is short; half a second before the domain's slot, it would always be void."""
    for number in crowd(service, 4):
        confirmation(service, replace(ben, id=number))
    delivery = worker(
        service, world, pools=[make_pool(world, rate="5/second")], domains=["crowd.example=10/minute"]
    )

    async def run_for_a_minute() -> None:
        asyncio.get_running_loop().call_later(60.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_for_a_minute())
    assert states(service) == {"sent": 4}


def test_a_message_whose_slot_is_over_takes_none_from_those_that_come_after(
    service: Service, world: World
) -> None:
    """Otherwise each slot of the relay is used by a message that is too late for its domain."""
    people = crowd(service, 12)
    with service.database.write() as session:
        for number in people:
            person = session.get_one(Contact, number)
            person.email = person.email_key = f"n{number}@place{number % 4}.example"
    broadcast(service)
    world.opening = 0.15  # longer than a slot: the first message of a connection is late
    pools = [make_pool(world, rate="5/second", connections=2)]
    delivery = worker(service, world, pools=pools, domains=["*=2/second"])

    async def run_for_a_minute() -> None:
        asyncio.get_running_loop().call_later(60.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_for_a_minute())
    assert states(service) == {"sent": 12}


@pytest.mark.parametrize("relay", ["3/second", "5/second"])
@pytest.mark.parametrize("domain", ["2/second", "31/minute"])
def test_where_relay_and_domain_are_limited_each_message_finds_a_moment_that_is_right_for_both(
    service: Service, world: World, relay: str, domain: str
) -> None:
    ids = crowd(service, 24)
    move_to_domain(service, ids[:8], "one.example")
    move_to_domain(service, ids[8:16], "two.example")
    broadcast(service)
    limited_pool = make_pool(world, rate=relay)
    delivery = worker(
        service, world, pools=[limited_pool], domains=[f"one.example={domain}", f"two.example={domain}"]
    )

    async def run_for_40_seconds() -> None:
        asyncio.get_running_loop().call_later(40.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_for_40_seconds())
    assert states(service) == {"sent": 24}
    rate = Rate.parse(relay)
    assert count_most([moment for _, moment in world.begun], rate.period.total_seconds()) <= rate.limit
    assert sum(row.attempt for row in rows(service)) < 24 * 4  # no row is claimed again and again in vain
