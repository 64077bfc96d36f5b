"""Neighbors: the people and staff of a world, who join, confirm, leave, pause, complain and write.

They act as pages and commands do, in the process that serves them; when it does not answer they try again.
"""

import re
from collections.abc import Callable
from functools import cache
from random import Random
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import addresses, contacts, subscriptions, suppressions
from lists.addresses import Address
from lists.contacts import Contact
from lists.errors import StorageError
from lists.identity import erasure
from mailer.events import events
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from mailer.sources import broadcasts
from mailer.sources.confirmations import SignupRequest
from mailer.templates import templates
from mailer.web.public import opt_out
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
MAX_TRIES = 200
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
    """The people of one world; `numbers` identify them, `Contact.id` is only the database's."""

    def __init__(self, world: "World", chance: Random) -> None:
        self.world, self._chance = world, chance
        self.numbers: list[int] = []
        self.broadcasts: list[int] = []
        self.acting = True
        self.signup_emails: set[str] = set()

    def subscribe_people(self, service: Service) -> None:
        """Subscribe the people before the world begins."""
        now = self.world.clock.now()
        with service.database.write() as session:
            for number in range(self.world.plan.people):
                language = "es" if number % 3 == 0 else "en"
                contacts.find_or_add(
                    session, address_of(number), now=now, language=language, name=f"N{number}"
                )
                self.numbers.append(number)
            ids = list(session.scalars(select(Contact.id).order_by(Contact.id)))
            organizers = ids[:: self._chance.randint(2, 5)]
            subscriptions.add_all(session, ids, list="interest", now=now, confirmed=True)
            subscriptions.add_all(session, organizers, list="organizers", now=now, confirmed=True)

    def schedule_actions(self) -> None:
        """Schedule the actions at random moments."""
        world, chance = self.world, self._chance
        world.after(chance.uniform(0.2, 2.0), self.write_to_all)
        for act, most in (
            (self.join, 12),
            (self.leave, 10),
            (self.pause, 4),
            (self.complain, 3),
            (self.forget, 2),
            (self.sign_up_again, 3),
            (self.write_to_all, 1),
            (self.recall, 1),
            (self.call, 1),
        ):
            for _ in range(chance.randint(0, most)):
                world.after(chance.uniform(0.5, world.plan.seconds), act)

    def join(self) -> None:
        """Let a new person sign up."""
        number = 1000 + len(self.numbers)
        self.numbers.append(number)
        self._ask(number)

    def sign_up_again(self) -> None:
        """Let a person, who may have left, sign up again."""
        self._ask(self._chance.choice(self.numbers))

    def _ask(self, number: int) -> None:
        address = address_of(number)
        name = self._chance.choice(SEQUENCES)

        def work(session: Session, service: Service) -> Callable[[], None]:
            signup = SignupRequest(
                address=address, list=name, language="en", wording="Write to me.", page="/join"
            )
            service.confirmations.record_signup(session, signup, now=service.clock.now())
            contact = contacts.find(session, address)
            new = contact is not None and self._was_queued(session, contact.id)
            return lambda: self._note_signup(
                None if contact is None else contact.id, address.email, name, new=new
            )

        self.do(f"asks for {name}", number, work)

    def _was_queued(self, session: Session, contact_id: int) -> bool:
        query = select(OutboxRow.id).where(
            OutboxRow.contact_id == contact_id,
            OutboxRow.kind == "confirmation",
            OutboxRow.state == "queued",
            OutboxRow.queued_at == self.world.clock.now(),
        )
        return session.scalar(query.limit(1)) is not None

    def _note_signup(self, contact: int | None, email: str, name: str, *, new: bool) -> None:
        if contact is None:
            return
        self.world.witness.resume(contact, ASKING, list=name)
        if new:
            self.signup_emails.add(email)
            within = WITHIN_A_STALL if self.world.plan.stalled else WITHIN
            self.world.after(within, self._check_confirmation_sent, email, self.world.clock.ticks, within)

    def _check_confirmation_sent(self, email: str, since: int, within: float) -> None:
        """Check that a confirmation was sent in time, in a world without faults meanwhile."""
        if any(email in relay.stalled for relay in self.world.relays):
            return
        has_begun = self.world.witness.recipient_moments.get(email, -1) >= since
        if not has_begun and self.world.is_calm and not self.world.witness.is_stopped(email):
            self.world.breaks(f"the confirmation of {email} had not left {within:.0f} s after it was put")

    def read_mail(self, row: int, recipient: str, text: bytes) -> None:
        """Let a person read a mail; most press the button of a confirmation after a while."""
        message = self.world.witness.messages[row]
        if message.kind != "confirmation" or not self.acting or self._chance.random() < 0.2:
            return
        match = _LINK.search(text.replace(b"=\r\n", b"").replace(b"=3D", b"="))
        if match is None:
            self.world.breaks(f"row {row} asks to confirm, but has no link")
            return
        self.world.after(self._chance.uniform(0.1, 20.0), self._confirm, message, match.group(1).decode())

    def _confirm(self, message: "object", token: str) -> None:
        def work(session: Session, service: Service) -> Callable[[], None] | None:
            parts = service.tokens.read_confirm(token)
            assert parts is not None, "a link of this service that it cannot read"
            confirmation = service.confirmations.confirm(
                session, subscription_id=parts[0], round=parts[1], page="/confirm", now=service.clock.now()
            )
            if confirmation is None or confirmation.list == "organizers":
                return None
            return lambda: self.world.witness.resume(
                confirmation.contact_id, LIST_MAIL, list=confirmation.list
            )

        self.do("confirms", 0, work)

    def leave(self) -> None:
        """Let a person leave one list or all."""
        names = self._chance.choice([("interest",), ("organizers",), ("interest", "organizers")])

        def stop_leaver(session: Session, service: Service, contact: int) -> list[Stop]:
            now = service.clock.now()
            names_left = opt_out.leave(
                session, contact_id=contact, page="/u", now=now, list=names[0] if len(names) == 1 else None
            )
            return [
                Stop(kinds=kinds, since=0, why=f"leaving {name}", list=name)
                for name in names_left
                for kinds in (LIST_MAIL, ASKING)
            ]

        self._stop("leaves", stop_leaver)

    def pause(self) -> None:
        """Let a person pause for a year."""

        def stop_pauser(session: Session, service: Service, contact: int) -> list[Stop]:
            now = service.clock.now()
            names = [
                subscription.list
                for subscription in subscriptions.list_for_contact(session, contact)
                if subscription.state == "confirmed"
            ]
            subscriptions.pause(session, contact_id=contact, until=now.replace(year=now.year + 1))
            return [Stop(kinds=LIST_MAIL, since=0, why="a pause", list=name) for name in names]

        self._stop("pauses", stop_pauser)

    def complain(self) -> None:
        """Let a person complain of spam."""

        def stop_complainer(session: Session, service: Service, contact: int) -> list[Stop]:
            stored = session.get_one(Contact, contact)
            suppressions.add(session, stored.email_digest, reason="complaint", now=service.clock.now())
            return [Stop(kinds=EVERYTHING, since=0, why="a complaint", list="")]

        self._stop("complains", stop_complainer)

    def forget(self) -> None:
        """Let a person be erased."""
        number = self._chance.choice(self.numbers)

        def stop_erased(session: Session, service: Service, contact: int) -> list[Stop]:
            erasure.erase_person(session, address_of(number), now=service.clock.now(), actor="staff")
            return [Stop(kinds=EVERYTHING, since=0, why="being forgotten", list="")]

        self._stop("is forgotten", stop_erased, number=number)

    def _stop(
        self, what: str, act: Callable[[Session, Service, int], list[Stop]], *, number: int | None = None
    ) -> None:
        person = self._chance.choice(self.numbers) if number is None else number

        def work(session: Session, service: Service) -> Callable[[], None] | None:
            contact = contacts.find(session, address_of(person))
            if contact is None:
                return None
            contact_id, stops = contact.id, act(session, service, contact.id)

            def note_stops() -> None:
                for stop in stops:
                    stop.since = self.world.clock.ticks
                    self.world.witness.stop(contact_id, stop)

            return note_stops

        self.do(what, person, work)

    def write_to_all(self) -> None:
        """Let staff send an update."""
        audience = self._chance.choice(SEQUENCES)

        def work(session: Session, service: Service) -> Callable[[], None]:
            now = service.clock.now()
            edition = service.editions.freeze(session, _update(), "broadcast", now=now)
            broadcast = broadcasts.create(
                session, subject="News", audience=audience, edition_id=edition.id, now=now, actor="staff"
            )
            return lambda: self.broadcasts.append(broadcast.id)

        self.do(f"staff write to {audience}", 0, work)

    def recall(self) -> None:
        """Let staff recall an update; the job cancels what waits."""
        if not self.broadcasts:
            return
        number = self._chance.choice(self.broadcasts)

        def work(session: Session, service: Service) -> Callable[[], None]:
            broadcasts.recall(session, number, now=service.clock.now(), actor="staff")
            return lambda: self.world.witness.recall(number)

        self.do(f"staff recall {number}", 0, work)

    def call(self) -> None:
        """Let staff create a call and invite to it."""

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

    def do(self, what: str, person: int, work: Work, tries: int = 0) -> None:
        """Run an action in the process that serves; try again while it does not answer."""
        world, serve = self.world, self.world.serve
        if not self.acting or tries > MAX_TRIES:
            return
        commits: list[bool] = []
        if not serve.dead and serve.stands_until <= world.clock.ticks:
            database = serve.service.database
            try:
                with database.write() as session:
                    on_commit = work(session, serve.service)
                    database.upon_commit(lambda: commits.append(True))  # type: ignore[attr-defined]
                    if on_commit is not None:
                        database.upon_commit(on_commit)  # type: ignore[attr-defined]
            except (Killed, StorageError):
                pass
        if commits:
            world.tell(f"neighbor {person}", what)
        else:
            world.after(TRY_AGAIN, self.do, what, person, work, tries + 1)
