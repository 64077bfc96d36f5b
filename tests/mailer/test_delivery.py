"""Nobody is lost and nobody is mailed twice, whatever the relay, the database or the clock does; and Cleo?"""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from lists import db, forgetting, subscriptions
from lists.contacts import Contact
from lists.errors import StorageTrouble
from lists.subscriptions import Subscription
from mailer import attempts, delivery, outbox, postoffice, templates, verdicts
from mailer import broadcasts as updates
from mailer import service as composition
from mailer.delivery import Delivery
from mailer.outbox import OutboxRow, Result
from mailer.relay import Relay
from mailer.service import Service
from mailer.settings import Settings
from mailer.smtp import Outcome
from tests import people
from tests.clocks import StoppedClock
from tests.loops import Inline, run
from tests.people import Person

SENT = Outcome(state="sent", code=250, reply="2.0.0 ok")
DOWN = Outcome(state="unreachable", reply="connection refused")
LATER = Outcome(state="deferred", code=451, reply="4.3.0 later")
REFUSED = Outcome(state="refused", code=550, reply="5.1.1 gone")
LOST = Outcome(state="unknown", reply="After the final dot: connection lost")
UPDATE = "---\nsubject: News\npreview: Some\n---\n{{ greeting }}\n\nThere is news.\n"


@dataclass
class World:
    """A relay on a stopped clock: each message takes `seconds`, and `answer` says what becomes of it."""

    clock: StoppedClock
    seconds: float = 0.0
    answer: Callable[[str], Outcome] = lambda recipient: SENT
    dotted_after: float = 0.0
    arrived: list[str] = field(default_factory=list)
    begun: list[tuple[str, float]] = field(default_factory=list)
    letters: list[bytes] = field(default_factory=list)
    connections: int = 0

    def connect(self) -> "Scripted":
        self.connections += 1
        return Scripted(self)


@dataclass
class Scripted:
    """One connection to that relay."""

    world: World
    dotted: bool = False

    async def send(
        self, *, sender: str, recipient: str, message: bytes, deadline: float | None = None
    ) -> Outcome:
        loop = asyncio.get_running_loop()
        self.dotted = False
        self.world.begun.append((recipient, loop.time()))
        if self.world.seconds:
            await asyncio.sleep(self.world.dotted_after)
            self.dotted = True
            await asyncio.sleep(self.world.seconds - self.world.dotted_after)
        outcome = self.world.answer(recipient)
        if outcome.state in ("sent", "unknown"):
            self.world.arrived.append(recipient)
            self.world.letters.append(message)
        return outcome

    async def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged, kept instead of printed."""
    with capture_logs() as kept:
        yield kept


@pytest.fixture
def world(clock: StoppedClock) -> World:
    return World(clock)


@pytest.fixture
def embedded(
    settings: Settings, sqlite_url: str, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Service]:
    """The service on SQLite, told at once that the database is locked instead of after ten real seconds."""
    monkeypatch.setattr(db, "LOCK_WAIT_SECONDS", 0)
    built = composition.build(settings, clock=clock)
    event.listen(built.database.engine, "connect", lambda made, _: made.execute("PRAGMA synchronous=OFF"))
    yield built
    built.close()


def worker(service: Service, world: World, *, connections: int = 10, name: str = "worker") -> Delivery:
    return Delivery(
        database=service.database,
        clock=world.clock,
        composer=service.composer,
        connect=world.connect,
        connections=connections,
        executor=Inline(),
        worker=name,
    )


def deliver(service: Service, world: World, *, connections: int = 10) -> Delivery:
    """Deliver what is due, in no time but the relay's."""
    made = worker(service, world, connections=connections)
    run(world.clock, made.run(until_empty=True))
    return made


def crowd(service: Service, number: int) -> list[int]:
    """Add this many confirmed neighbors on the interest list; returns their ids."""
    now = service.clock.now()
    with service.database.write() as session:
        rows = [
            {
                "email": f"n{each}@crowd.example",
                "email_key": f"n{each}@crowd.example",
                "email_digest": each.to_bytes(16, "big"),
                "created_at": now,
            }
            for each in range(number)
        ]
        session.execute(insert(Contact), rows)
        found = select(Contact.id).where(Contact.email.like("%@crowd.example")).order_by(Contact.id)
        ids = list(session.scalars(found))
        standing = {"list": "interest", "state": "confirmed", "asked_at": now, "confirmed_at": now}
        session.execute(insert(Subscription), [{"contact_id": each, **standing} for each in ids])
    return ids


