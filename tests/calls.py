"""Calls in tests: planned, invited to and composed as the worker composes, but never sent."""

import email
import email.policy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage
from typing import Any

from sqlalchemy import select

from lists.db import Database
from mailer.compose.composer import Composer, ReadyMessage
from mailer.events import events
from mailer.events.events import Event
from mailer.outbox import due_rows
from mailer.outbox.outbox import OutboxRow, Result
from mailer.service import build
from mailer.settings.loading import Settings
from mailer.sources.invitations import Invitations, InviteeCount
from tests import people
from tests.clocks import StoppedClock
from tests.people import Person

FROM = ("Restoring Trust", "calls@campaign.example.org")


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Plans calls, and composes messages as the worker does, without sending them."""

    database: Database
    clock: StoppedClock
    source: Invitations
    composer: Composer

    def plan(self, *, invite: bool = True, **changes: Any) -> Event:
        """Plan the call of December, or another, and open its invitations."""
        plan: dict[str, Any] = {
            "title": {"en": "December call", "es": "Llamada de diciembre"},
            "description": {"en": "With an attorney.", "es": "Con una abogada."},
            "starts": "2026-12-08 20:00",
            "zone": "America/New_York",
            "minutes": 60,
            "join_url": "https://meet.example.org/december",
            "audience": "organizers",
            "actor": "staff",
        }
        with self.database.write() as session:
            event = events.create(session, **{**plan, **changes}, now=self.clock.now())
            if invite:
                self.source.invite(session, event.id, now=self.clock.now(), actor="staff")
        return event

    def fill(self, *, limit: int = 100) -> int:
        """Queue the invitations that are due."""
        with self.database.write() as session:
            return self.source.fill(session, now=self.clock.now(), limit=limit)

    def compose(self) -> Sequence[ReadyMessage | Result]:
        """Claim what is due and return the results of composing it."""
        now = self.clock.now()
        with self.database.write() as session:
            entries = due_rows.claim(session, worker="w", limit=50, now=now, lease_until=now)
        with self.database.read() as session:
            return self.composer.compose(session, entries, now=now)

    def letters(self) -> dict[str, EmailMessage]:
        """Fill, compose and return the messages that are ready, by recipient."""
        self.fill()
        ready = [result for result in self.compose() if isinstance(result, ReadyMessage)]
        return {result.recipient: read(result.message) for result in ready}

    def invited(self) -> list[int]:
        """Return the contacts in the outbox, in the order they were queued."""
        with self.database.read() as session:
            return list(session.scalars(select(OutboxRow.contact_id).order_by(OutboxRow.id)))

    def next_due(self) -> datetime | None:
        """Return when the source next has something to do."""
        with self.database.read() as session:
            return self.source.next_due(session, now=self.clock.now())

    def count_invitees(self, event: Event) -> InviteeCount:
        """Return what a dry run shows."""
        with self.database.read() as session:
            return self.source.count_invitees(session, event, now=self.clock.now())

    def add(self, name: str) -> Person:
        """Add another organizer of New York."""
        with self.database.write() as session:
            return people.add(
                session, name=name, email=f"{name.lower()}@example.org", language="en", zip="10027",
                list="organizers", now=self.clock.now(),
            )  # fmt: skip


def opened(settings: Settings, database: Database, clock: StoppedClock) -> Calls:
    """Build the source and the composer with the service's own templates and keys."""
    named_settings = settings.model_copy(update={"from_name": FROM[0], "from_address": FROM[1]})
    service = build(named_settings, clock=clock)
    source = replace(service.invitations, organizer=FROM)
    sender = service.composer.sender
    service.close()
    composer = Composer(
        sources={"invitation": source}, links=service.links, sender=sender, library=service.editions.library
    )
    return Calls(database=database, clock=clock, source=source, composer=composer)


def read(message: bytes) -> EmailMessage:
    """Parse a message as a mail program would."""
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed
