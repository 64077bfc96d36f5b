"""Suspensions: mail to one relay or recipients' domain waits, because servers refuse the sender or by staff.

```
active ─repeated refusals of the sender→ suspended ─15 minutes→ one trial message ─accepted→ active
                                           ↑ ↑                      │ │
                                           │ └── 30, 60 … 240 min ──┘ │ any other outcome
                                           └──────── at once ─────────┘ it was not sent to a server
active ─staff→ suspended until staff resume it
```
Suspensions are stored in the database, so that they apply to every worker and after every restart. The
messages wait, lose no attempt, and are sent when the suspension ends. Urgent messages (confirmations,
invitations) wait only for a suspension by staff: they are few, and must not wait because others are refused;
one that is refused itself is tried again on its own schedule. Moments are the machine's.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import String, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Timestamp, UtcDateTime, count_changed, insert_or_nothing
from mailer.policy import is_urgent

FIRST_TRY, MAX_WAIT = timedelta(minutes=15), timedelta(hours=4)
MAX_TRIES = 9  # counted; the wait reaches MAX_WAIT long before
REPLY_LENGTH = 300
BY_STAFF = "staff"
RELAY_SCOPE, DOMAIN_SCOPE = "relay/", "domain/"


class Suspension(Base):
    """One scope, `relay/<host:port>` or `domain/<domain>`; `try_at` is None where only staff resume it."""

    __tablename__ = "pauses"

    scope: Mapped[str] = mapped_column(String(300), primary_key=True)
    since: Mapped[Timestamp]
    try_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    tries: Mapped[int]
    reply: Mapped[str] = mapped_column("why", String(REPLY_LENGTH), key="reply")  # or BY_STAFF

    @property
    def is_automatic(self) -> bool:
        """Whether it began and ends automatically; then urgent mail continues."""
        return self.try_at is not None

    def applies_to(self, kind: str) -> bool:
        """Tell whether messages of this kind wait until it ends."""
        return not (self.is_automatic and is_urgent(kind))


SELECT_ALL = select(Suspension).order_by(Suspension.scope)  # built once: each claim runs it


def read_all(session: Session) -> Mapping[str, Suspension]:
    """Return every suspension by its scope."""
    return {suspension.scope: suspension for suspension in session.scalars(SELECT_ALL)}


class RelaySuspension(NamedTuple):
    """The suspension of a relay: a sentence with the server's reply, and whether urgent mail continues."""

    sentence: str = ""
    is_automatic: bool = False


NOT_SUSPENDED = RelaySuspension()


def select_relays(suspensions: Mapping[str, Suspension]) -> Mapping[str, RelaySuspension]:
    """Return the suspensions of relays among many, by the relay's name."""
    return {
        scope.removeprefix(RELAY_SCOPE): RelaySuspension(
            f"Sending is paused: {suspension.reply}", suspension.is_automatic
        )
        for scope, suspension in suspensions.items()
        if scope.startswith(RELAY_SCOPE)
    }


def begin(session: Session, scope: str, *, reply: str, real: datetime) -> bool:
    """Suspend a scope because servers refuse the sender; False when it is suspended already."""
    return _begin(session, scope, reply=reply, real=real, try_at=real + FIRST_TRY)


def begin_by_staff(session: Session, scope: str, *, real: datetime) -> None:
    """Suspend a scope until staff resume it."""
    end(session, scope)
    _begin(session, scope, reply=BY_STAFF, real=real, try_at=None)


def claim_trial(session: Session, suspension: Suspension, *, real: datetime) -> datetime | None:
    """Claim the trial message that is due now; returns when the next one is due, None where none is now."""
    if suspension.try_at is None or suspension.try_at > real:
        return None
    statement = update(Suspension).where(
        Suspension.scope == suspension.scope, Suspension.try_at == suspension.try_at
    )
    wait = min(FIRST_TRY * 2 ** (suspension.tries + 1), MAX_WAIT)
    trial = statement.values(try_at=real + wait, tries=min(suspension.tries + 1, MAX_TRIES))
    return real + wait if count_changed(session, trial) else None


def reset_trial(session: Session, scope: str, *, real: datetime) -> None:
    """Make another trial message due at once, because the last one was not sent to a server."""
    statement = update(Suspension).where(
        Suspension.scope == scope, Suspension.try_at.is_not(None), Suspension.tries > 0
    )
    session.execute(statement.values(try_at=real, tries=Suspension.tries - 1))


def end(session: Session, scope: str) -> bool:
    """End the suspension of a scope; False when it was not suspended."""
    return count_changed(session, delete(Suspension).where(Suspension.scope == scope)) == 1


def _begin(session: Session, scope: str, *, reply: str, real: datetime, try_at: datetime | None) -> bool:
    row = {"scope": scope, "since": real, "try_at": try_at, "tries": 0, "reply": reply[:REPLY_LENGTH]}
    return insert_or_nothing(session, Suspension, [row]) == 1
