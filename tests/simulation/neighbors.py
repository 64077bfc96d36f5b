"""Neighbors: the people of a world, and staff, who join, confirm, leave, pause, complain and write meanwhile.

They act as pages and commands do, in the process that serves them; when it does not answer they try again.
"""

import re
from collections.abc import Callable
from functools import cache
from random import Random
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import addresses, contacts, erasure, subscriptions, suppressions
from lists.addresses import Address
from lists.contacts import Contact
from lists.errors import StorageError
from mailer.events import events
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from mailer.sources import broadcasts
from mailer.sources.confirmations import SignupRequest
from mailer.templates import templates
from mailer.web.public import leaving
from tests.people import PEPPER
from tests.simulation.process import Killed
from tests.simulation.witness import EVERYTHING, LIST_MAIL, WITHIN, WITHIN_A_STALL, Stop

if TYPE_CHECKING:
    from tests.simulation.world import World

ASKING = frozenset({"confirmation"})
UPDATE = "---\nsubject: News\npreview: Some\n---\n{{ greeting }}\n\nThere is news.\n"
SEQUENCES = ("interest", "organizers")
DOMAINS = tuple(f"place{number}.example.org" for number in range(5))
TRY_AGAIN = 2.0  # seconds
MOST_TRIES = 200
_LINK = re.compile(rb"/confirm/([a-z0-9._~=-]+)")

Work = Callable[[Session, Service], Callable[[], None] | None]


@cache
def address_of(number: int) -> Address:
    """Return the address of one neighbor."""
    return addresses.parse(f"neighbor{number}@{DOMAINS[number % len(DOMAINS)]}", pepper=PEPPER)


@cache
def _update() -> templates.Template:
    sources = templates.parse_update(UPDATE, path="update.md")
    return templates.Template(name="broadcast", sources=sources)


