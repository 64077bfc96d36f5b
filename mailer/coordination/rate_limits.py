"""Rate limits: limit the messages in a period, for any number of workers, kills and restarts.

Each limit is one row that holds when its next *slot* is free. A worker takes slots in a transaction that
locks the row. A slot is a moment and belongs to one message, which begins within the rate's grace after it,
or not by this slot. An unused slot, for example of a killed worker, is void.

**Why a limit is never exceeded.** Slots of one limit are at least `spacing = (period + grace) / limit` apart,
because each is taken after the previous one in the same row. A message that begins within a window
`[t, t + period)` had its slot within `[t - grace, t + period)`, which is `period + grace` long and half open,
so at most `(period + grace) / spacing = limit` slots lie in it. This holds for every window, and depends on
the row alone.

Moments are the machine's time. Where several machines share a limit, their clocks must agree to within the
grace. A clock that was set back by minutes is detected, and its slots start again from the present.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import String, bindparam, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Timestamp, count_changed, insert_or_nothing
from mailer.smtp.rate import Rate

LOOKAHEAD = timedelta(seconds=0.5)  # how early slots are taken; a more urgent message waits no longer
KEEP = timedelta(days=2)
SKEW = timedelta(minutes=2)  # a slot further away than this and one spacing shows a clock that was set back


class RateLimit(Base):
    """When the next slot of a scope is free; scopes: `relay/<host:port>`, `domain/<domain>`, `parked/…`."""

    __tablename__ = "limits"

    scope: Mapped[str] = mapped_column(String(300), primary_key=True)
    free_at: Mapped[Timestamp]


# Built once: each claim runs them for each limit.
SELECT_FREE_AT = (
    select(RateLimit.free_at).where(RateLimit.scope == bindparam("limit_scope")).with_for_update()
)
UPDATE_FREE_AT = (
    update(RateLimit)
    .where(RateLimit.scope == bindparam("limit_scope"))
    .values(free_at=bindparam("moment"))
    .execution_options(synchronize_session=False)
)


class SendWindow(NamedTuple):
    """When one message may begin, in the event loop's time, and the domain that it applies to, if any."""

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
    """Take up to `number` slots that begin within LOOKAHEAD, and lock the row until the commit.

    No slot begins before `lead` has passed, as a commit may take longer than a slot lasts. With `candidates`,
    in order, each slot is one of these moments, which are slots of another limit that applies as well.
    """
    free_at = stored = lock_next_slot(session, scope, real=real)
    if free_at > real + LOOKAHEAD + rate.spacing + SKEW:
        free_at = real + LOOKAHEAD + rate.spacing  # the clock was set back: slots taken lie before this
    first = max(free_at, real + min(lead, LOOKAHEAD))
    if candidates is None:
        capacity = (real + LOOKAHEAD - first) // rate.spacing + 1 if first <= real + LOOKAHEAD else 0
        slots = [first + index * rate.spacing for index in range(min(number, capacity))]
    else:
        slots = _select_spaced(candidates, first=first, spacing=rate.spacing)[:number]
    free_at = slots[-1] + rate.spacing if slots else free_at
    if free_at != stored:
        _set_free_at(session, scope, free_at)
    return slots


def lock_next_slot(session: Session, scope: str, *, real: datetime) -> datetime:
    """Return when a scope's next slot is free, and lock its row until the commit."""
    parameters = {"limit_scope": scope}
    free_at = session.scalar(SELECT_FREE_AT, parameters)
    if free_at is None:
        insert_or_nothing(session, RateLimit, [{"scope": scope, "free_at": real}])
        free_at = session.scalars(SELECT_FREE_AT, parameters).one()
    return free_at


def release_slots(session: Session, scope: str, slot: datetime) -> None:
    """Release this slot and all later ones, in the transaction that took them."""
    _set_free_at(session, scope, slot)


def plan_retry_times(
    session: Session, scope: str, *, rate: Rate, number: int, real: datetime, after: datetime, restart: bool
) -> Sequence[datetime]:
    """Return moments, one spacing apart, at which rows without a slot are tried again.

    They follow the moments planned before in this scope, and `after`; with `restart` only `after`.
    """
    free_at = lock_next_slot(session, scope, real=real)
    first = after if restart else max(free_at, after)
    moments = [first + index * rate.spacing for index in range(number)]
    _set_free_at(session, scope, moments[-1] + rate.spacing)
    return moments


def delete_unused(session: Session, *, real: datetime) -> int:
    """Delete the rows of limits without a recent slot, which have no effect; returns how many."""
    return count_changed(session, delete(RateLimit).where(RateLimit.free_at < real - KEEP))


def _select_spaced(moments: Sequence[datetime], *, first: datetime, spacing: timedelta) -> list[datetime]:
    """Select from these moments, in order, the earliest at least `spacing` apart, none before `first`."""
    selection: list[datetime] = []
    for moment in moments:
        if moment >= first:
            selection.append(moment)
            first = moment + spacing
    return selection


def _set_free_at(session: Session, scope: str, moment: datetime) -> None:
    session.execute(UPDATE_FREE_AT, {"limit_scope": scope, "moment": moment})