def broadcast(service: Service, *, audience: str = "interest") -> int:
    """Send an update to a list: every reader has a row in the outbox."""
    now = service.clock.now()
    sources = templates.parse_update(UPDATE, path="update.md")
    with service.database.write() as session:
        template = templates.Template(name="broadcast", sources=sources)
        edition = service.editions.freeze(session, template, "broadcast", now=now)
        made = updates.create(
            session, subject="News", audience=audience, edition_id=edition.id, now=now, actor="test"
        )
    while True:
        with service.database.write() as session:
            if not service.broadcasts.fill(session, now=now, limit=10_000):
                return made.id


def states(service: Service) -> dict[str, int]:
    with service.database.read() as session:
        return dict(Counter(session.scalars(select(OutboxRow.state))))


def rows(service: Service) -> Sequence[OutboxRow]:
    with service.database.read() as session:
        return session.scalars(select(OutboxRow).order_by(OutboxRow.id)).all()


def confirmation(service: Service, person: Person) -> None:
    """Put a confirmation for somebody who asks to join the organizers."""
    now = service.clock.now()
    with service.database.write() as session:
        subscriptions.ask(session, contact_id=person.id, list="organizers", now=now)
        edition = service.editions.current(session, "confirm/organizers", "confirmation", now=now)
        outbox.put(
            session,
            key=f"confirmation/organizers/contact/{person.id}/{now:%Y-%m-%d}",
            kind="confirmation",
            list="organizers",
            contact_id=person.id,
            edition_id=edition,
            now=now,
        )


# What the relay says


def test_ben_gets_the_update_in_his_language_and_cleo_gets_nothing(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    broadcast(service)
    made = deliver(service, world)
    assert world.arrived == [ben.email]
    assert made.sent == 1
    assert states(service) == {"sent": 1}
    row = rows(service)[0]
    assert row.sent_at == world.clock.now()
    assert row.worker is None and row.lease_until is None
    with service.database.read() as session:
        (attempt,) = attempts.of_row(session, row.id)
    assert (attempt.address, attempt.outcome, attempt.code) == (ben.email, "sent", 250)


@pytest.mark.parametrize(
    ("outcome", "state", "tries", "why"),
    [
        (SENT, "sent", 1, ""),
        (LATER, "queued", 1, "their server asked us to try again later"),
        (REFUSED, "failed", 1, "their server refused it"),
        (DOWN, "queued", 0, "the relay cannot be reached"),
        (LOST, "unknown", 1, "the connection broke after the last byte"),
    ],
)
def test_each_answer_of_the_relay_leads_to_its_state(
    service: Service, world: World, ben: Person, outcome: Outcome, state: str, tries: int, why: str
) -> None:
    broadcast(service)
    world.answer = lambda recipient: outcome
    deliver(service, world)
    (row,) = rows(service)
    assert (row.state, row.tries, row.why) == (state, tries, why)
    assert (row.worker, row.lease_until) == (None, None)


def test_4xx_is_tried_again_after_5_10_20_40_and_then_every_66_minutes_until_it_is_too_late(
    embedded: Service, world: World
) -> None:
    crowd(embedded, 1)
    broadcast(embedded)
    world.answer = lambda recipient: LATER
    began = world.clock.now()
    gaps = []
    while world.clock.now() < began + timedelta(days=6):
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
    embedded.jobs.named("expire").run()
    assert states(embedded) == {"expired": 1}


def test_what_is_too_late_never_leaves_even_when_nobody_has_given_it_up_yet(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    world.clock.advance(days=7)
    deliver(service, world)
    assert world.begun == []
    with service.database.read() as session:
        assert outbox.waiting(session, now=world.clock.now()) == 0
    service.jobs.tick()
    assert states(service)["expired"] == 1


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
    made = deliver(service, world)
    assert made.trouble == "connection refused"
    assert made.sent == 0
    assert states(service) == {"queued": 301}
    assert len(world.begun) <= 20
    assert {row.tries for row in rows(service)} == {0}


def test_a_relay_down_for_48_hours_costs_no_attempt_and_everything_leaves_afterwards_once(
    embedded: Service, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "REST_LONGEST", 600.0)  # as it is, a minute, but ten times as many looks
    monkeypatch.setattr(delivery, "RENEW_SECONDS", 30.0)
    crowd(embedded, 30)
    with embedded.database.write() as session:
        cleo = people.cleo(session, now=world.clock.now())
    broadcast(embedded)
    up_at = world.clock.now() + timedelta(hours=48)
    world.seconds = 0.05
    world.answer = lambda recipient: SENT if world.clock.now() >= up_at else DOWN
    made = worker(embedded, world, connections=3)

    async def days() -> None:
        asyncio.get_running_loop().call_later(48 * 3600 + 700, made.stop)
        await made.run()

    run(world.clock, days())
    assert states(embedded) == {"sent": 30}
    assert sorted(Counter(world.arrived).values()) == [1] * 30
    assert cleo.email not in world.arrived
    assert {row.tries for row in rows(embedded)} == {1}
    assert len(world.begun) < 30 + 48 * 6 * 4  # one look at a time, by each connection
    assert max(row.sent_at for row in rows(embedded) if row.sent_at) < up_at + timedelta(seconds=610)


def test_a_relay_that_takes_fewer_connections_than_we_have_slows_but_stops_nobody(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 400)
    broadcast(service)
    busy = 0

    class Narrow(Scripted):
        async def send(self, **letter: Any) -> Outcome:
            nonlocal busy
            if busy >= 4:
                return DOWN
            busy += 1
            try:
                return await super().send(**letter)
            finally:
                busy -= 1

    world.seconds = 0.05
    made = replace(worker(service, world), connect=lambda: Narrow(world))
    began = world.clock.now()

    async def hour() -> None:
        asyncio.get_running_loop().call_later(120, made.stop)
        await made.run()

    run(world.clock, hour())
    assert states(service) == {"sent": 401}
    assert {row.tries for row in rows(service)} == {1}
    assert max(row.sent_at for row in rows(service) if row.sent_at) < began + timedelta(seconds=60)


# Stopping


def test_stop_in_the_middle_gives_back_what_was_not_begun_and_records_what_was(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 200)
    broadcast(service)
    world.seconds = 0.3
    made = worker(service, world)

    async def stopped() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, made.stop)
        await made.run()
        return loop.time()

    began = world.clock.monotonic()
    ended = run(world.clock, stopped())
    assert ended - began < 1.5
    found = states(service)
    assert found["sent"] == len(world.arrived) == made.sent
    assert found["queued"] == 201 - found["sent"]
    assert set(found) == {"sent", "queued"}
    world.seconds = 0.0
    deliver(service, world)
    assert sorted(Counter(world.arrived).values()) == [1] * 201


def test_a_server_that_never_answers_holds_the_end_up_for_half_a_minute_and_no_longer(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 50)
    broadcast(service)
    world.seconds, world.dotted_after = 600.0, 500.0
    made = worker(service, world)

    async def stopped() -> float:
        asyncio.get_running_loop().call_later(1.0, made.stop)
        await made.run()
        return asyncio.get_running_loop().time()

    began = world.clock.monotonic()
    assert run(world.clock, stopped()) - began < 32
    assert states(service) == {"queued": 51}


def test_what_was_cut_off_after_the_final_dot_is_unknown_and_never_sent_again_blindly(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 50)
    broadcast(service)
    world.seconds = 600.0
    made = worker(service, world)

    async def stopped() -> None:
        asyncio.get_running_loop().call_later(1.0, made.stop)
        await made.run()

    run(world.clock, stopped())
    assert states(service) == {"unknown": 10, "queued": 41}
    cut_off = {recipient for recipient, _ in world.begun}
    world.seconds = 0.0
    deliver(service, world)
    assert cut_off.isdisjoint(world.arrived)


def test_a_stop_while_the_relay_rests_is_at_once(service: Service, world: World, ben: Person) -> None:
    broadcast(service)
    world.answer = lambda recipient: DOWN
    made = worker(service, world)

    async def stopped() -> float:
        asyncio.get_running_loop().call_later(300.0, made.stop)
        await made.run()
        return asyncio.get_running_loop().time()

    began = world.clock.monotonic()
    assert run(world.clock, stopped()) - began < 301
    assert states(service) == {"queued": 1}


# Faults


def test_a_fault_in_one_message_s_composing_does_not_stop_the_others(
    service: Service, world: World, ben: Person
) -> None:
    ids = crowd(service, 80)
    broadcast(service)
    kind = service.sources["broadcast"]
    usual = type(kind).compose

    class Faulty(type(kind)):  # type: ignore[misc]
        def compose(self, session: Any, letters: Any, *, now: Any) -> Any:
            if any(letter.entry.contact_id == ids[40] for letter in letters):
                raise ZeroDivisionError
            return usual(self, session, letters, now=now)

    broken = replace(service.composer, sources={**service.sources, "broadcast": Faulty()})
    made = replace(worker(service, world), composer=broken)
    run(world.clock, made.run(until_empty=True))
    assert states(service) == {"sent": 80, "failed": 1}
    (failed,) = [row for row in rows(service) if row.state == "failed"]
    assert failed.contact_id == ids[40]
    assert "ZeroDivisionError" in failed.why


def test_a_database_that_fails_while_composing_is_no_fault_of_any_message(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 20)
    broadcast(service)
    kind = service.sources["broadcast"]
    failures = 5

    class Unlucky(type(kind)):  # type: ignore[misc]
        def compose(self, session: Any, letters: Any, *, now: Any) -> Any:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))
            return super().compose(session, letters, now=now)

    composer = replace(service.composer, sources={**service.sources, "broadcast": Unlucky()})
    made = replace(worker(service, world), composer=composer)
    run(world.clock, made.run(until_empty=True))
    assert states(service) == {"sent": 21}


def test_a_source_that_fails_to_hear_of_one_outcome_leads_to_no_second_mail(
    service: Service, world: World, ben: Person
) -> None:
    ids = crowd(service, 30)
    broadcast(service)
    kind = service.sources["broadcast"]

    class Deaf(type(kind)):  # type: ignore[misc]
        def settle(self, session: Any, results: Any, *, now: Any) -> None:
            if any(result.entry.contact_id == ids[3] for result in results):
                raise KeyError("deaf")

    composer = replace(service.composer, sources={**service.sources, "broadcast": Deaf()})
    made = replace(worker(service, world), composer=composer)
    run(world.clock, made.run(until_empty=True))
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


# A database that is locked or full


@contextmanager
def other_program(service: Service) -> Iterator[sqlite3.Connection]:
    """Another program that has the same database file open."""
    path = service.settings.database_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        yield connection


def rescue(service: Service) -> int:
    return service.jobs.named("rescue").run()


@pytest.mark.parametrize("seconds", [3, 30, 70, 300])
def test_a_database_locked_for_a_while_loses_nothing_and_nothing_is_sent_twice(
    embedded: Service, world: World, seconds: int
) -> None:
    crowd(embedded, 300)
    broadcast(embedded)
    world.seconds = 0.2
    made = worker(embedded, world)

    async def locked_for_a_while(other: sqlite3.Connection) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, other.execute, "BEGIN IMMEDIATE")

        def free() -> None:
            other.execute("ROLLBACK")
            rescue(embedded)  # the scheduler of the other process is the first to get at the database

        loop.call_later(1.0 + seconds, free)
        await made.run(until_empty=True)

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
    made = worker(embedded, world)
    full = True

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0] if full else 1_000_000
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(embedded.database.engine, "checkout", limit)

    async def full_for_a_while() -> None:
        nonlocal full
        loop = asyncio.get_running_loop()

        def room() -> None:
            nonlocal full
            full = False

        loop.call_later(60.0, room)
        await made.run(until_empty=True)

    run(world.clock, full_for_a_while())
    assert states(embedded) == {"sent": 300}
    assert sorted(Counter(world.arrived).values()) == [1] * 300


def test_a_worker_told_to_stop_while_the_database_is_locked_ends_and_says_why(
    embedded: Service, world: World
) -> None:
    crowd(embedded, 30)
    broadcast(embedded)
    world.seconds = 0.2
    made = worker(embedded, world)

    async def locked_for_good(other: sqlite3.Connection) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.3, other.execute, "BEGIN IMMEDIATE")
        loop.call_later(2.0, made.stop)
        await made.run()

    began = world.clock.monotonic()
    with other_program(embedded) as other, pytest.raises((StorageTrouble, ExceptionGroup)):
        run(world.clock, locked_for_good(other))
    assert world.clock.monotonic() - began < 60


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


def test_what_a_lost_worker_had_claimed_is_put_back_when_its_lease_is_over_and_not_before(
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
    assert states(service) == {"sent": 21}
    with service.database.write() as session:  # the lost one comes back from the dead
        assert outbox.record(session, [verdicts.back(entry) for entry in lost], now=now) == []
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
    sent = Result(entry=entry, state="sent", tried=True, address=ben.email, outcome="sent")
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
            forgetting.forget(session, ben.address, now=service.clock.now(), actor="test")

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


# The real thing


def test_the_real_connection_and_the_real_post_office_carry_every_message_once(
    service: Service, ben: Person, cleo: Person
) -> None:
    crowd(service, 120)
    broadcast(service)
    made = service.deliver_until_empty()
    assert made.sent == 121 and made.trouble == ""
    with service.database.read() as session:
        to = [posted.to for posted in postoffice.messages(session, limit=1000)]
    assert len(to) == len(set(to)) == 121
    assert ben.email in to and cleo.email not in to
    assert states(service) == {"sent": 121}


def test_the_real_connection_finds_nobody_at_home_and_later_somebody(service: Service, ben: Person) -> None:
    broadcast(service)
    nowhere = Relay(host="127.0.0.1", port=1, tls="none")
    with service.delivery(nowhere) as made:
        asyncio.run(made.run(until_empty=True))
    assert made.trouble
    (row,) = rows(service)
    assert (row.state, row.tries, row.why) == ("queued", 0, "the relay cannot be reached")
    service.clock.advance(minutes=1)  # type: ignore[attr-defined]
    assert service.deliver_until_empty().sent == 1
