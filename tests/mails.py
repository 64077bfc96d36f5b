"""Every mail that can be sent, composed as a worker composes, from the registry of templates and kinds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from lists import addresses, catalog, contacts, subscriptions
from lists.catalog import BUILT_IN_LISTS
from lists.contacts import LANGUAGES
from lists.directory import Application
from mailer.compose import source
from mailer.compose.composer import ReadyMessage
from mailer.compose.editions import Edition
from mailer.events import events
from mailer.outbox import due_rows, outbox
from mailer.outbox.outbox import Entry, Result
from mailer.people import address_change
from mailer.service import Service
from mailer.sources import broadcasts
from mailer.sources.confirmations import SignupRequest
from mailer.templates import templates
from mailer.templates.templates import Template
from tests import people
from tests.clocks import StoppedClock
from tests.people import PEPPER, Person

STAFF = "staff@campaign.example.org"
LONGEST = "a1-" + "neighbors-of-the-north-side-of-town"[:35] + "-9"  # 40 characters, the most there may be
LISTS = ("clergy-az", "vigil-2027", "drivers", LONGEST)
LIST_WITH_OWN_MESSAGE = "drivers"  # this list has a confirmation message of its own
FRIENDS = Application(organization="Friends Meeting", zip="10027")
DAYS = 40  # longer than every sequence
UPDATE = """---
subject:
  en: News of {list}
  es: Noticias de {list}
---
<!-- en -->
{{{{ greeting }}}}

The [toolkit]({{{{ toolkit_url }}}}), the [webinar]({{{{ webinar_url }}}}),
the [slides]({{{{ powerpoint_url }}}}), the [guide]({{{{ guide_url }}}}),
the [pledge]({{{{ pledge_url }}}}) and [friends]({{{{ allies_url }}}}).
<!-- es -->
{{{{ greeting }}}}

La [guía]({{{{ toolkit_url }}}}), el [seminario]({{{{ webinar_url }}}}),
las [láminas]({{{{ powerpoint_url }}}}), la [carta]({{{{ guide_url }}}}),
el [compromiso]({{{{ pledge_url }}}}) y [amigos]({{{{ allies_url }}}}).
"""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One message as it is sent: `list` is "" where it belongs to none, `template` names its edition."""

    kind: str
    template: str
    list: str
    language: str
    discreet: bool
    contact_id: int
    recipient: str
    raw: bytes


