"""Suspensions: while servers refuse us, mail waits, staff are informed, and it continues by itself."""

import asyncio
from datetime import timedelta

import pytest

from lists import subscriptions
from lists.db import Database
from mailer.coordination import suspensions
from mailer.coordination.suspensions import Suspension
from mailer.monitoring import health
from mailer.reasons import Reason
from mailer.service import Service
from mailer.smtp.connection import Outcome
from tests.clocks import START
from tests.loops import run
from tests.mailer.web.visitor import Visitor
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
    move_to_domain,
    rows,
    states,
    worker,
)

BLOCKED = Outcome(state="refused", code=550, reply="5.7.1 our list says you are not welcome")
NO_MAILBOX = Outcome(state="refused", code=550, reply="5.1.1 nobody here")


@pytest.fixture
def other(world: World) -> World:
    """A second relay on the same clock."""
    return World(world.clock, logs=world.logs)


def read_suspensions(service: Service) -> dict[str, Suspension]:
    with service.database.read() as session:
        return dict(suspensions.read_all(session))


def deliver_for_hours(service: Service, world: World, length: float, **options: object) -> None:
    """Deliver for so many hours."""
    delivery = worker(service, world, **options)  # type: ignore[arg-type]

    async def work() -> None:
        asyncio.get_running_loop().call_later(length * 3600, delivery.stop)
        await delivery.run()

    run(world.clock, work())


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll every ten seconds, and renew leases every thirty, so that hours pass quickly."""
    monkeypatch.setattr("mailer.delivery.delivery.POLL_SECONDS", 10.0)
    monkeypatch.setattr("mailer.delivery.delivery.RENEW_SECONDS", 30.0)


def test_a_pause_is_tried_after_15_minutes_then_twice_as_long_up_to_four_hours(database: Database) -> None:
    now, waits = START, []
    with database.write() as session:
        assert suspensions.begin(session, "relay/x:25", reply="5.7.1 no", real=now)
        assert not suspensions.begin(session, "relay/x:25", reply="again", real=now)
    for _ in range(7):
        with database.write() as session:
            suspension = suspensions.read_all(session)["relay/x:25"]
            assert suspension.try_at is not None
            waits.append((suspension.try_at - now) // timedelta(minutes=1))
            assert (
                suspensions.claim_trial(session, suspension, real=suspension.try_at - timedelta(seconds=1))
                is None
            )
            now = suspension.try_at
            assert suspensions.claim_trial(session, suspension, real=now)
    assert waits == [15, 30, 60, 120, 240, 240, 240]


def spread_over_domains(service: Service, ids: list[int]) -> None:
    move_to_domain(service, ids[::3], "elsewhere.example")
    move_to_domain(service, ids[1::3], "nowhere.example")


def test_a_relay_where_many_domains_refuse_us_is_paused_for_every_worker_and_punishes_nobody(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    spread_over_domains(service, crowd(service, 300))
    broadcast(service)
    world.seconds, world.answer = 0.05, lambda recipient: BLOCKED
    delivery = deliver(service, world)
    assert "not welcome" in delivery.trouble
    assert set(read_suspensions(service)) == {"relay/relay.example:25"}
    assert states(service) == {"queued": 301}
    assert len(world.begun) < 40 and cleo.email not in {recipient for recipient, _ in world.begun}
    assert [line["event"] for line in world.logs].count("paused, because servers refuse our mail") == 1
    count_before = len(world.begun)
    deliver(service, world)
    assert len(world.begun) == count_before  # also for another worker, and after a restart


@pytest.mark.usefixtures("seldom")
def test_one_message_tries_whether_it_is_over_and_then_all_the_others_follow(
    embedded: Service, world: World
) -> None:
    spread_over_domains(embedded, crowd(embedded, 100))
    broadcast(embedded)
    accepted_from = world.clock.now() + timedelta(minutes=40)
    world.answer = lambda recipient: SENT if world.clock.now() > accepted_from else BLOCKED
    world.seconds = 0.05
    deliver_for_hours(embedded, world, 1.2)
    assert states(embedded) == {"sent": 100} and read_suspensions(embedded) == {}
    start = world.begun[0][1]
    try_minutes = [round((at - start) / 60) for _, at in world.begun if (at - start) > 60]
    assert try_minutes[:2] == [15, 45] and len(try_minutes) == 101


def test_where_one_domain_refuses_us_only_its_mail_waits(service: Service, world: World) -> None:
    ids = crowd(service, 200)
    move_to_domain(service, ids[:60], "strict.example")
    broadcast(service)
    world.seconds = 0.05
    world.answer = lambda recipient: BLOCKED if recipient.endswith("strict.example") else SENT
    deliver(service, world)
    assert set(read_suspensions(service)) == {"domain/strict.example"}
    assert states(service) == {"sent": 140, "queued": 60}
    refused_recipients = [recipient for recipient, _ in world.begun if recipient.endswith("strict.example")]
    assert len(refused_recipients) < 40
    assert (Reason.DOMAIN_SUSPENDED, "strict.example") in {(row.reason, row.detail) for row in rows(service)}
    assert min(row.due_at for row in rows(service) if row.state == "queued") > world.clock.now()


@pytest.mark.usefixtures("seldom")
def test_a_domain_that_takes_our_mail_again_gets_all_of_it_once(embedded: Service, world: World) -> None:
    ids = crowd(embedded, 200)
    move_to_domain(embedded, ids[:60], "strict.example")
    broadcast(embedded)
    accepted_from = world.clock.now() + timedelta(minutes=20)
    world.seconds = 0.05
    world.answer = lambda recipient: (
        BLOCKED if recipient.endswith("strict.example") and world.clock.now() < accepted_from else SENT
    )
    deliver_for_hours(embedded, world, 1.5)
    assert states(embedded) == {"sent": 200}
    assert len(world.arrived) == len(set(world.arrived)) == 200
    assert read_suspensions(embedded) == {}


def test_addresses_that_are_gone_pause_nothing(service: Service, world: World) -> None:
    crowd(service, 100)
    broadcast(service)
    world.answer = lambda recipient: NO_MAILBOX
    deliver(service, world)
    assert states(service) == {"failed": 100}
    assert read_suspensions(service) == {}


def test_while_one_relay_is_paused_the_other_takes_its_mail(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 100)
    broadcast(service)
    with service.database.write() as session:
        suspensions.begin_by_staff(session, "relay/relay.example:25", real=world.clock.real())
    deliver(service, world, pools=[make_pool(world), make_pool(other, name="other.example:25")])
    assert (len(world.arrived), len(other.arrived)) == (0, 100)


def test_a_relay_that_is_paused_while_it_is_away_is_not_even_tried(
    service: Service, world: World, other: World
) -> None:
    crowd(service, 1_000)
    broadcast(service)
    other.seconds = world.seconds = 0.05
    world.answer = lambda recipient: DOWN
    pools = [make_pool(world), make_pool(other, name="other.example:25")]
    delivery = worker(service, other, pools=pools)

    def suspend() -> None:
        with service.database.write() as session:
            suspensions.begin_by_staff(session, "relay/relay.example:25", real=world.clock.real())

    async def run_while_staff_pause() -> None:
        asyncio.get_running_loop().call_later(0.5, suspend)
        await delivery.run(until_empty=True)

    run(world.clock, run_while_staff_pause())
    assert states(service) == {"sent": 1_000}
    assert len(world.begun) <= 10  # each of its connections once, and nothing after a second and after three


def test_what_staff_paused_goes_on_only_when_staff_say_so(service: Service, world: World) -> None:
    crowd(service, 20)
    broadcast(service)
    for scope in ("relay/relay.example:25", "domain/crowd.example"):
        with service.database.write() as session:
            suspensions.begin_by_staff(session, scope, real=world.clock.real())
        world.clock.advance(hours=5)
        deliver(service, world)
        assert world.begun == []
        with service.database.write() as session:
            assert suspensions.end(session, scope)
    world.clock.advance(minutes=2)
    deliver(service, world)
    assert states(service) == {"sent": 20}


@pytest.mark.parametrize("scope", ["relay/relay.example:25", "domain/crowd.example"])
@pytest.mark.parametrize("seconds", [0.02, 3.0])
def test_nothing_begins_later_than_a_second_after_staff_paused_it(
    service: Service, world: World, scope: str, seconds: float
) -> None:
    crowd(service, 4_000)
    broadcast(service)
    world.seconds = seconds
    delivery = worker(service, world)
    paused_at: list[float] = []

    def suspend() -> None:
        with service.database.write() as session:
            suspensions.begin_by_staff(session, scope, real=world.clock.real())
        paused_at.append(asyncio.get_running_loop().time())

    async def run_while_staff_pause() -> None:
        asyncio.get_running_loop().call_later(4.0, suspend)
        asyncio.get_running_loop().call_later(30.0, delivery.stop)
        await delivery.run()

    run(world.clock, run_while_staff_pause())
    delays = [moment - paused_at[0] for _, moment in world.begun if moment > paused_at[0]]
    assert len(world.begun) >= 10 and max(delays, default=0.0) <= 1.0


def test_a_pause_of_a_relay_with_a_low_rate_is_over_all_the_same(embedded: Service, world: World) -> None:
    crowd(embedded, 3)
    broadcast(embedded)
    with embedded.database.write() as session:
        suspensions.begin(session, "relay/relay.example:25", reply="5.7.1 no", real=world.clock.real())
    deliver_for_hours(embedded, world, 0.4, pools=[make_pool(world, rate="12/hour")])
    assert read_suspensions(embedded) == {} and len(world.arrived) == 2


def test_who_misses_the_slot_while_the_connection_opens_leaves_the_try_to_the_next(
    embedded: Service, world: World
) -> None:
    crowd(embedded, 3)
    broadcast(embedded)
    with embedded.database.write() as session:
        suspensions.begin(session, "relay/relay.example:25", reply="5.7.1 no", real=world.clock.real())
    world.opening = 0.5  # longer than a slot of five a second lasts
    deliver_for_hours(embedded, world, 0.3, pools=[make_pool(world, rate="5/second", connections=1)])
    assert read_suspensions(embedded) == {} and states(embedded) == {"sent": 3}


def test_who_left_tries_for_nobody_and_the_next_one_does(embedded: Service, world: World) -> None:
    ids = crowd(embedded, 3)
    broadcast(embedded)
    scope = "domain/crowd.example"
    with embedded.database.write() as session:
        suspensions.begin(session, scope, reply="5.7.1 no", real=world.clock.real())
        subscriptions.leave(session, contact_id=ids[-1], now=embedded.clock.now())
    deliver_for_hours(embedded, world, 0.3)
    assert read_suspensions(embedded) == {} and states(embedded) == {"sent": 2, "cancelled": 1}


def test_a_try_that_a_server_answered_is_not_given_back(database: Database) -> None:
    now = START
    with database.write() as session:
        suspensions.begin(session, "relay/x:25", reply="5.7.1 no", real=now)
        suspensions.reset_trial(session, "relay/x:25", real=now)  # before the first try
        suspensions.begin_by_staff(session, "relay/y:25", real=now)
        suspensions.reset_trial(session, "relay/y:25", real=now)
        active_suspensions = suspensions.read_all(session)
        assert active_suspensions["relay/x:25"].try_at == now + timedelta(minutes=15)
        assert active_suspensions["relay/y:25"].try_at is None


def test_health_and_figures_tell_of_a_pause_and_of_each_relay(
    service: Service, world: World, ben: Person, visitor: Visitor
) -> None:
    broadcast(service)
    deliver(service, world)
    with service.database.write() as session:
        suspensions.begin(session, "domain/strict.example", reply="5.7.1 no", real=world.clock.real())
    (status,) = [
        check_status
        for check_status in health.run_checks(service.database, service.clock, home=service.settings.home)
        if check_status.name == "mail server"
    ]
    assert (
        status.level == "trouble" and "refuse our mail" in status.sentence and "strict" not in status.sentence
    )
    figures = visitor.get("/metrics").text
    assert 'mailer_relay_handed_over_total{outcome="sent",relay="relay.example:25"} 1.0' in figures
    assert 'mailer_handed_over_total{outcome="sent"} 1.0' in figures
    assert 'mailer_paused{what="domain"} 1.0' in figures
    assert 'outcome="relay' not in figures


def test_what_is_urgent_goes_on_while_refusals_of_others_suspend_a_relay_or_a_domain(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    crowd(service, 20)
    broadcast(service)
    for scope in ("relay/relay.example:25", f"domain/{ben.email.rpartition('@')[2]}"):
        with service.database.write() as session:
            assert suspensions.begin(session, scope, reply="5.7.1 no", real=world.clock.real())
    confirmation(service, ben)
    deliver(service, world)
    assert world.arrived == [ben.email] and len(read_suspensions(service)) == 2
    assert states(service) == {"sent": 1, "queued": 21}


def test_what_staff_paused_holds_what_is_urgent_too(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    for scope in ("relay/relay.example:25", f"domain/{ben.email.rpartition('@')[2]}"):
        with service.database.write() as session:
            suspensions.begin_by_staff(session, scope, real=world.clock.real())
        confirmation(service, ben)
        deliver(service, world)
        assert world.begun == []
        with service.database.write() as session:
            suspensions.end(session, scope)
        world.clock.advance(days=1)


@pytest.mark.usefixtures("seldom")
def test_two_people_who_are_refused_for_twenty_minutes_hold_up_nobody(
    embedded: Service, world: World, cleo: Person
) -> None:
    ids = crowd(embedded, 60)
    move_to_domain(embedded, ids[:1], "strict.example")
    move_to_domain(embedded, ids[1:2], "stern.example")
    broadcast(embedded)
    world.seconds = 0.05
    world.answer = lambda recipient: SENT if recipient.endswith("crowd.example") else BLOCKED
    deliver_for_hours(embedded, world, 0.4)
    refused_tries = [recipient for recipient, _ in world.begun if not recipient.endswith("crowd.example")]
    assert len(refused_tries) >= 6 and read_suspensions(embedded) == {}
    assert states(embedded) == {"sent": 58, "queued": 2}
    assert (
        max(at for recipient, at in world.begun if recipient.endswith("crowd.example")) - world.begun[0][1]
        < 30
    )
    assert cleo.email not in dict(world.begun)


@pytest.mark.usefixtures("seldom")
def test_old_refusals_are_forgotten(embedded: Service, world: World, ben: Person) -> None:
    """Four people refused, and an hour later another: these are not five within an hour."""
    ids = crowd(embedded, 5)
    spread_over_domains(embedded, ids)
    world.answer = lambda recipient: BLOCKED
    delivery = worker(embedded, world)
    people = [Person(**{**vars(ben), "id": person}) for person in ids]

    async def work() -> None:
        loop = asyncio.get_running_loop()
        for person in people[:4]:
            confirmation(embedded, person)

        def refuse_again() -> None:
            world.answer = lambda recipient: BLOCKED if recipient.startswith("n4@") else SENT
            confirmation(embedded, people[4])

        loop.call_later(2 * 3600.0, refuse_again)
        loop.call_later(3 * 3600.0, delivery.stop)
        await delivery.run()

    run(world.clock, work())
    assert read_suspensions(embedded) == {}
