"""Pause: mail to one relay, or to one recipients' domain, waits: servers refuse us, or staff said so.

```
goes ─refusals of us repeat→ paused ─15 minutes→ one message tries ─accepted→ goes
                               ↑ ↑                   │ │
                               │ └─ 30, 60 … 240 min ┘ │ anything else
                               └───────── at once ─────┘ it came to nothing before a server was asked
goes ─staff→ paused until staff resume it
```
Kept in the database, so that it holds for every worker and over every restart. Nobody is punished meanwhile:
messages wait, and leave when it is over. Urgent ones (confirmations, invitations) wait only for staff: they
are few, and no refusal of somebody else holds them; one that is refused itself is tried again by its own
schedule. Moments are the machine's.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import String, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Timestamp, UtcDateTime, count_changed, insert_or_nothing
from mailer.policy import is_urgent

FIRST_TRY, LONGEST_WAIT = timedelta(minutes=15), timedelta(hours=4)
MOST_TRIES = 9  # counted; the wait is the longest long before
WHY_LENGTH = 300
BY_STAFF = "staff"
RELAY_SCOPE, DOMAIN_SCOPE = "relay/", "domain/"


class Suspension(Base):
    """One scope, `relay/<host:port>` or `domain/<domain>`; `try_at` is None where only staff resume it."""

    __tablename__ = "pauses"

    scope: Mapped[str] = mapped_column(String(300), primary_key=True)
    since: Mapped[Timestamp]
    try_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    tries: Mapped[int]
    why: Mapped[str] = mapped_column(String(WHY_LENGTH))

    @property
    def is_automatic(self) -> bool:
        """Whether it came by itself and ends by itself; then urgent mail goes on."""
        return self.try_at is not None

    def applies_to(self, kind: str) -> bool:
        """Tell whether messages of this kind wait for its end."""
        return not (self.is_automatic and is_urgent(kind))


SELECT_ALL = select(Suspension).order_by(Suspension.scope)  # made once: each claim asks


def read_all(session: Session) -> Mapping[str, Suspension]:
    """Return every pause by its scope."""
    return {pause.scope: pause for pause in session.scalars(SELECT_ALL)}


class RelaySuspension(NamedTuple):
    """What a pause means to a relay: the sentence that says why, and whether urgent mail goes on."""

    why: str = ""
    is_automatic: bool = False


NOT_SUSPENDED = RelaySuspension()


def select_relays(suspensions: Mapping[str, Suspension]) -> Mapping[str, RelaySuspension]:
    """Return of many pauses those of relays, by the relay's name."""
    return {
        scope.removeprefix(RELAY_SCOPE): RelaySuspension(
            f"Sending is paused: {pause.why}", pause.is_automatic
        )
        for scope, pause in suspensions.items()
        if scope.startswith(RELAY_SCOPE)
    }


def begin(session: Session, scope: str, *, why: str, real: datetime) -> bool:
    """Pause a scope because servers refuse us; False when it is paused already."""
    return _begin(session, scope, why=why, real=real, try_at=real + FIRST_TRY)


def begin_by_staff(session: Session, scope: str, *, real: datetime) -> None:
    """Pause a scope until staff resume it."""
    end(session, scope)
    _begin(session, scope, why=BY_STAFF, real=real, try_at=None)


def claim_trial(session: Session, suspension: Suspension, *, real: datetime) -> datetime | None:
    """Return when the next message may try, where one may try now whether the pause is over; else None."""
    if suspension.try_at is None or suspension.try_at > real:
        return None
    mine = update(Suspension).where(
        Suspension.scope == suspension.scope, Suspension.try_at == suspension.try_at
    )
    wait = min(FIRST_TRY * 2 ** (suspension.tries + 1), LONGEST_WAIT)
    tries = mine.values(try_at=real + wait, tries=min(suspension.tries + 1, MOST_TRIES))
    return real + wait if count_changed(session, tries) else None


def reset_trial(session: Session, scope: str, *, real: datetime) -> None:
    """Let another message try at once, because the one that was to was never handed to a server."""
    mine = update(Suspension).where(
        Suspension.scope == scope, Suspension.try_at.is_not(None), Suspension.tries > 0
    )
    session.execute(mine.values(try_at=real, tries=Suspension.tries - 1))


def end(session: Session, scope: str) -> bool:
    """Let a scope's mail go again; False when it was not paused."""
    return count_changed(session, delete(Suspension).where(Suspension.scope == scope)) == 1


def _begin(session: Session, scope: str, *, why: str, real: datetime, try_at: datetime | None) -> bool:
    row = {"scope": scope, "since": real, "try_at": try_at, "tries": 0, "why": why[:WHY_LENGTH]}
    return insert_or_nothing(session, Suspension, [row]) == 1
