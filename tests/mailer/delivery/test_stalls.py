"""Recipients whose server never replies: only their messages wait."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from lists.contacts import Contact
from mailer.reasons import Reason
from mailer.service import Service
from tests.loops import run
from tests.people import Person
from tests.relays import (
    World,
    broadcast,
    confirmation,
    crowd,
    make_pool,
    move_to_domain,
    rows,
    states,
    worker,
)

MOMENTS = ["RCPT", "dot"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite: when a message begins is decided in memory."""
    return sqlite_url


def at_domains(service: Service, ids: Sequence[int], domains: int) -> list[str]:
    """Let these people have their mailboxes at so many domains; returns their addresses."""
    for index in range(domains):
        move_to_domain(service, ids[index::domains], f"stall{index}.example")
    with service.database.read() as session:
        return list(session.scalars(select(Contact.email).where(Contact.id.in_(ids))))


def deliver_for(
    service: Service, world: World, seconds: float, *acts: tuple[float, object], **options: object
) -> None:
    """Deliver for so many seconds, and do each act at its second."""
    delivery = worker(service, world, **options)  # type: ignore[arg-type]

    async def work() -> None:
        for second, act in acts:
            asyncio.get_running_loop().call_later(second, act)  # type: ignore[arg-type]
        asyncio.get_running_loop().call_later(seconds, delivery.stop)
        await delivery.run()

    run(world.clock, work())


def begin_times(world: World) -> dict[str, float]:
    return dict(world.begun)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("domains", [1, 10])
@pytest.mark.parametrize("number", [10, 50])
def test_while_people_stall_a_confirmation_leaves_in_two_seconds_and_the_broadcast_goes_on(
    service: Service, world: World, ben: Person, cleo: Person, moment: str, domains: int, number: int
) -> None:
    ids = crowd(service, 500 + number)
    stalled = at_domains(service, ids[:number], domains)
    broadcast(service)
    world.seconds, world.stalls = 0.02, dict.fromkeys(stalled, moment)
    asked_at: list[float] = []

    def ask() -> None:
        asked_at.append(asyncio.get_running_loop().time())
        confirmation(service, ben)

    deliver_for(service, world, 60.0, (5.0, ask))
    confirmation_times = [at for recipient, at in world.begun if recipient == ben.email and at >= asked_at[0]]
    assert min(confirmation_times) - asked_at[0] <= 2.0
    other_times = [at for recipient, at in world.begun if recipient not in world.stalls]
    assert len(world.arrived) == 502  # the crowd, and Ben twice
    assert max(other_times) - min(other_times) <= 40.0 and cleo.email not in begin_times(world)
    assert not set(stalled) & set(world.arrived)


@pytest.mark.parametrize("moment", MOMENTS)
def test_confirmations_that_stall_do_not_keep_another_waiting(
    service: Service, world: World, ben: Person, cleo: Person, moment: str
) -> None:
    ids = crowd(service, 50)
    stalled = at_domains(service, ids, 50)
    world.seconds, world.stalls = 0.02, dict.fromkeys(stalled, moment)
    for contact_id in ids:
        confirmation(service, Person(**{**vars(ben), "id": contact_id}))
    asked_at: list[float] = []

    def ask() -> None:
        asked_at.append(asyncio.get_running_loop().time())
        confirmation(service, ben)

    deliver_for(service, world, 40.0, (20.0, ask))
    assert begin_times(world)[ben.email] - asked_at[0] <= 2.0
    assert cleo.email not in begin_times(world)


def test_who_stalled_is_tried_later_and_alone(service: Service, world: World, cleo: Person) -> None:
    ids = crowd(service, 20)
    stalled = at_domains(service, ids, 20)
    broadcast(service)
    world.seconds, world.stalls = 0.02, dict.fromkeys(stalled, "RCPT")
    deliver_for(service, world, 1_200.0)
    retry_times = [
        at for index, (recipient, at) in enumerate(world.begun) if recipient in dict(world.begun[:index])
    ]
    assert len(retry_times) >= 5
    assert all(sum(moment <= at < moment + 299 for moment in retry_times) <= 5 for at in retry_times)
    assert {row.reason for row in rows(service)} <= {
        Reason.NO_ANSWER,
        Reason.SLOW_SERVER,
        "",
    }
    assert cleo.email not in begin_times(world)


def test_a_recipient_that_answers_again_is_like_everybody(
    service: Service, world: World, cleo: Person
) -> None:
    ids = crowd(service, 20)
    stalled = at_domains(service, ids, 20)
    broadcast(service)
    world.seconds, world.stalls = 0.02, dict.fromkeys(stalled, "RCPT")
    delivery = worker(service, world)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(200.0, lambda: setattr(world, "stalls", {}))
        loop.call_later(2_000.0, delivery.stop)
        await delivery.run()

    run(world.clock, work())
    assert states(service) == {"sent": 20}


@pytest.mark.parametrize(("shared", "connections"), [(4, 4), (4, 10), (10, 10)])
def test_where_a_relay_allows_no_more_connections_who_stalls_is_given_up_for_those_who_wait(
    service: Service, world: World, ben: Person, cleo: Person, shared: int, connections: int
) -> None:
    ids = crowd(service, 150)
    stalled = at_domains(service, ids[:20], 20)
    broadcast(service)
    world.seconds, world.stalls = 0.02, dict.fromkeys(stalled, "RCPT")
    asked_at: list[float] = []

    def ask() -> None:
        asked_at.append(asyncio.get_running_loop().time())
        confirmation(service, ben)

    deliver_for(
        service, world, 240.0, (5.0, ask), pools=[make_pool(world, shared=shared, connections=connections)]
    )
    assert world.most_at_once <= shared
    confirmation_times = [at for recipient, at in world.begun if recipient == ben.email and at >= asked_at[0]]
    assert min(confirmation_times) - asked_at[0] <= 2.0
    assert len(world.arrived) == 132
    assert cleo.email not in begin_times(world)


def test_after_the_final_dot_nobody_is_given_up(service: Service, world: World, cleo: Person) -> None:
    ids = crowd(service, 60)
    stalled = at_domains(service, ids[:20], 20)
    broadcast(service)
    world.seconds, world.stalls = 0.02, dict.fromkeys(stalled, "dot")
    counts: list[dict[str, int]] = []
    observe = (590.0, lambda: counts.append(states(service)))
    deliver_for(service, world, 591.0, observe, pools=[make_pool(world, shared=4)])
    assert counts[0].get("unknown", 0) == 0
    assert len(set(begin_times(world)) & set(stalled)) == 3  # and one connection is reserved for urgent mail
    assert cleo.email not in begin_times(world)


def test_a_relay_that_is_slow_for_everybody_gets_no_more_connections_than_it_should(
    service: Service, world: World, cleo: Person
) -> None:
    crowd(service, 300)
    broadcast(service)
    world.seconds = 3.0
    deliver_for(service, world, 60.0)
    assert world.most_at_once <= 24 and len(world.begun) >= 150
    assert cleo.email not in begin_times(world)


def test_a_domain_that_stalls_gets_only_a_part_of_the_connections(
    service: Service, world: World, cleo: Person
) -> None:
    ids = crowd(service, 200)
    stalled = at_domains(service, ids[:100], 1)
    broadcast(service)
    world.seconds, world.stalls = 0.02, dict.fromkeys(stalled, "dot")
    deliver_for(service, world, 120.0)
    assert len(set(begin_times(world)) & set(stalled)) <= 20
    assert len(world.arrived) == 100 and cleo.email not in begin_times(world)
