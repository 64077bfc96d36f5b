"""Delivery: each person gets a message once, whatever fault the relay or the program has; Cleo gets none."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from lists import subscriptions
from mailer.delivery.relay_pool import RelayPool
from mailer.outbox import attempts, due_rows
from mailer.reasons import Reason
from mailer.service import Service
from mailer.smtp.connection import Outcome
from tests.loops import run
from tests.people import Person
from tests.relays import (
    DOWN,
    LATER,
    LOST,
    REFUSED,
    SENT,
    Scripted,
    World,
    broadcast,
    confirmation,
    crowd,
    deliver,
    move_to_domain,
    rows,
    states,
    worker,
)

both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, and PostgreSQL too where a test is marked `both`: the outbox's own tests run on each."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


# The relay's replies


def test_ben_gets_the_update_in_his_language_and_cleo_gets_nothing(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    broadcast(service)
    delivery = deliver(service, world)
    assert world.arrived == [ben.email]
    assert delivery.sent == 1
    assert states(service) == {"sent": 1}
    (row,) = rows(service)
    assert (row.sent_at, row.worker, row.lease_until) == (world.clock.now(), None, None)
    with service.database.read() as session:
        (attempt,) = attempts.list_for_row(session, row.id)
    assert (attempt.address, attempt.outcome, attempt.code) == (ben.email, "sent", 250)


@both
@pytest.mark.parametrize(
    ("outcome", "state", "tries", "reason"),
    [
        (SENT, "sent", 1, ""),
        (LATER, "queued", 1, Reason.DEFERRED),
        (REFUSED, "failed", 1, Reason.REFUSED),
        (DOWN, "queued", 0, Reason.RELAY_UNREACHABLE),
        (LOST, "unknown", 1, Reason.CONNECTION_BROKEN),
    ],
)
def test_each_answer_of_the_relay_leads_to_its_state(
    service: Service, world: World, ben: Person, outcome: Outcome, state: str, tries: int, reason: str
) -> None:
    broadcast(service)
    world.answer = lambda recipient: outcome
    deliver(service, world)
    (row,) = rows(service)
    assert (row.state, row.tries, row.reason) == (state, tries, reason)
    assert (row.worker, row.lease_until) == (None, None)


def test_4xx_is_tried_again_after_5_10_20_40_and_then_every_66_minutes_until_it_is_too_late(
    embedded: Service, world: World
) -> None:
    crowd(embedded, 1)
    broadcast(embedded)
    world.answer = lambda recipient: LATER
    start = world.clock.now()
    gaps = []
    while world.clock.now() < start + timedelta(days=6):
        deliver(embedded, world)
        (row,) = rows(embedded)
        gap = row.due_at - world.clock.now()
        if gap <= timedelta(0):
            break
        gaps.append(gap // timedelta(minutes=1))
        world.clock.advance(seconds=gap.total_seconds())
    assert gaps[:6] == [5, 10, 20, 40, 66, 66]
    assert len(world.begun) == 112  # 66 minutes apart for five days, which no doubling may overflow
    assert row.state == "queued"
    embedded.jobs.get("expire").run()
    assert states(embedded) == {"expired": 1}


def test_what_is_too_late_never_leaves_even_when_nobody_has_given_it_up_yet(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    world.clock.advance(days=7)
    deliver(service, world)
    assert world.begun == []
    with service.database.read() as session:
        assert due_rows.count_waiting(session, now=world.clock.now()) == 0
    service.jobs.tick()
    assert states(service)["expired"] == 1


@both
def test_a_confirmation_nobody_can_be_sure_of_leaves_once_more_as_the_same_message(
    service: Service, world: World, ben: Person
) -> None:
    confirmation(service, ben)
    world.answer = lambda recipient: LOST
    deliver(service, world)
    assert world.arrived == [ben.email] * 2
    assert states(service) == {"unknown": 1}
    assert world.letters[0] == world.letters[1]
    world.clock.advance(hours=1)
    deliver(service, world)
    assert len(world.arrived) == 2


def test_an_update_nobody_can_be_sure_of_waits_for_staff(service: Service, world: World, ben: Person) -> None:
    broadcast(service)
    world.answer = lambda recipient: LOST
    deliver(service, world)
    deliver(service, world)
    assert world.arrived == [ben.email]
    assert states(service) == {"unknown": 1}


# A relay that is down


def test_a_relay_that_is_down_ends_until_empty_and_says_so(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 300)
    broadcast(service)
    world.answer = lambda recipient: DOWN
    delivery = deliver(service, world)
    assert delivery.trouble == "connection refused"
    assert delivery.sent == 0
    assert states(service) == {"queued": 301}
    assert len(world.begun) <= 20
    assert {row.tries for row in rows(service)} == {0}


def test_a_relay_that_takes_fewer_connections_than_we_have_slows_but_stops_nobody(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 400)
    broadcast(service)
    busy_count = 0

    class Narrow(Scripted):
        async def send(self, **message: Any) -> Outcome | None:
            nonlocal busy_count
            if busy_count >= 4:
                return DOWN
            busy_count += 1
            try:
                return await super().send(**message)
            finally:
                busy_count -= 1

    world.seconds = 0.05
    narrow_pool = RelayPool(name="narrow.example:25", connect=lambda: Narrow(world), connections=10)
    delivery = replace(worker(service, world), pools=[narrow_pool])
    start = world.clock.now()

    async def run_for_two_minutes() -> None:
        asyncio.get_running_loop().call_later(120, delivery.stop)
        await delivery.run()

    run(world.clock, run_for_two_minutes())
    assert states(service) == {"sent": 401}
    assert {row.tries for row in rows(service)} == {1}
    assert max(row.sent_at for row in rows(service) if row.sent_at) < start + timedelta(seconds=60)


# A relay that is slow


@pytest.mark.parametrize(("seconds", "dotted_after"), [(41.0, 40.0), (545.0, 5.0)])
def test_a_server_that_takes_its_time_for_the_recipient_or_for_the_dot_gets_the_message_once(
    service: Service, world: World, ben: Person, cleo: Person, seconds: float, dotted_after: float
) -> None:
    broadcast(service)
    world.seconds, world.dotted_after = seconds, dotted_after
    deliver(service, world)
    assert world.arrived == [ben.email] == [recipient for recipient, _ in world.begun]
    (row,) = rows(service)
    assert (row.state, row.tries) == ("sent", 1)


def test_who_leaves_while_a_connection_is_being_opened_gets_nothing(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 20)
    broadcast(service)
    world.seconds, world.opening = 0.1, 3.0
    delivery = worker(service, world)

    def leave() -> None:
        with service.database.write() as session:
            subscriptions.leave(session, contact_id=ben.id, now=world.clock.now())

    async def run_while_ben_leaves() -> None:
        asyncio.get_running_loop().call_later(1.5, leave)
        await delivery.run(until_empty=True)

    run(world.clock, run_while_ben_leaves())
    assert states(service) == {"sent": 20, "cancelled": 1}
    assert ben.email not in {recipient for recipient, _ in world.begun}
    assert {row.tries for row in rows(service) if row.state == "sent"} == {1}


# Stopping


@both
def test_stop_in_the_middle_gives_back_what_was_not_begun_and_records_what_was(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 200)
    broadcast(service)
    world.seconds = 0.3
    delivery = worker(service, world)

    async def run_until_stopped() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, delivery.stop)
        await delivery.run()
        return loop.time()

    start = world.clock.monotonic()
    end = run(world.clock, run_until_stopped())
    assert end - start < 1.5
    counts = states(service)
    assert counts["sent"] == len(world.arrived) == delivery.sent
    assert counts["queued"] == 201 - counts["sent"]
    assert set(counts) == {"sent", "queued"}
    world.seconds = 0.0
    deliver(service, world)
    assert sorted(Counter(world.arrived).values()) == [1] * 201


def test_a_server_that_never_answers_holds_the_end_up_for_half_a_minute_and_no_longer(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 50)
    broadcast(service)
    world.seconds, world.dotted_after = 600.0, 500.0
    delivery = worker(service, world)

    async def run_until_stopped() -> float:
        asyncio.get_running_loop().call_later(1.0, delivery.stop)
        await delivery.run()
        return asyncio.get_running_loop().time()

    start = world.clock.monotonic()
    assert run(world.clock, run_until_stopped()) - start < 32
    assert states(service) == {"queued": 51}


def test_what_was_cut_off_after_the_final_dot_is_unknown_and_never_sent_again_blindly(
    service: Service, world: World, ben: Person
) -> None:
    move_to_domain(service, crowd(service, 50)[::2], "elsewhere.example")
    broadcast(service)
    world.seconds = 600.0
    delivery = worker(service, world)

    async def run_until_stopped() -> None:
        asyncio.get_running_loop().call_later(0.9, delivery.stop)
        await delivery.run()

    run(world.clock, run_until_stopped())
    assert states(service) == {"unknown": 10, "queued": 41}
    interrupted_recipients = {recipient for recipient, _ in world.begun}
    world.seconds = 0.0
    deliver(service, world)
    assert interrupted_recipients.isdisjoint(world.arrived)


def test_a_stop_while_the_relay_rests_is_at_once(service: Service, world: World, ben: Person) -> None:
    broadcast(service)
    world.answer = lambda recipient: DOWN
    delivery = worker(service, world)

    async def run_until_stopped() -> float:
        asyncio.get_running_loop().call_later(300.0, delivery.stop)
        await delivery.run()
        return asyncio.get_running_loop().time()

    start = world.clock.monotonic()
    assert run(world.clock, run_until_stopped()) - start < 301
    assert states(service) == {"queued": 1}


# Faults


def test_a_fault_in_one_message_s_composing_does_not_stop_the_others(
    service: Service, world: World, ben: Person
) -> None:
    ids = crowd(service, 80)
    broadcast(service)
    source = service.sources["broadcast"]
    original = type(source).compose

    class Faulty(type(source)):  # type: ignore[misc]
        def compose(self, session: Any, messages: Any, *, now: Any) -> Any:
            if any(message.entry.contact_id == ids[40] for message in messages):
                raise ZeroDivisionError
            return original(self, session, messages, now=now)

    composer = replace(service.composer, sources={**service.sources, "broadcast": Faulty()})
    delivery = replace(worker(service, world), composer=composer)
    run(world.clock, delivery.run(until_empty=True))
    assert states(service) == {"sent": 80, "held": 1}
    (held_row,) = [row for row in rows(service) if row.state == "held"]
    assert held_row.contact_id == ids[40]
    assert held_row.reason == Reason.OUR_FAULT
    assert held_row.detail == "the program failed at it: ZeroDivisionError"


@both
def test_a_database_that_fails_while_composing_is_no_fault_of_any_message(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 20)
    broadcast(service)
    source = service.sources["broadcast"]
    failures_left = 5

    class Unlucky(type(source)):  # type: ignore[misc]
        def compose(self, session: Any, messages: Any, *, now: Any) -> Any:
            nonlocal failures_left
            failures_left -= 1
            if failures_left >= 0:
                raise OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))
            return super().compose(session, messages, now=now)

    composer = replace(service.composer, sources={**service.sources, "broadcast": Unlucky()})
    delivery = replace(worker(service, world), composer=composer)
    run(world.clock, delivery.run(until_empty=True))
    assert states(service) == {"sent": 21}


def test_a_source_that_fails_to_hear_of_one_outcome_leads_to_no_second_mail(
    service: Service, world: World, ben: Person
) -> None:
    ids = crowd(service, 30)
    broadcast(service)
    source = service.sources["broadcast"]

    class Deaf(type(source)):  # type: ignore[misc]
        def settle(self, session: Any, results: Any, *, now: Any) -> None:
            if any(result.entry.contact_id == ids[3] for result in results):
                raise KeyError("deaf")

    composer = replace(service.composer, sources={**service.sources, "broadcast": Deaf()})
    delivery = replace(worker(service, world), composer=composer)
    run(world.clock, delivery.run(until_empty=True))
    assert states(service) == {"sent": 31}
    assert sorted(Counter(world.arrived).values()) == [1] * 31


def test_a_fault_while_handing_over_ends_neither_the_worker_nor_leads_to_a_second_mail(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 30)
    broadcast(service)

    def answer(recipient: str) -> Outcome:
        if recipient == "n7@crowd.example":
            raise ValueError("a fault of ours")
        return SENT

    world.answer = answer
    deliver(service, world)
    assert states(service) == {"sent": 30, "unknown": 1}
