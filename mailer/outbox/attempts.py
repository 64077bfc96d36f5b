"""Attempt: one hand-over of one outbox row to a server, the address really used and what the server said."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, cast

from sqlalchemy import ForeignKey, String, Table, Text, delete, insert, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, PrimaryKey, Timestamp
from mailer.coordination import counters

REPLY_LENGTH = 500
RELAY_COUNTER = "relay/"
OUTCOMES = ("sent", "deferred", "refused", "unreachable", "unknown")


class Attempt(Base):
    """What a server answered to one hand-over."""

    __tablename__ = "attempts"

    id: Mapped[PrimaryKey]
    outbox_id: Mapped[int] = mapped_column(ForeignKey("outbox.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    at: Mapped[Timestamp]
    address: Mapped[str] = mapped_column(String(254))
    relay: Mapped[str | None] = mapped_column(String(260))
    outcome: Mapped[str] = mapped_column(String(12))
    code: Mapped[int | None]
    reply: Mapped[str] = mapped_column(Text)


class NewAttempt(NamedTuple):
    """What there is to write down about one hand-over."""

    outbox_id: int
    attempt: int
    address: str
    relay: str
    outcome: str
    code: int | None
    reply: str


def add_all(session: Session, new_attempts: Sequence[NewAttempt], *, now: datetime) -> None:
    """Write down many hand-overs at once, and count them; the server's words are cut at 500 characters."""
    rows = [{**each._asdict(), "at": now, "reply": each.reply[:REPLY_LENGTH]} for each in new_attempts]
    if rows:
        session.execute(_INSERT, rows)
        outcomes = Counter(each.outcome for each in new_attempts)
        outcomes.update(build_counter_name(each.relay, each.outcome) for each in new_attempts if each.relay)
        counters.add(session, outcomes, slot=new_attempts[0].outbox_id, now=now)


# Of the table and not of the class: half the time for each row, and nothing here is an object afterwards.
_INSERT = insert(cast(Table, Attempt.__table__))


def retract_unknown(session: Session, outbox_ids: Collection[int], *, attempt: int) -> Sequence[int]:
    """Take back that nobody could say what became of this attempt of these rows; returns those it was of."""
    doubted = delete(Attempt).where(Attempt.outbox_id.in_(outbox_ids), Attempt.attempt == attempt)
    gone = doubted.where(Attempt.outcome == "unknown").returning(Attempt.outbox_id)
    return session.scalars(gone.execution_options(synchronize_session=False)).all()


def build_counter_name(relay: str, outcome: str) -> str:
    """Return what a relay's answers are counted as, in mailer/coordination/counters.py."""
    return f"{RELAY_COUNTER}{relay}/{outcome}"


def select_relay_totals(totals: Mapping[str, int]) -> Mapping[tuple[str, str], int]:
    """Return of many sums those of relays, by (relay, outcome)."""
    mine = {
        what.removeprefix(RELAY_COUNTER): number
        for what, number in totals.items()
        if what.startswith(RELAY_COUNTER)
    }
    return {(what.rpartition("/")[0], what.rpartition("/")[2]): number for what, number in mine.items()}


def list_for_row(session: Session, outbox_id: int) -> Sequence[Attempt]:
    """Return each hand-over of one row, oldest first."""
    return session.scalars(select(Attempt).where(Attempt.outbox_id == outbox_id).order_by(Attempt.id)).all()


def find_with_outcome(session: Session, outbox_ids: Collection[int], *, outcome: str) -> set[int]:
    """Return those of these rows that ever had this outcome."""
    if not outbox_ids:
        return set()
    found = select(Attempt.outbox_id).where(Attempt.outbox_id.in_(outbox_ids), Attempt.outcome == outcome)
    return set(session.scalars(found))
