"""Limit: so many messages in a while and no more, whatever number of workers, kills and restarts there is.

Each limit is one row that says when its next *slot* is free. A worker takes slots in a transaction that holds
the row; a slot is a moment, it belongs to one message, and that message begins within the rate's grace from
then on, or not by this slot. A slot that nobody used, because its worker was killed for example, is void.

**Why a limit is never exceeded.** Slots of one limit are at least `spacing = (period + grace) / limit` apart,
because each is taken after the one before in the same row. What begins within a window `[t, t + period)` had
its slot within `[t - grace, t + period)`, which is `period + grace` long and half open, so at most
`(period + grace) / spacing = limit` slots lie in it. It holds for every window, and the row is all it needs.

Moments are the machine's time. Where several machines share a limit, their clocks must agree to within the
grace; a clock that was set back by minutes is noticed, and its slots begin anew from the present.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import String, bindparam, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Timestamp, count_changed, insert_or_nothing
from mailer.smtp.rate import Rate

LOOKAHEAD = timedelta(
    seconds=0.5
)  # slots are taken so long before, so that what is more urgent waits no longer
KEEP = timedelta(days=2)
SKEW = timedelta(minutes=2)  # no slot is honestly further away than this and one spacing


class RateLimit(Base):
    """When the next slot of a scope is free: `relay/<host:port>`, `domain/<domain>`, `parked/…`."""

    __tablename__ = "limits"

    scope: Mapped[str] = mapped_column(String(300), primary_key=True)
    free_at: Mapped[Timestamp]


# Made once: a claim asks for each limit.
SELECT_FREE_AT = select(RateLimit.free_at).where(RateLimit.scope == bindparam("wanted")).with_for_update()
UPDATE_FREE_AT = (
    update(RateLimit)
    .where(RateLimit.scope == bindparam("wanted"))
    .values(free_at=bindparam("moment"))
    .execution_options(synchronize_session=False)
)


class SendWindow(NamedTuple):
    """When one message may begin, in the event loop's time, and the domain that this holds for, if any."""

    domain: str | None
    begins: float
    until: float


def take_slots(
    session: Session,
    scope: str,
    *,
    rate: Rate,
    number: int,
    real: datetime,
    candidates: Sequence[datetime] | None = None,
    lead: timedelta = timedelta(0),
) -> Sequence[datetime]:
    """Take up to `number` slots that begin within half a second, and hold the row until the commit.

    None begins before `lead` is over, as a commit may take longer than a slot lasts. With `among`, in order,
    each is one of these moments: those of another limit that holds for them as well.
    """
    free_at = known = lock_next_slot(session, scope, real=real)
    if free_at > real + LOOKAHEAD + rate.spacing + SKEW:
        free_at = real + LOOKAHEAD + rate.spacing  # the clock was set back: what was taken lies before this
    first = max(free_at, real + min(lead, LOOKAHEAD))
    if candidates is None:
        room = (real + LOOKAHEAD - first) // rate.spacing + 1 if first <= real + LOOKAHEAD else 0
        slots = [first + each * rate.spacing for each in range(min(number, room))]
    else:
        slots = _select_spaced(candidates, first=first, spacing=rate.spacing)[:number]
    free_at = slots[-1] + rate.spacing if slots else free_at
    if free_at != known:
        _set_free_at(session, scope, free_at)
    return slots


def lock_next_slot(session: Session, scope: str, *, real: datetime) -> datetime:
    """Return when a scope's next slot is free; nobody else takes one before the commit."""
    asked = {"wanted": scope}
    found = session.scalar(SELECT_FREE_AT, asked)
    if found is None:
        insert_or_nothing(session, RateLimit, [{"scope": scope, "free_at": real}])
        found = session.scalars(SELECT_FREE_AT, asked).one()
    return found


def release_slots(session: Session, scope: str, slot: datetime) -> None:
    """Make this slot and all after it free again, in the transaction that took them."""
    _set_free_at(session, scope, slot)


def plan_retry_times(
    session: Session, scope: str, *, rate: Rate, number: int, real: datetime, after: datetime, restart: bool
) -> Sequence[datetime]:
    """Return moments, one spacing apart, at which those who found no slot may come again.

    They follow what was told before in this scope, or `after`; with `anew` nobody waits there any more.
    """
    free_at = lock_next_slot(session, scope, real=real)
    first = after if restart else max(free_at, after)
    moments = [first + each * rate.spacing for each in range(number)]
    _set_free_at(session, scope, moments[-1] + rate.spacing)
    return moments


def delete_unused(session: Session, *, real: datetime) -> int:
    """Delete limits that were not reached for a day, which is the same as none; returns how many."""
    return count_changed(session, delete(RateLimit).where(RateLimit.free_at < real - KEEP))


def _select_spaced(moments: Sequence[datetime], *, first: datetime, spacing: timedelta) -> list[datetime]:
    """Choose of these moments, in order, the earliest that lie so far apart, none before `first`."""
    chosen: list[datetime] = []
    for moment in moments:
        if moment >= first:
            chosen.append(moment)
            first = moment + spacing
    return chosen


def _set_free_at(session: Session, scope: str, moment: datetime) -> None:
    session.execute(UPDATE_FREE_AT, {"wanted": scope, "moment": moment})
