"""Desk: writes updates, claims what is due, composes it and parses the messages."""

import email
from collections.abc import Sequence
from dataclasses import replace
from email.message import Message

from lists.db import Database
from mailer.compose.composer import Composer, ReadyMessage
from mailer.outbox import due_rows
from mailer.outbox.outbox import Entry, Result
from mailer.sources import broadcasts
from mailer.templates import templates
from mailer.templates.templates import Template
from tests import parts
from tests.clocks import StoppedClock
from tests.ledger import LEASE

UPDATE = """---
subject:
  en: News for {{ name }}
  es: Noticias
---
<!-- en -->
{{ greeting }}

We meet on Sunday.

<!-- es -->
{{ greeting }}

Nos reunimos el domingo.
"""
WITH_LINK = """---
subject: The toolkit
---
[Read it]({{ toolkit_url }})
"""


class Desk:
    """Writes updates, claims what is due and composes it."""

    def __init__(self, database: Database, clock: StoppedClock) -> None:
        self.service, self.database, self.clock = parts.built(), database, clock
        self.composer = self.fresh_composer()  # it caches editions, which differ in each database

    def fresh_composer(self) -> Composer:
        """Return a composer with empty caches, as in another process."""
        composer = self.service.composer
        return Composer(
            sources=composer.sources, links=composer.links, sender=composer.sender, library=composer.library
        )

    def update(self, text: str = UPDATE, *, audience: str = "interest", toolkit: str | None = None) -> None:
        """Create an update to a list and queue it; `toolkit` is that link in Spanish."""
        editions = self.service.editions
        if toolkit is not None:
            spanish = {**editions.shared["es"], "toolkit_url": toolkit}
            editions = replace(editions, shared={**editions.shared, "es": spanish})
        template = Template(name="update", sources=templates.parse_update(text, path="update.md"))
        with self.database.write() as session:
            edition = editions.freeze(session, template, "broadcast", now=self.clock.now())
            update = broadcasts.create(
                session,
                subject="News",
                audience=audience,
                edition_id=edition.id,
                now=self.clock.now(),
                actor="staff",
            )
            self.service.broadcasts.fill_batch(session, update, now=self.clock.now(), limit=1_000)

    def claim(self) -> Sequence[Entry]:
        with self.database.write() as session:
            until = self.clock.real() + LEASE
            return due_rows.claim(session, worker="w", limit=100, now=self.clock.now(), lease_until=until)

    def compose(
        self, entries: Sequence[Entry], *, composer: Composer | None = None
    ) -> Sequence[ReadyMessage | Result]:
        with self.database.read() as session:
            return (composer or self.composer).compose(session, entries, now=self.clock.now())

    def letters(self) -> list[Message]:
        """Claim and compose everything, all of which must be ready to send."""
        return [read(each) for each in self.compose(self.claim())]

    def kept(self) -> list[tuple[str, str]]:
        """Claim and compose everything, none of which may be sent; returns states and reasons."""
        return self.reasons(self.claim())

    def reasons(self, entries: Sequence[Entry]) -> list[tuple[str, str]]:
        results = self.compose(entries)
        assert all(isinstance(result, Result) for result in results)
        return [(result.state, result.reason) for result in results if isinstance(result, Result)]


def read(ready: ReadyMessage | Result) -> Message:
    assert isinstance(ready, ReadyMessage), ready
    return email.message_from_bytes(ready.message)
