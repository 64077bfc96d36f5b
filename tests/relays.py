"""Relays for tests: a relay on a stopped clock, many contacts, and an update for all of them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert, select

from lists import subscriptions
from lists.contacts import Contact
from lists.subscriptions import Subscription
from mailer.delivery.delivery import Delivery
from mailer.delivery.journal import FOLDER, Journal
from mailer.delivery.relay_pool import RelayPool
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from mailer.smtp.capabilities import Capabilities
from mailer.smtp.connection import Outcome
from mailer.smtp.rate import Rate, parse_per_domain
from mailer.sources import broadcasts
from mailer.templates import templates
from tests.clocks import StoppedClock
from tests.loops import Inline, run
from tests.people import Person

SENT = Outcome(state="sent", code=250, reply="2.0.0 ok")
DOWN = Outcome(state="unreachable", reply="connection refused")
LATER = Outcome(state="deferred", code=451, reply="4.3.0 later")
REFUSED = Outcome(state="refused", code=550, reply="5.1.1 gone")
SILENT = Outcome(state="deferred", reply="Before the final dot: no answer")
SILENT_DOT = Outcome(state="unknown", reply="After the final dot: no answer")
LOST = Outcome(state="unknown", reply="After the final dot: connection lost")
UPDATE = "---\nsubject: News\npreview: Some\n---\n{{ greeting }}\n\nThere is news.\n"


@dataclass
class World:
    """A relay on a stopped clock: each message takes `seconds`, and `answer` returns its outcome.

    The final dot is written after `dotted_after` seconds; opening a connection takes `opening`. `stalls` maps
    recipients to the command, "RCPT" or the "dot", that never gets a reply.
    """

    clock: StoppedClock
    logs: list[MutableMapping[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    answer: Callable[[str], Outcome] = lambda recipient: SENT
    dotted_after: float = 0.0
    opening: float = 0.0
    stalls: Mapping[str, str] = field(default_factory=dict)
    arrived: list[str] = field(default_factory=list)
    begun: list[tuple[str, float]] = field(default_factory=list)
    letters: list[bytes] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0

    def connect(self) -> "Scripted":
        self.connections += 1
        return Scripted(self)


@dataclass
class Scripted:
    """One connection to that relay."""

    world: World
    dot_written: bool = False
    capabilities: Capabilities | None = None
    is_opened: bool = False
    given_up: "asyncio.Future[None] | None" = None

    async def send(
        self,
        *,
        sender: str,
        recipient: str,
        message: bytes,
        may_begin: Callable[[], bool],
        deadline: Callable[[], float],
        before_dot: Callable[[], None],
    ) -> Outcome | None:
        loop = asyncio.get_running_loop()
        self.dot_written = False
        if self.world.opening and not self.is_opened:
            await asyncio.sleep(self.world.opening)
        self.is_opened = True
        if not may_begin():
            return None
        self.world.begun.append((recipient, loop.time()))
        self.world.at_once += 1
        self.world.most_at_once = max(self.world.most_at_once, self.world.at_once)
        try:
            return await self._take(recipient, message, deadline, before_dot)
        finally:
            self.world.at_once -= 1

    async def _take(
        self,
        recipient: str,
        message: bytes,
        deadline: Callable[[], float],
        before_dot: Callable[[], None],
    ) -> Outcome:
        loop = asyncio.get_running_loop()
        if recipient in self.world.stalls:
            return await self._stall(recipient, before_dot)
        if self.world.seconds:
            await asyncio.sleep(self.world.dotted_after)
            if loop.time() > deadline():
                return LATER
            before_dot()
            self.dot_written = True
            await asyncio.sleep(self.world.seconds - self.world.dotted_after)
        outcome = self.world.answer(recipient)
        if outcome.state in ("sent", "unknown"):
            self.world.arrived.append(recipient)
            self.world.letters.append(message)
        return outcome

    async def _stall(self, recipient: str, before_dot: Callable[[], None]) -> Outcome:
        """Wait for a reply that never comes, as long as RFC 5321 requires."""
        self.given_up = asyncio.get_running_loop().create_future()
        if self.world.stalls[recipient] == "dot":
            before_dot()
            self.dot_written = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self.given_up, 600.0 if self.dot_written else 300.0)
        return SILENT_DOT if self.dot_written else SILENT

    async def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def give_up(self) -> bool:
        if self.dot_written or self.given_up is None or self.given_up.done():
            return False
        self.given_up.set_result(None)
        return True


def make_pool(
    world: World,
    *,
    name: str = "relay.example:25",
    connections: int = 10,
    weight: int = 1,
    rate: str | None = None,
    shared: int | None = None,
) -> RelayPool:
    limit = Rate.parse(rate) if rate else None
    return RelayPool(
        name=name,
        connect=world.connect,
        connections=connections,
        weight=weight,
        rate=limit,
        shared=shared,
    )


def worker(
    service: Service,
    world: World,
    *,
    connections: int = 10,
    name: str = "worker",
    pools: Sequence[RelayPool] | None = None,
    domains: Sequence[str] = (),
) -> Delivery:
    return Delivery(
        database=service.database,
        clock=world.clock,
        composer=service.composer,
        pools=pools or [make_pool(world, connections=connections)],
        executor=Inline(),
        journal=Journal(service.settings.home / FOLDER, worker=name),
        worker=name,
        domains=parse_per_domain(domains),
    )


def deliver(
    service: Service, world: World, *, connections: int = 10, pools: Sequence[RelayPool] | None = None
) -> Delivery:
    """Deliver what is due; only the relay takes time."""
    delivery = worker(service, world, connections=connections, pools=pools)
    run(world.clock, delivery.run(until_empty=True))
    return delivery


def crowd(service: Service, number: int) -> list[int]:
    """Add this many confirmed neighbors on the interest list; returns their ids."""
    now = service.clock.now()
    with service.database.write() as session:
        rows = [
            {
                "email": f"n{index}@crowd.example",
                "email_key": f"n{index}@crowd.example",
                "email_digest": index.to_bytes(16, "big"),
                "created_at": now,
            }
            for index in range(number)
        ]
        session.execute(insert(Contact), rows)
        query = select(Contact.id).where(Contact.email.like("%@crowd.example")).order_by(Contact.id)
        ids = list(session.scalars(query))
        values = {"list": "interest", "state": "confirmed", "asked_at": now, "confirmed_at": now}
        session.execute(insert(Subscription), [{"contact_id": index, **values} for index in ids])
    return ids


def broadcast(service: Service, *, audience: str = "interest") -> int:
    """Create an update to a list, with a row in the outbox for every reader."""
    now = service.clock.now()
    sources = templates.parse_update(UPDATE, path="update.md")
    with service.database.write() as session:
        template = templates.Template(name="broadcast", sources=sources)
        edition = service.editions.freeze(session, template, "broadcast", now=now)
        update = broadcasts.create(
            session, subject="News", audience=audience, edition_id=edition.id, now=now, actor="test"
        )
    while True:
        with service.database.write() as session:
            if not service.broadcasts.fill(session, now=now, limit=10_000):
                return update.id


def states(service: Service) -> dict[str, int]:
    with service.database.read() as session:
        return dict(Counter(session.scalars(select(OutboxRow.state))))


def rows(service: Service) -> Sequence[OutboxRow]:
    with service.database.read() as session:
        return session.scalars(select(OutboxRow).order_by(OutboxRow.id)).all()


def confirmation(service: Service, person: Person) -> None:
    """Queue a confirmation for a person who signs up for the organizers."""
    now = service.clock.now()
    with service.database.write() as session:
        subscriptions.ask(session, contact_id=person.id, list="organizers", now=now)
        edition = service.editions.freeze_current(session, "confirm/organizers", "confirmation", now=now)
        outbox.put(
            session,
            key=f"confirmation/organizers/contact/{person.id}/{now:%Y-%m-%d}",
            kind="confirmation",
            list="organizers",
            contact_id=person.id,
            edition_id=edition,
            now=now,
        )


def move_to_domain(service: Service, ids: Sequence[int], domain: str) -> None:
    """Move the mailboxes of these people to another domain."""
    with service.database.write() as session:
        for contact_id in ids:
            person = session.get(Contact, contact_id)
            assert person is not None
            person.email = person.email_key = f"n{contact_id}@{domain}"


def count_most(moments: Sequence[float], period: float) -> int:
    """Return the most messages that began in any half-open window as long as the period."""
    ordered = sorted(moments)
    return max(sum(first <= moment < first + period for moment in ordered) for first in ordered)
