"""A claim is held by one, given back when it is lost, and never so long that the urgent must wait."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import update

from lists import erasure, subscriptions
from mailer.delivery import delivery, results
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow, Result
from mailer.service import Service
from tests.loops import run
from tests.people import Person
from tests.relays import (
    World,
    broadcast,
    confirmation,
    crowd,
    deliver,
    rows,
    states,
    worker,
)


def rescue(service: Service) -> int:
    return service.jobs.get("rescue").run()


# Leases


def test_the_lease_is_renewed_while_a_slow_server_is_awaited(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    world.seconds, world.dotted_after = 200.0, 1.0
    made = worker(service, world)
    rescued = []

    async def slow() -> None:
        loop = asyncio.get_running_loop()
        for moment in range(15, 200, 15):
            loop.call_later(moment, lambda: rescued.append(rescue(service)))
        await made.run(until_empty=True)

    run(world.clock, slow())
    assert set(rescued) == {0}
    assert world.arrived == [ben.email]
    assert states(service) == {"sent": 1}


def test_what_a_lost_worker_had_claimed_is_unknown_when_its_lease_is_over_and_not_before(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 20)
    broadcast(service)
    with service.database.write() as session:
        until = world.clock.real() + delivery.LEASE
        now = world.clock.now()
        lost = outbox.claim(session, worker="lost", limit=15, now=now, lease_until=until)
    world.clock.advance(seconds=44)
    assert rescue(service) == 0
    world.clock.advance(seconds=2)
    assert rescue(service) == 15
    deliver(service, world)
    assert states(service) == {"sent": 6, "unknown": 15}
    with service.database.write() as session:  # the lost one comes back from the dead
        assert len(outbox.record(session, [results.give_back(entry) for entry in lost], now=now)) == 15
    deliver(service, world)
    assert states(service) == {"sent": 21}


def test_the_outcome_of_a_rescued_message_counts_until_somebody_claims_it_anew(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    now = world.clock.now()
    with service.database.write() as session:
        (entry,) = outbox.claim(session, worker="slow", limit=1, now=now, lease_until=now)
    world.clock.advance(seconds=1)
    assert rescue(service) == 1
    sent = Result(entry=entry, state="sent", costs_attempt=True, address=ben.email, outcome="sent")
    with service.database.write() as session:
        assert outbox.record(session, [sent], now=now) == [sent]
    deliver(service, world)
    assert world.arrived == []


def test_two_workers_share_the_work_and_nobody_is_mailed_twice(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 300)
    broadcast(service)
    world.seconds = 0.05
    pair = [worker(service, world, name=name) for name in ("one", "two")]

    async def both() -> None:
        await asyncio.gather(*(each.run(until_empty=True) for each in pair))

    run(world.clock, both())
    assert states(service) == {"sent": 301}
    assert sorted(Counter(world.arrived).values()) == [1] * 301
    assert all(each.sent > 50 for each in pair)


# Whoever leaves, and whoever is more urgent


@pytest.mark.parametrize("seconds", [0.02, 0.2, 2.0])
def test_whoever_leaves_while_a_slow_update_runs_gets_nothing_that_begins_a_second_later(
    embedded: Service, world: World, seconds: float
) -> None:
    ids = crowd(embedded, 150)
    broadcast(embedded)
    world.seconds = seconds
    made = worker(embedded, world, connections=5)
    left_at = 0.0

    def all_leave() -> None:
        nonlocal left_at
        left_at = world.clock.monotonic()
        with embedded.database.write() as session:
            for each in ids:
                subscriptions.leave(session, contact_id=each, now=embedded.clock.now())

    async def leaving() -> None:
        asyncio.get_running_loop().call_later(seconds * 3.1, all_leave)
        await made.run(until_empty=True)

    run(world.clock, leaving())
    assert [who for who, at in world.begun if at > left_at + 1] == []
    assert set(states(embedded)) == {"sent", "cancelled"}
    assert states(embedded)["cancelled"] > 100


@pytest.mark.parametrize("seconds", [0.05, 0.5])
def test_a_confirmation_overtakes_5000_waiting_updates(
    service: Service, world: World, ben: Person, seconds: float
) -> None:
    crowd(service, 5_000)
    broadcast(service)
    world.seconds = seconds
    made = worker(service, world)
    asked_at = 0.0

    def ask() -> None:
        nonlocal asked_at
        asked_at = world.clock.monotonic()
        world.begun.clear()
        confirmation(service, ben)
        asyncio.get_running_loop().call_later(2.0, made.stop)

    async def asking() -> None:
        asyncio.get_running_loop().call_later(3.05, ask)
        await made.run()

    run(world.clock, asking())
    begun = {row.kind: row.sent_at for row in rows(service) if row.contact_id == ben.id}
    assert begun["confirmation"] is not None
    waited = min(at for who, at in world.begun if who == ben.email) - asked_at
    assert waited <= 1.0 + seconds


def test_a_claim_is_about_half_a_second_of_work_at_the_relay_s_present_rate(
    embedded: Service, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(embedded, 3_000)
    broadcast(embedded)
    world.seconds = 0.05  # ten connections: 200 a second
    sizes = []
    usual = outbox.claim

    def claim(session: Any, **how: Any) -> Any:
        entries = usual(session, **how)
        sizes.append(len(entries))
        return entries

    monkeypatch.setattr(outbox, "claim", claim)
    made = worker(embedded, world)

    async def a_while() -> None:
        asyncio.get_running_loop().call_later(8.0, made.stop)
        await made.run()

    run(world.clock, a_while())
    assert sizes[0] == 10
    assert 80 <= max(sizes) <= 160
    assert made.sent > 0.9 * 8 * 200


def test_somebody_forgotten_in_the_middle_gets_nothing_and_stops_nobody(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 60)
    broadcast(service)
    world.seconds = 0.2
    made = worker(service, world, connections=2)

    def forget() -> None:
        with service.database.write() as session:
            erasure.erase_person(session, ben.address, now=service.clock.now(), actor="test")

    async def forgetting_ben() -> None:
        asyncio.get_running_loop().call_later(0.1, forget)
        await made.run(until_empty=True)

    with service.database.write() as session:  # Ben's turn comes last
        session.execute(
            update(OutboxRow).where(OutboxRow.contact_id == ben.id).values(due_at=service.clock.now())
        )
        session.execute(update(OutboxRow).where(OutboxRow.contact_id != ben.id).values(priority=0))
    run(world.clock, forgetting_ben())
    assert ben.email not in world.arrived
    assert states(service) == {"sent": 60}
