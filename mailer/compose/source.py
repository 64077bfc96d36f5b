"""Source: the protocol of every reason to write; no other part depends on a single source.

`fill` inserts due messages into the outbox, `compose` returns the content of claimed rows, `settle` receives
their results. A source reads no clock and calls nothing outside the database.
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
    """A claimed row and its recipient, to whom the permission rule has just allowed a message."""

    entry: Entry
    recipient: Recipient


@dataclass(frozen=True, kw_only=True)
class MessageContent:
    """A source's part of one message: the fields of its template, and a calendar part where it has one."""

    fields: Mapping[str, str] = field(default_factory=dict)
    calendar: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The reason why a message is not sent now (mailer/reasons.py): `held` may end, `cancelled` will not."""

    state: str
    reason: str
    detail: str = ""


class Source(Protocol):
    """One reason to write."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of message that this source produces."""

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Insert the messages due at `now` into the outbox, at most `limit`; returns how many are new."""

    def compose(
        self, session: Session, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Return the content of these rows (at most 50, of this source's kinds), by row id."""

    def settle(self, session: Session, results: Sequence[Result], *, now: datetime) -> None:
        """Process the results of rows, in the transaction that records them."""

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Return the moment of the next work for `fill`, as far as the tables show; None if never."""


def settle_all(
    session: Session, sources: Mapping[str, Source], results: Sequence[Result], *, now: datetime
) -> None:
    """Pass the results of rows to their sources, all of one kind at once."""

    def kind(result: Result) -> str:
        return result.entry.kind

    for name, members in groupby(sorted(results, key=kind), key=kind):
        sources[name].settle(session, list(members), now=now)
