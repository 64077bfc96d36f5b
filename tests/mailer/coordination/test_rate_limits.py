"""Rate limits: never exceeded, in any window, by any number of workers, over kills and restarts."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from lists.db import Database
from mailer.coordination import leases, rate_limits
from mailer.coordination.rate_limits import LOOKAHEAD, RateLimit
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow
from mailer.reasons import Reason
from mailer.service import Service
from mailer.smtp.rate import Rate, parse_per_domain
from tests.clocks import START, StoppedClock
from tests.loops import run
from tests.people import Person
from tests.races import at_once
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

RATES = ["1/second", "5/second", "7/minute", "100/minute", "600/hour", "50000/day"]


@pytest.fixture
def other(world: World) -> World:
    """The same relay for another worker, on the same clock."""
    return World(world.clock, logs=world.logs)


@pytest.mark.parametrize("text", RATES)
def test_slots_are_so_far_apart_that_no_stretch_of_time_holds_too_many(text: str) -> None:
    rate = Rate.parse(text)
    assert str(rate) == text
    assert rate.limit * rate.spacing >= rate.period + rate.grace
    assert rate.limit * rate.spacing < rate.period * 1.101  # and at most a tenth of the rate is lost


Step = st.tuples(
    st.integers(0, 3_000_000) | st.integers(0, 90_000_000),  # microseconds until a worker takes slots
    st.integers(1, 20),  # how many slots it takes
    st.sampled_from(["first", "last", "some", "killed"]),  # when in its grace it begins, or that it is killed
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(text=st.sampled_from(RATES), steps=st.lists(Step, min_size=1, max_size=40), seed=st.randoms())
def test_whatever_workers_do_and_whenever_they_die_the_limit_holds(
    database: Database, text: str, steps: list[tuple[int, int, str]], seed: object
) -> None:
    rate, now = Rate.parse(text), START
    start_times: list[datetime] = []
    with database.write() as session:
        session.query(RateLimit).delete()
    for wait, number, behavior in steps:
        now += timedelta(microseconds=wait)
        with database.write() as session:
            slots = rate_limits.take_slots(session, "relay/x:25", rate=rate, number=number, real=now)
        assert all(now <= slot <= now + LOOKAHEAD for slot in slots) and len(slots) <= number
        delays = {"first": timedelta(0), "last": rate.grace, "some": rate.grace * seed.random()}  # type: ignore[attr-defined]
        start_times += [slot + delays[behavior] for slot in slots if behavior != "killed"]
    if start_times:
        moments = [(moment - START) / timedelta(microseconds=1) for moment in start_times]
        assert count_most(moments, rate.period / timedelta(microseconds=1)) <= rate.limit


def test_all_who_ask_at_once_get_different_slots(database: Database, clock: StoppedClock) -> None:
    rate = Rate.parse("50/second")
    slots_by_worker = at_once(
        database,
        *[
            lambda session: rate_limits.take_slots(
                session, "relay/x:25", rate=rate, number=4, real=clock.real()
            )
        ]
        * 4,
    )
    all_slots = sorted(slot for slots in slots_by_worker for slot in slots)
    assert len(all_slots) == 16
    assert all(later - earlier >= rate.spacing for earlier, later in pairwise(all_slots))


def test_a_clock_that_was_set_back_by_an_hour_stops_nothing_for_longer_than_a_moment(
    database: Database, clock: StoppedClock
) -> None:
    rate = Rate.parse("60/minute")
    with database.write() as session:
        assert rate_limits.take_slots(session, "relay/x:25", rate=rate, number=9, real=START)
        earlier = START - timedelta(hours=1)
        assert not rate_limits.take_slots(session, "relay/x:25", rate=rate, number=9, real=earlier)
        assert rate_limits.take_slots(
            session, "relay/x:25", rate=rate, number=9, real=earlier + 2 * rate.spacing
        )


def test_what_was_not_reached_for_days_is_forgotten_and_nothing_else(
    database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        for scope in ("relay/x:25", "domain/y.example"):
            rate_limits.take_slots(session, scope, rate=Rate.parse("9/day"), number=1, real=START)
        rate_limits.take_slots(
            session, "relay/x:25", rate=Rate.parse("9/day"), number=1, real=START + timedelta(days=2)
        )
        assert rate_limits.delete_unused(session, real=START + timedelta(days=3)) == 1
        assert session.scalars(select(RateLimit.scope)).all() == ["relay/x:25"]


# Relays


def test_two_workers_together_keep_the_limit_of_a_relay_over_a_restart(
    service: Service, world: World, other: World, cleo: Person
) -> None:
    crowd(service, 200)
    broadcast(service)
    world.seconds = other.seconds = 0.05

    async def run_both(names: str, seconds: float) -> None:
        deliveries = [
            worker(service, each, name=name, pools=[make_pool(each, rate="5/second")])
            for name, each in zip(names, (world, other), strict=True)
        ]
        for each in deliveries:
            asyncio.get_running_loop().call_later(seconds, each.stop)
        await asyncio.gather(*(each.run() for each in deliveries))

    for names in ("ab", "cd", "ef"):
        run(world.clock, run_both(names, 8.3))
        world.clock.advance(seconds=0.07)
    start_times = [at for _, at in world.begun + other.begun]
    assert 95 <= len(start_times) <= 3 * 8.3 * 5
    assert count_most(start_times, 1.0) <= 5
    assert len(world.begun) > 10 and len(other.begun) > 10
    arrived = world.arrived + other.arrived
    assert max(Counter(arrived).values()) == 1 and cleo.email not in arrived


def test_a_confirmation_takes_the_next_slot_of_a_limited_relay(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 300)
    broadcast(service)
    delivery = worker(service, world, pools=[make_pool(world, rate="60/minute")])
    queued_at: list[float] = []

    async def run_while_ben_asks() -> None:
        loop = asyncio.get_running_loop()

        def ask() -> None:
            confirmation(service, ben)
            queued_at.append(loop.time())

        loop.call_later(4.3, ask)
        loop.call_later(8.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_while_ben_asks())
    (at,) = [at for recipient, at in world.begun if recipient == ben.email and at >= queued_at[0]]
    assert at - queued_at[0] < 60 / 60 + 1
    assert count_most([at for _, at in world.begun], 60.0) <= 60


def test_a_limited_relay_beside_another_takes_what_it_may_and_the_other_the_rest(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 1_000)
    broadcast(service)
    world.seconds = other.seconds = 0.05
    pools = [make_pool(world, rate="60/minute"), make_pool(other, name="other.example:25")]
    delivery = worker(service, world, pools=pools)
    start = world.clock.now()
    run(world.clock, delivery.run(until_empty=True))
    assert states(service) == {"sent": 1_000}
    assert 4 <= len(world.arrived) <= 8
    assert world.clock.now() - start < timedelta(seconds=7)


def test_a_slot_that_was_missed_while_all_connections_were_busy_stops_nothing(
    service: Service, world: World
) -> None:
    crowd(service, 30)
    broadcast(service)
    world.seconds = 4.0
    delivery = worker(service, world, pools=[make_pool(world, rate="5/second", connections=2)])
    run(world.clock, delivery.run(until_empty=True))
    assert states(service) == {"sent": 30}
    assert {row.tries for row in rows(service)} == {1}


# Connections


def test_all_workers_together_open_no_more_connections_than_a_relay_allows(
    service: Service, world: World
) -> None:
    crowd(service, 200)
    broadcast(service)
    world.seconds = 0.1
    deliveries = [
        worker(service, world, name=name, pools=[make_pool(world, shared=6, connections=4)]) for name in "abc"
    ]

    async def run_all_three() -> None:
        asyncio.get_running_loop().call_later(10.0, deliveries[0].stop)
        asyncio.get_running_loop().call_later(10.0, deliveries[1].stop)
        asyncio.get_running_loop().call_later(25.0, deliveries[2].stop)
        await asyncio.gather(*(delivery.run() for delivery in deliveries))

    run(world.clock, run_all_three())
    assert states(service) == {"sent": 200}
    assert 4 <= world.most_at_once <= 6  # a quarter of a worker's places is reserved for urgent mail
    assert [pool.places for delivery in deliveries for pool in delivery.pools] == [4, 2, 4]  # one waited


def test_the_connections_of_a_dead_worker_are_free_when_its_lease_is_over(
    database: Database, clock: StoppedClock
) -> None:
    def acquire_places(owner: str) -> int:
        with database.write() as session:
            return leases.acquire_places(
                session,
                "connection/x:25",
                places=5,
                most=4,
                owner=owner,
                real=clock.real(),
                length=timedelta(seconds=45),
            )

    assert [
        acquire_places("dead"),
        acquire_places("alive"),
        acquire_places("alive"),
        acquire_places("dead"),
    ] == [4, 1, 1, 4]
    clock.advance(seconds=40)
    assert acquire_places("alive") == 1
    clock.advance(seconds=6)
    assert [acquire_places("alive"), acquire_places("dead")] == [4, 1]


def test_a_worker_that_gets_no_connection_says_so_and_claims_nothing(service: Service, world: World) -> None:
    crowd(service, 5)
    broadcast(service)
    with service.database.write() as session:
        real, hour = world.clock.real(), timedelta(hours=1)
        name = "connection/relay.example:25"
        leases.acquire_places(session, name, places=1, most=1, owner="other", real=real, length=hour)
    delivery = worker(service, world, pools=[make_pool(world, shared=1, connections=1)])
    run(world.clock, delivery.run(until_empty=True))
    assert "Other workers have all the connections" in delivery.trouble
    assert {(row.state, row.attempt) for row in rows(service)} == {("queued", 0)}


# Domains


def list_begin_times(world: World, domain: str) -> list[float]:
    return [moment for recipient, moment in world.begun if recipient.endswith(f"@{domain}")]


def test_the_limit_of_a_domain_holds_and_holds_up_nobody_else(service: Service, world: World) -> None:
    ids = crowd(service, 600)
    move_to_domain(service, ids[:300], "busy.example")
    broadcast(service)
    delivery = worker(service, world, domains=["busy.example=60/minute"])

    async def run_for_70_seconds() -> None:
        asyncio.get_running_loop().call_later(70.0, delivery.stop)
        await delivery.run()

    start = world.clock.monotonic()
    run(world.clock, run_for_70_seconds())
    assert max(list_begin_times(world, "crowd.example")) - start < 5
    busy_times = list_begin_times(world, "busy.example")
    assert 65 <= len(busy_times) <= 70
    assert count_most(busy_times, 60.0) <= 60
    parked_rows = [row for row in rows(service) if row.state == "queued"]
    assert {(row.reason, row.detail) for row in parked_rows} == {(Reason.DOMAIN_RATE_LIMIT, "busy.example")}
    assert {row.tries for row in parked_rows} == {0}
    attempts = [row.attempt for row in rows(service) if row.contact_id in ids[:300]]
    assert sum(attempts) < 300 + 70 + 30  # each is parked about once


def test_every_other_domain_has_a_limit_of_its_own_where_a_star_says_so(
    service: Service, world: World
) -> None:
    ids = crowd(service, 90)
    for first, domain in ((0, "one.example"), (30, "two.example"), (60, "free.example")):
        move_to_domain(service, ids[first : first + 30], domain)
    broadcast(service)
    delivery = worker(service, world, domains=["*=10/minute", "free.example=50/second"])

    async def run_for_50_seconds() -> None:
        asyncio.get_running_loop().call_later(50.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_for_50_seconds())
    assert len(list_begin_times(world, "free.example")) == 30
    for domain in ("one.example", "two.example"):
        assert 8 <= len(list_begin_times(world, domain)) <= 10


def test_a_confirmation_to_a_limited_domain_does_not_stand_behind_a_broadcast(
    service: Service, world: World, ben: Person
) -> None:
    ids = crowd(service, 400)
    move_to_domain(service, [*ids, ben.id], "busy.example")
    broadcast(service)
    delivery = worker(service, world, domains=["busy.example=60/minute"])

    async def run_while_ben_asks() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(20.2, confirmation, service, ben)
        loop.call_later(30.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_while_ben_asks())
    row = next(row for row in rows(service) if row.kind == "confirmation")
    assert row.sent_at is not None
    assert (row.sent_at - row.queued_at).total_seconds() < 2.1


def test_after_a_recall_of_all_that_was_parked_the_next_broadcast_starts_at_once(
    service: Service, world: World
) -> None:
    ids = crowd(service, 500)
    move_to_domain(service, ids, "busy.example")
    broadcast(service)
    delivery = worker(service, world, domains=["busy.example=60/minute"])

    async def run_for_10_seconds() -> None:
        asyncio.get_running_loop().call_later(10.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_for_10_seconds())
    with service.database.write() as session:
        outbox.cancel(session, OutboxRow.kind == "broadcast", reason=Reason.RECALLED)
    count_before = len(world.begun)
    broadcast(service)
    delivery = worker(service, world, domains=["busy.example=60/minute"], name="second")

    async def run_for_30_seconds() -> None:
        asyncio.get_running_loop().call_later(30.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_for_30_seconds())
    assert len(world.begun) - count_before >= 28
    assert count_most([moment for _, moment in world.begun], 60.0) <= 60


def test_who_gets_another_address_meanwhile_is_counted_where_the_message_goes(
    service: Service, world: World
) -> None:
    ids = crowd(service, 40)
    broadcast(service)
    delivery = worker(service, world, domains=["busy.example=6/minute"], connections=1)
    world.seconds = 0.2

    async def run_while_they_move() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(1.05, move_to_domain, service, ids, "busy.example")
        loop.call_later(40.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_while_they_move())
    assert count_most(list_begin_times(world, "busy.example"), 60.0) <= 6


@pytest.mark.parametrize(
    "wrong", [["gmail.com"], ["gmail.com=often"], ["gmail.com=5/minute", "GMAIL.com=6/minute"], ["*=0/hour"]]
)
def test_a_limit_that_cannot_be_read_is_refused_with_what_to_write(wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_per_domain(wrong)
