"""Source: the three faces that every reason to write has, and nothing else knows the sources.

`fill` puts into the outbox what is due, `compose` says what claimed rows say, `settle` hears what became of
them. A source reads no clock and calls nothing outside the database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Protocol

from sqlalchemy.orm import Session

from lists.permission import Recipient
from mailer.outbox.outbox import Entry, Result


@dataclass(frozen=True, kw_only=True)
class AddressedMessage:
    """A claimed row and its reader, whom the permission rule has just allowed us to write to."""

    entry: Entry
    recipient: Recipient


@dataclass(frozen=True, kw_only=True)
class MessageContent:
    """What a source adds to one message: the fields of its template, and a calendar part where it has one."""

    fields: Mapping[str, str] = field(default_factory=dict)
    calendar: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a message does not leave now: `held` may end, `cancelled` will not."""

    state: str
    why: str


class Source(Protocol):
    """One reason to write."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of message that are this source's."""

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Put into the outbox what is due at `now`, at most `limit`; returns how many rows are new."""

    def compose(
        self, session: Session, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Say what these rows say (at most 50, of this source's kinds), by row id."""

    def settle(self, session: Session, results: Sequence[Result], *, now: datetime) -> None:
        """Hear what became of rows, in the transaction that records it."""

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Return when `fill` will next have something to do, as far as the tables can tell; None if never."""


def settle_all(
    session: Session, sources: Mapping[str, Source], results: Sequence[Result], *, now: datetime
) -> None:
    """Tell each source what became of its rows, all of one kind at once."""

    def kind(result: Result) -> str:
        return result.entry.kind

    for name, same in groupby(sorted(results, key=kind), key=kind):
        sources[name].settle(session, list(same), now=now)
