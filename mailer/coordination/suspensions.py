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

from lists.db import Base, Instant, Moment, count_changed, insert_or_nothing
from mailer.policy import is_urgent

FIRST_TRY, LONGEST = timedelta(minutes=15), timedelta(hours=4)
MOST_TRIES = 9  # counted; the wait is the longest long before
WHY_LENGTH = 300
BY_STAFF = "staff"
RELAY, DOMAIN = "relay/", "domain/"


class Pause(Base):
    """One scope, `relay/<host:port>` or `domain/<domain>`; `try_at` is None where only staff resume it."""

    __tablename__ = "pauses"

    scope: Mapped[str] = mapped_column(String(300), primary_key=True)
    since: Mapped[Moment]
    try_at: Mapped[datetime | None] = mapped_column(Instant)
    tries: Mapped[int]
    why: Mapped[str] = mapped_column(String(WHY_LENGTH))

    @property
    def suspends(self) -> bool:
        """Whether it came by itself and ends by itself; then urgent mail goes on."""
        return self.try_at is not None

    def holds(self, kind: str) -> bool:
        """Tell whether messages of this kind wait for its end."""
        return not (self.suspends and is_urgent(kind))


EVERY_ONE = select(Pause).order_by(Pause.scope)  # made once: each claim asks


def all_of_them(session: Session) -> Mapping[str, Pause]:
    """Return every pause by its scope."""
    return {pause.scope: pause for pause in session.scalars(EVERY_ONE)}


class Halt(NamedTuple):
    """What a pause means to a relay: the sentence that says why, and whether urgent mail goes on."""

    why: str = ""
    suspends: bool = False


NO_HALT = Halt()


def of_relays(paused: Mapping[str, Pause]) -> Mapping[str, Halt]:
    """Return of many pauses those of relays, by the relay's name."""
    return {
        scope.removeprefix(RELAY): Halt(f"Sending is paused: {pause.why}", pause.suspends)
        for scope, pause in paused.items()
        if scope.startswith(RELAY)
    }


def begin(session: Session, scope: str, *, why: str, real: datetime) -> bool:
    """Pause a scope because servers refuse us; False when it is paused already."""
    return _begin(session, scope, why=why, real=real, try_at=real + FIRST_TRY)


def begin_by_staff(session: Session, scope: str, *, real: datetime) -> None:
    """Pause a scope until staff resume it."""
    end(session, scope)
    _begin(session, scope, why=BY_STAFF, real=real, try_at=None)


def try_one(session: Session, pause: Pause, *, real: datetime) -> datetime | None:
    """Return when the next message may try, where one may try now whether the pause is over; else None."""
    if pause.try_at is None or pause.try_at > real:
        return None
    mine = update(Pause).where(Pause.scope == pause.scope, Pause.try_at == pause.try_at)
    wait = min(FIRST_TRY * 2 ** (pause.tries + 1), LONGEST)
    tries = mine.values(try_at=real + wait, tries=min(pause.tries + 1, MOST_TRIES))
    return real + wait if count_changed(session, tries) else None


def try_again(session: Session, scope: str, *, real: datetime) -> None:
    """Let another message try at once, because the one that was to was never handed to a server."""
    mine = update(Pause).where(Pause.scope == scope, Pause.try_at.is_not(None), Pause.tries > 0)
    session.execute(mine.values(try_at=real, tries=Pause.tries - 1))


def end(session: Session, scope: str) -> bool:
    """Let a scope's mail go again; False when it was not paused."""
    return count_changed(session, delete(Pause).where(Pause.scope == scope)) == 1


def _begin(session: Session, scope: str, *, why: str, real: datetime, try_at: datetime | None) -> bool:
    row = {"scope": scope, "since": real, "try_at": try_at, "tries": 0, "why": why[:WHY_LENGTH]}
    return insert_or_nothing(session, Pause, [row]) == 1