@dataclass(frozen=True, kw_only=True)
class Mailroom:
    """Gives every kind of mail a reason, lets the days pass, and composes whatever is due."""

    service: Service
    clock: StoppedClock
    lists: Sequence[str] = LISTS

    def mails(self) -> Iterator[Mail]:
        """Yield each mail when it would be sent, plain and discreet; it counts as sent afterwards.

        A caller that follows its links restores the rows before it takes the next one.
        """
        for name in self.lists:
            self._add_list(name)
        for language in LANGUAGES:
            self._begin(language)
        yield from self._due()
        self._change_events()
        self._tell_staff_in("es")
        end = self.clock.now() + timedelta(days=DAYS)
        while self.clock.now() < end:
            self.clock.advance(days=1)
            yield from self._due()

    def _add_list(self, name: str) -> None:
        message = {
            language: {"subject": "Yes?", "preview": "", "body": "{{ greeting }}\n\n[Yes]({{ confirm_url }})"}
            for language in LANGUAGES
        }
        with self.service.database.write() as session:
            catalog.add(
                session,
                name,
                title={"en": f"The list {name}", "es": f"La lista {name}"},
                about={"en": "One letter a month.", "es": "Una carta al mes."},
                confirmation_message=message if name == LIST_WITH_OWN_MESSAGE else {},
                now=self.clock.now(),
                actor="staff",
            )

    def _begin(self, language: str) -> None:
        """Let people join every list, be on it, be invited and written to, and staff have work."""
        with self.service.database.write() as session:
            ana = self._on(session, "ana", language, list="organizers")
            for name in ("interest", *self.lists):
                self._on(session, "ben", language, list=name)
            for name in (*BUILT_IN_LISTS, *self.lists):
                application = FRIENDS if name == "organizers" else None
                self._ask(session, f"dora.{name}", language, list=name, application=application)
                self._ask(session, "ben", language, list=name)
            self._sign_up(session, language)
            self._move(session, self._on(session, "gus", language, list="interest"), language)
            self.service.confirmations.send_access_link(session, ana.id, now=self.clock.now())
        for name in (*BUILT_IN_LISTS, *self.lists) if language == "en" else ():
            self._write_to(name)

    def _on(self, session: Session, local_part: str, language: str, *, list: str) -> Person:
        return people.add(
            session,
            name=local_part.capitalize(),
            email=f"{local_part}.{language}@example.org",
            language=language,
            zip="10027",
            list=list,
            now=self.clock.now(),
        )

    def _ask(
        self,
        session: Session,
        local_part: str,
        language: str,
        *,
        list: str,
        application: Application | None = None,
    ) -> None:
        signup = SignupRequest(
            address=addresses.parse(f"{local_part}.{language}@example.org", pepper=PEPPER),
            list=list,
            language=language,
            wording="Yes",
            page="/join",
        )
        self.service.confirmations.record_signup(
            session, signup, now=self.clock.now(), application=application
        )

    def _sign_up(self, session: Session, language: str) -> None:
        """Let an organizer sign up and confirm, so that a mail says that the sign-up was received."""
        self._ask(session, "eva", language, list="organizers", application=FRIENDS)
        session.flush()
        eva = contacts.find(session, addresses.parse(f"eva.{language}@example.org", pepper=PEPPER))
        assert eva is not None
        pending = subscriptions.find(session, contact_id=eva.id, list="organizers")
        assert pending is not None
        self.service.confirmations.confirm(
            session, subscription_id=pending.id, round=pending.round, page="/confirm", now=self.clock.now()
        )

    def _move(self, session: Session, person: Person, language: str) -> None:
        address_change.change_address(
            session,
            person.id,
            addresses.parse(f"gus.new.{language}@example.org", pepper=PEPPER),
            version=contacts.get(session, person.id).version,
            source=self.service.confirmations,
            now=self.clock.now(),
            actor="staff",
        )

    def _write_to(self, name: str) -> None:
        """Plan a call of a list and invite to it; write an update to the list."""
        now = self.clock.now()
        sources = templates.parse_update(UPDATE.format(list=name), path="update.md")
        with self.service.database.write() as session:
            event = events.create(
                session,
                title={"en": "December call", "es": "Llamada de diciembre"},
                starts="2026-12-18 20:00",
                zone="America/New_York",
                minutes=60,
                join_url="https://meet.example.org/december",
                audience=name,
                now=now,
                actor="staff",
            )
            self.service.invitations.invite(session, event.id, now=now, actor="staff")
            edition = self.service.editions.freeze(
                session, Template(name="broadcast", sources=sources), "broadcast", now=now
            )
            broadcasts.create(
                session, subject="News", audience=name, edition_id=edition.id, now=now, actor="staff"
            )

    def _change_events(self) -> None:
        """Move every call by a day, so that calendars get an update."""
        with self.service.database.write() as session:
            for event in events.list_all(session):
                event.starts_at += timedelta(days=1)
                event.sequence += 1
                event.changed_at = self.clock.now()

    def _tell_staff_in(self, language: str) -> None:
        with self.service.database.write() as session:
            staff = contacts.find(session, addresses.parse(STAFF, pepper=PEPPER))
            if staff is not None:
                contacts.amend(session, staff.id, language=language)

    def _due(self) -> Iterator[Mail]:
        """Queue what is due now, and yield it as it is sent."""
        service, now = self.service, self.clock.now()
        for each in {id(each): each for each in service.sources.values()}.values():
            while True:
                with service.database.write() as session:
                    if not each.fill(session, now=now, limit=1_000):
                        break
        while entries := self._claim(now):
            for entry in entries:
                for discreet in (False, True):
                    yield self._compose(entry, discreet=discreet, now=now)
                self._set_discreet(entry, discreet=False)
            results = [
                Result(entry=entry, state="sent", counts_as_try=True, outcome="sent") for entry in entries
            ]
            with service.database.write() as session:
                outbox.record(session, results, now=now)
                source.settle_all(session, service.sources, results, now=now)

    def _claim(self, now: datetime) -> Sequence[Entry]:
        with self.service.database.write() as session:
            until = self.clock.real() + timedelta(seconds=45)
            return due_rows.claim(session, worker="w", limit=50, now=now, lease_until=until)

    def _set_discreet(self, entry: Entry, *, discreet: bool) -> None:
        with self.service.database.write() as session:
            contacts.amend(session, entry.contact_id, discreet=discreet)

    def _compose(self, entry: Entry, *, discreet: bool, now: datetime) -> Mail:
        self._set_discreet(entry, discreet=discreet)
        with self.service.database.read() as session:
            (ready,) = self.service.composer.compose(session, [entry], now=now)
            edition = session.get(Edition, entry.edition_id)
            language = contacts.get(session, entry.contact_id).language
        assert isinstance(ready, ReadyMessage), ready
        assert edition is not None
        return Mail(
            kind=entry.kind,
            template=edition.name,
            list=entry.list,
            language=language,
            discreet=discreet,
            contact_id=entry.contact_id,
            recipient=ready.recipient,
            raw=ready.message,
        )
