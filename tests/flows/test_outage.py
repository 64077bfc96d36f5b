"""The relay, the database, the disk fail for a while: nothing is lost, and nothing is sent twice."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event

from lists.errors import StorageError
from mailer.delivery import delivery, relay_pool
from mailer.reasons import Reason
from mailer.service import Service
from mailer.smtp.relay_settings import Relay
from mailer.tryout import postoffice
from tests import people
from tests.loops import run
from tests.people import Person
from tests.relays import (
    DOWN,
    SENT,
    World,
    broadcast,
    crowd,
    deliver,
    rows,
    states,
    worker,
)

# The relay


def test_a_relay_down_for_48_hours_costs_no_attempt_and_everything_leaves_afterwards_once(
    embedded: Service, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        relay_pool, "BACKOFF_LONGEST", 600.0
    )  # as it is, a minute, but ten times as many attempts
    monkeypatch.setattr(delivery, "RENEW_SECONDS", 30.0)
    monkeypatch.setattr(delivery, "POLL_SECONDS", 5.0)
    crowd(embedded, 30)
    with embedded.database.write() as session:
        cleo = people.cleo(session, now=world.clock.now())
    broadcast(embedded)
    up_at = world.clock.now() + timedelta(hours=48)
    world.seconds = 0.05
    world.answer = lambda recipient: SENT if world.clock.now() >= up_at else DOWN
    pool_worker = worker(embedded, world, connections=3)

    async def days() -> None:
        asyncio.get_running_loop().call_later(48 * 3600 + 700, pool_worker.stop)
        await pool_worker.run()

    run(world.clock, days())
    assert states(embedded) == {"sent": 30}
    assert sorted(Counter(world.arrived).values()) == [1] * 30
    assert cleo.email not in world.arrived
    assert {row.tries for row in rows(embedded)} == {1}
    assert len(world.begun) < 30 + 48 * 6 * 4  # one attempt at a time, by each connection
    assert max(row.sent_at for row in rows(embedded) if row.sent_at) < up_at + timedelta(seconds=610)


# A database that is locked or full


@contextmanager
def other_program(service: Service) -> Iterator[sqlite3.Connection]:
    """Open the same database file as another program."""
    path = service.settings.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        yield connection


@pytest.mark.parametrize("seconds", [3, 70])
def test_a_database_locked_for_a_while_loses_nothing_and_nothing_is_sent_twice(
    embedded: Service, world: World, seconds: int
) -> None:
    crowd(embedded, 300)
    broadcast(embedded)
    world.seconds = 0.2
    pool_worker = worker(embedded, world)

    async def locked_for_a_while(other: sqlite3.Connection) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, other.execute, "BEGIN IMMEDIATE")

        def free() -> None:
            other.execute("ROLLBACK")
            embedded.jobs.get(
                "rescue"
            ).run()  # the scheduler of the other process is the first to use the database

        loop.call_later(1.0 + seconds, free)
        await pool_worker.run(until_empty=True)

    with other_program(embedded) as other:
        run(world.clock, locked_for_a_while(other))
        if other.in_transaction:
            other.execute("ROLLBACK")
    world.clock.advance(minutes=6)
    deliver(embedded, world)
    assert states(embedded) == {"sent": 300}
    assert sorted(Counter(world.arrived).values()) == [1] * 300


def test_a_full_disk_loses_nothing_and_nothing_is_sent_twice(embedded: Service, world: World) -> None:
    crowd(embedded, 300)
    broadcast(embedded)
    world.seconds = 0.2
    pool_worker = worker(embedded, world)
    is_full = True

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0] if is_full else 1_000_000
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(embedded.database.engine, "checkout", limit)

    async def full_for_a_while() -> None:
        nonlocal is_full
        loop = asyncio.get_running_loop()

        def release_space() -> None:
            nonlocal is_full
            is_full = False

        loop.call_later(60.0, release_space)
        await pool_worker.run(until_empty=True)

    run(world.clock, full_for_a_while())
    assert states(embedded) == {"sent": 300}
    assert sorted(Counter(world.arrived).values()) == [1] * 300


def test_a_worker_told_to_stop_while_the_database_is_locked_ends_and_says_why(
    embedded: Service, world: World
) -> None:
    crowd(embedded, 30)
    broadcast(embedded)
    world.seconds = 0.2
    pool_worker = worker(embedded, world)

    async def locked_for_good(other: sqlite3.Connection) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, other.execute, "BEGIN IMMEDIATE")
        loop.call_later(2.0, pool_worker.stop)
        await pool_worker.run()

    began = world.clock.monotonic()
    with other_program(embedded) as other, pytest.raises((StorageError, ExceptionGroup)):
        run(world.clock, locked_for_good(other))
    assert world.clock.monotonic() - began < 60


# The real thing


def test_the_real_connection_and_the_real_post_office_carry_every_message_once(
    service: Service, ben: Person, cleo: Person
) -> None:
    crowd(service, 120)
    broadcast(service)
    delivery_result = service.deliver_until_empty()
    assert delivery_result.sent == 121 and delivery_result.trouble == ""
    with service.database.read() as session:
        to = [posted.to for posted in postoffice.list_messages(session, limit=1000)]
    assert len(to) == len(set(to)) == 121
    assert ben.email in to and cleo.email not in to
    assert states(service) == {"sent": 121}


def test_the_real_connection_finds_nobody_at_home_and_later_somebody(service: Service, ben: Person) -> None:
    broadcast(service)
    nowhere = Relay(host="127.0.0.1", port=1, tls="none")
    with service.delivery([nowhere]) as failing_delivery:
        asyncio.run(failing_delivery.run(until_empty=True))
    assert failing_delivery.trouble
    (row,) = rows(service)
    assert (row.state, row.tries, row.reason) == ("queued", 0, Reason.RELAY_UNREACHABLE)
    service.clock.advance(minutes=1)  # type: ignore[attr-defined]
    assert service.deliver_until_empty().sent == 1
