"""Ledger: shortcuts that add messages to the outbox and claim and record them."""

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists.db import Database
from mailer.compose.editions import Edition
from mailer.outbox import due_rows, outbox
from mailer.outbox.outbox import Entry, OutboxRow, Result
from tests.clocks import START, StoppedClock
from tests.people import Person

LEASE = timedelta(seconds=45)


def edition(session: Session, digest: bytes = b"x" * 16) -> int:
    """Add an edition that is never rendered; returns its number."""
    edition_row = Edition(name="x", digest=digest, created_at=START, content={}, shared={})
    session.add(edition_row)
    session.flush()
    return edition_row.id


class Ledger:
    """The outbox of a database, used by a worker called “first” unless another is named."""

    def __init__(
        self, *, database: Database, clock: StoppedClock, edition_id: int, people: list[Person]
    ) -> None:
        self.database, self.clock, self.edition_id, self.people = database, clock, edition_id, people

    def put(self, *keys: str, kind: str = "broadcast", person: int = 0) -> None:
        with self.database.write() as session:
            for key in keys:
                assert self.one(session, key, kind=kind, person=person)

    def one(self, session: Session, key: str, *, kind: str = "broadcast", person: int = 0) -> bool:
        return outbox.put(
            session,
            key=key,
            kind=kind,
            list="interest",
            contact_id=self.people[person].id,
            edition_id=self.edition_id,
            now=self.clock.now(),
        )

    def claim(self, *, limit: int = 100, worker: str = "first") -> list[Entry]:
        with self.database.write() as session:
            return list(self.claimed(session, limit=limit, worker=worker))

    def claimed(self, session: Session, *, limit: int = 100, worker: str = "first") -> list[Entry]:
        lease_until = self.clock.real() + LEASE
        entries = due_rows.claim(
            session, worker=worker, limit=limit, now=self.clock.now(), lease_until=lease_until
        )
        return list(entries)

    def record(self, *results: Result) -> list[str]:
        with self.database.write() as session:
            return [recorded.entry.key for recorded in outbox.record(session, results, now=self.clock.now())]

    def rows(self) -> dict[str, OutboxRow]:
        with self.database.read() as session:
            return {row.key: row for row in session.scalars(select(OutboxRow).order_by(OutboxRow.id))}

    def states(self) -> dict[str, str]:
        return {key: row.state for key, row in self.rows().items()}