class Neighbors:
    """Everybody of one world; `numbers` are theirs, `Contact.id` is only the database's."""

    def __init__(self, world: "World", chance: Random) -> None:
        self.world, self._chance = world, chance
        self.known: list[int] = []
        self.broadcasts: list[int] = []
        self.acting = True
        self.asked: set[str] = set()

    def settle_in(self, service: Service) -> None:
        """Let most of them be on a list before the world begins."""
        now = self.world.clock.now()
        with service.database.write() as session:
            for number in range(self.world.plan.people):
                language = "es" if number % 3 == 0 else "en"
                contacts.find_or_add(
                    session, address_of(number), now=now, language=language, name=f"N{number}"
                )
                self.known.append(number)
            ids = list(session.scalars(select(Contact.id).order_by(Contact.id)))
            organizers = ids[:: self._chance.randint(2, 5)]
            subscriptions.add_all(session, ids, list="interest", now=now, confirmed=True)
            subscriptions.add_all(session, organizers, list="organizers", now=now, confirmed=True)

    def make_plans(self) -> None:
        """Decide who will do what, and when."""
        world, chance = self.world, self._chance
        world.after(chance.uniform(0.2, 2.0), self.write_to_all)
        for act, most in (
            (self.join, 12),
            (self.leave, 10),
            (self.pause, 4),
            (self.complain, 3),
            (self.forget, 2),
            (self.come_back, 3),
            (self.write_to_all, 1),
            (self.recall, 1),
            (self.call, 1),
        ):
            for _ in range(chance.randint(0, most)):
                world.after(chance.uniform(0.5, world.plan.seconds), act)

    def join(self) -> None:
        """Somebody new signs up."""
        number = 1000 + len(self.known)
        self.known.append(number)
        self._ask(number)

    def come_back(self) -> None:
        """Somebody, who may have left, signs up again."""
        self._ask(self._chance.choice(self.known))

    def _ask(self, number: int) -> None:
        address = address_of(number)
        name = self._chance.choice(SEQUENCES)

        def work(session: Session, service: Service) -> Callable[[], None]:
            asked = SignupRequest(
                address=address, list=name, language="en", wording="Write to me.", page="/join"
            )
            service.confirmations.record_signup(session, asked, now=service.clock.now())
            contact = contacts.find(session, address)
            new = contact is not None and self._was_put(session, contact.id)
            return lambda: self._asked(None if contact is None else contact.id, address.email, name, new=new)

        self.do(f"asks for {name}", number, work)

    def _was_put(self, session: Session, contact_id: int) -> bool:
        fresh = select(OutboxRow.id).where(
            OutboxRow.contact_id == contact_id,
            OutboxRow.kind == "confirmation",
            OutboxRow.state == "queued",
            OutboxRow.queued_at == self.world.clock.now(),
        )
        return session.scalar(fresh.limit(1)) is not None

    def _asked(self, contact: int | None, email: str, name: str, *, new: bool) -> None:
        if contact is None:
            return
        self.world.witness.resume(contact, ASKING, list=name)
        if new:
            self.asked.add(email)
            within = WITHIN_A_STALL if self.world.plan.stalled else WITHIN
            self.world.after(within, self._overtook, email, self.world.clock.ticks, within)

    def _overtook(self, email: str, since: int, within: float) -> None:
        """Check that a confirmation left so soon, in a world where nothing went wrong meanwhile."""
        if any(email in relay.stalled for relay in self.world.relays):
            return
        begun = self.world.witness.named_at.get(email, -1) >= since
        if not begun and self.world.is_calm and not self.world.witness.is_stopped(email):
            self.world.breaks(f"the confirmation of {email} had not left {within:.0f} s after it was put")

    def received(self, row: int, recipient: str, text: bytes) -> None:
        """Somebody finds a mail; most press the button of a confirmation after a while."""
        letter = self.world.witness.letters[row]
        if letter.kind != "confirmation" or not self.acting or self._chance.random() < 0.2:
            return
        found = _LINK.search(text.replace(b"=\r\n", b"").replace(b"=3D", b"="))
        if found is None:
            self.world.breaks(f"row {row} asks to confirm, but has no link")
            return
        self.world.after(self._chance.uniform(0.1, 20.0), self._confirm, letter, found.group(1).decode())

    def _confirm(self, letter: "object", token: str) -> None:
        def work(session: Session, service: Service) -> Callable[[], None] | None:
            told = service.tokens.read_confirm(token)
            assert told is not None, "a link of ours that we cannot read"
            done = service.confirmations.confirm(
                session, subscription_id=told[0], round=told[1], page="/confirm", now=service.clock.now()
            )
            if done is None or done.list == "organizers":
                return None
            return lambda: self.world.witness.resume(done.contact_id, LIST_MAIL, list=done.list)

        self.do("confirms", 0, work)

    def leave(self) -> None:
        """Somebody leaves one list or all."""
        names = self._chance.choice([("interest",), ("organizers",), ("interest", "organizers")])

        def left(session: Session, service: Service, contact: int) -> list[Stop]:
            now = service.clock.now()
            gone = leaving.leave(
                session, contact_id=contact, page="/u", now=now, list=names[0] if len(names) == 1 else None
            )
            return [
                Stop(kinds=kinds, since=0, why=f"leaving {name}", list=name)
                for name in gone
                for kinds in (LIST_MAIL, ASKING)
            ]

        self._stop("leaves", left)

    def pause(self) -> None:
        """Somebody wants nothing for a long while."""

        def paused(session: Session, service: Service, contact: int) -> list[Stop]:
            now = service.clock.now()
            standing = [
                each.list
                for each in subscriptions.list_for_contact(session, contact)
                if each.state == "confirmed"
            ]
            subscriptions.pause(session, contact_id=contact, until=now.replace(year=now.year + 1))
            return [Stop(kinds=LIST_MAIL, since=0, why="a pause", list=name) for name in standing]

        self._stop("pauses", paused)

    def complain(self) -> None:
        """Somebody calls our mail spam."""

        def complained(session: Session, service: Service, contact: int) -> list[Stop]:
            found = session.get_one(Contact, contact)
            suppressions.add(session, found.email_digest, reason="complaint", now=service.clock.now())
            return [Stop(kinds=EVERYTHING, since=0, why="a complaint", list="")]

        self._stop("complains", complained)

    def forget(self) -> None:
        """Somebody wants to be forgotten."""
        number = self._chance.choice(self.known)

        def forgotten(session: Session, service: Service, contact: int) -> list[Stop]:
            erasure.erase_person(session, address_of(number), now=service.clock.now(), actor="staff")
            return [Stop(kinds=EVERYTHING, since=0, why="being forgotten", list="")]

        self._stop("is forgotten", forgotten, number=number)

    def _stop(
        self, what: str, act: Callable[[Session, Service, int], list[Stop]], *, number: int | None = None
    ) -> None:
        who = self._chance.choice(self.known) if number is None else number

        def work(session: Session, service: Service) -> Callable[[], None] | None:
            contact = contacts.find(session, address_of(who))
            if contact is None:
                return None
            contact_id, stops = contact.id, act(session, service, contact.id)

            def noted() -> None:
                for stop in stops:
                    stop.since = self.world.clock.ticks
                    self.world.witness.stop(contact_id, stop)

            return noted

        self.do(what, who, work)

    def write_to_all(self) -> None:
        """Staff send an update."""
        audience = self._chance.choice(SEQUENCES)

        def work(session: Session, service: Service) -> Callable[[], None]:
            now = service.clock.now()
            edition = service.editions.freeze(session, _update(), "broadcast", now=now)
            made = broadcasts.create(
                session, subject="News", audience=audience, edition_id=edition.id, now=now, actor="staff"
            )
            return lambda: self.broadcasts.append(made.id)

        self.do(f"staff write to {audience}", 0, work)

    def recall(self) -> None:
        """Staff stop an update; the job clears up."""
        if not self.broadcasts:
            return
        number = self._chance.choice(self.broadcasts)

        def work(session: Session, service: Service) -> Callable[[], None]:
            broadcasts.recall(session, number, now=service.clock.now(), actor="staff")
            return lambda: self.world.witness.recall(number)

        self.do(f"staff recall {number}", 0, work)

    def call(self) -> None:
        """Staff plan a call and invite to it."""

        def work(session: Session, service: Service) -> None:
            now = service.clock.now()
            event = events.create(
                session,
                title={"en": "Call", "es": "Llamada"},
                starts="2026-12-08 20:00",
                zone="America/New_York",
                minutes=60,
                join_url="https://meet.example.org/call",
                audience="organizers",
                now=now,
                actor="staff",
            )
            service.invitations.invite(session, event.id, now=now, actor="staff")

        self.do("staff invite", 0, work)

    def do(self, what: str, who: int, work: Work, tries: int = 0) -> None:
        """Do something in the process that serves; try again while it does not answer."""
        world, serve = self.world, self.world.serve
        if not self.acting or tries > MOST_TRIES:
            return
        done: list[bool] = []
        if not serve.dead and serve.stands_until <= world.clock.ticks:
            database = serve.service.database
            try:
                with database.write() as session:
                    noted = work(session, serve.service)
                    database.upon_commit(lambda: done.append(True))  # type: ignore[attr-defined]
                    if noted is not None:
                        database.upon_commit(noted)  # type: ignore[attr-defined]
            except (Killed, StorageError):
                pass
        if done:
            world.tell(f"neighbor {who}", what)
        else:
            world.after(TRY_AGAIN, self.do, what, who, work, tries + 1)
