"""Claims: one worker holds a claim, a lost one is returned, and none is so long that urgent mail waits."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import update

from lists import subscriptions
from lists.identity import erasure
from mailer.delivery import delivery, results
from mailer.outbox import due_rows, outbox
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
    process = worker(service, world)
    rescue_counts = []

    async def run_with_rescues() -> None:
        loop = asyncio.get_running_loop()
        for moment in range(15, 200, 15):
            loop.call_later(moment, lambda: rescue_counts.append(rescue(service)))
        await process.run(until_empty=True)

    run(world.clock, run_with_rescues())
    assert set(rescue_counts) == {0}
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
        entries = due_rows.claim(session, worker="lost", limit=15, now=now, lease_until=until)
    world.clock.advance(seconds=44)
    assert rescue(service) == 0
    world.clock.advance(seconds=2)
    assert rescue(service) == 15
    deliver(service, world)
    assert states(service) == {"sent": 6, "unknown": 15}
    with service.database.write() as session:  # the lost worker is reachable again
        assert len(outbox.record(session, [results.give_back(entry) for entry in entries], now=now)) == 15
    deliver(service, world)
    assert states(service) == {"sent": 21}


def test_the_outcome_of_a_rescued_message_counts_until_somebody_claims_it_anew(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    now = world.clock.now()
    with service.database.write() as session:
        (entry,) = due_rows.claim(session, worker="slow", limit=1, now=now, lease_until=now)
    world.clock.advance(seconds=1)
    assert rescue(service) == 1
    result = Result(entry=entry, state="sent", counts_as_try=True, address=ben.email, outcome="sent")
    with service.database.write() as session:
        assert outbox.record(session, [result], now=now) == [result]
    deliver(service, world)
    assert world.arrived == []


def test_two_workers_share_the_work_and_nobody_is_mailed_twice(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 300)
    broadcast(service)
    world.seconds = 0.05
    processes = [worker(service, world, name=name) for name in ("one", "two")]

    async def run_both() -> None:
        await asyncio.gather(*(process.run(until_empty=True) for process in processes))

    run(world.clock, run_both())
    assert states(service) == {"sent": 301}
    assert sorted(Counter(world.arrived).values()) == [1] * 301
    assert all(process.sent > 50 for process in processes)


# People who leave, and more urgent messages


@pytest.mark.parametrize("seconds", [0.02, 0.2, 2.0])
def test_whoever_leaves_while_a_slow_update_runs_gets_nothing_that_begins_a_second_later(
    embedded: Service, world: World, seconds: float
) -> None:
    ids = crowd(embedded, 150)
    broadcast(embedded)
    world.seconds = seconds
    process = worker(embedded, world, connections=5)
    left_at = 0.0

    def leave_all() -> None:
        nonlocal left_at
        left_at = world.clock.monotonic()
        with embedded.database.write() as session:
            for contact_id in ids:
                subscriptions.leave(session, contact_id=contact_id, now=embedded.clock.now())

    async def run_while_all_leave() -> None:
        asyncio.get_running_loop().call_later(seconds * 3.1, leave_all)
        await process.run(until_empty=True)

    run(world.clock, run_while_all_leave())
    assert [recipient for recipient, at in world.begun if at > left_at + 1] == []
    assert set(states(embedded)) == {"sent", "cancelled"}
    assert states(embedded)["cancelled"] > 100


@pytest.mark.parametrize("seconds", [0.05, 0.5])
def test_a_confirmation_overtakes_5000_waiting_updates(
    service: Service, world: World, ben: Person, seconds: float
) -> None:
    crowd(service, 5_000)
    broadcast(service)
    world.seconds = seconds
    process = worker(service, world)
    asked_at = 0.0

    def ask() -> None:
        nonlocal asked_at
        asked_at = world.clock.monotonic()
        world.begun.clear()
        confirmation(service, ben)
        asyncio.get_running_loop().call_later(2.0, process.stop)

    async def run_while_ben_asks() -> None:
        asyncio.get_running_loop().call_later(3.05, ask)
        await process.run()

    run(world.clock, run_while_ben_asks())
    sent_at_by_kind = {row.kind: row.sent_at for row in rows(service) if row.contact_id == ben.id}
    assert sent_at_by_kind["confirmation"] is not None
    wait = min(at for recipient, at in world.begun if recipient == ben.email) - asked_at
    assert wait <= 1.0 + seconds


def test_a_claim_is_about_half_a_second_of_work_at_the_relay_s_present_rate(
    embedded: Service, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(embedded, 3_000)
    broadcast(embedded)
    world.seconds = 0.05  # ten connections: 200 a second
    sizes = []
    original_claim = due_rows.claim

    def claim(session: Any, **options: Any) -> Any:
        entries = original_claim(session, **options)
        sizes.append(len(entries))
        return entries

    monkeypatch.setattr(due_rows, "claim", claim)
    process = worker(embedded, world)

    async def run_for_8_seconds() -> None:
        asyncio.get_running_loop().call_later(8.0, process.stop)
        await process.run()

    run(world.clock, run_for_8_seconds())
    assert sizes[0] == 10
    assert 80 <= max(sizes) <= 160
    assert process.sent > 0.9 * 8 * 200


def test_somebody_forgotten_in_the_middle_gets_nothing_and_stops_nobody(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 60)
    broadcast(service)
    world.seconds = 0.2
    process = worker(service, world, connections=2)

    def erase_ben() -> None:
        with service.database.write() as session:
            erasure.erase_person(session, ben.address, now=service.clock.now(), actor="test")

    async def run_while_ben_is_erased() -> None:
        asyncio.get_running_loop().call_later(0.1, erase_ben)
        await process.run(until_empty=True)

    with service.database.write() as session:  # Ben's message is last
        session.execute(
            update(OutboxRow).where(OutboxRow.contact_id == ben.id).values(due_at=service.clock.now())
        )
        session.execute(update(OutboxRow).where(OutboxRow.contact_id != ben.id).values(priority=0))
    run(world.clock, run_while_ben_is_erased())
    assert ben.email not in world.arrived
    assert states(service) == {"sent": 60}
