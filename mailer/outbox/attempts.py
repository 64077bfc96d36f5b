"""Attempts: each try to send an outbox row to a server, with the address used and the server's reply."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, cast

from sqlalchemy import ForeignKey, String, Table, Text, delete, insert, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, PrimaryKey, Timestamp
from mailer.coordination import counters
from mailer.reasons import MAX_CODE_LENGTH

REPLY_LENGTH = 500
RELAY_COUNTER = "relay/"
OUTCOMES = ("sent", "deferred", "refused", "unreachable", "unknown")


class Attempt(Base):
    """The outcome of one try to send a message, and the server's reply.

    Where no server replied, `reason` is the code of what is known instead (mailer/reasons.py).
    """

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
    reason: Mapped[str] = mapped_column(String(MAX_CODE_LENGTH), default="", server_default="")


class NewAttempt(NamedTuple):
    """An attempt that is not yet stored."""

    outbox_id: int
    attempt: int
    address: str
    relay: str
    outcome: str
    code: int | None
    reply: str
    reason: str


def add_all(session: Session, new_attempts: Sequence[NewAttempt], *, now: datetime) -> None:
    """Store many attempts at once, and count them; replies are cut at REPLY_LENGTH characters."""
    rows = [{**each._asdict(), "at": now, "reply": each.reply[:REPLY_LENGTH]} for each in new_attempts]
    if rows:
        session.execute(_INSERT, rows)
        outcomes = Counter(each.outcome for each in new_attempts)
        outcomes.update(build_counter_name(each.relay, each.outcome) for each in new_attempts if each.relay)
        counters.add(session, outcomes, slot=new_attempts[0].outbox_id, now=now)


# Into the table and not the class: half the time for each row, and no objects are needed afterwards.
_INSERT = insert(cast(Table, Attempt.__table__))


def retract_unknown(session: Session, outbox_ids: Collection[int], *, attempt: int) -> Sequence[int]:
    """Delete the unknown outcomes of this attempt of these rows; returns the rows that had one."""
    statement = delete(Attempt).where(Attempt.outbox_id.in_(outbox_ids), Attempt.attempt == attempt)
    deletion = statement.where(Attempt.outcome == "unknown").returning(Attempt.outbox_id)
    return session.scalars(deletion.execution_options(synchronize_session=False)).all()


def build_counter_name(relay: str, outcome: str) -> str:
    """Return the name of a relay's counter of an outcome, in mailer/coordination/counters.py."""
    return f"{RELAY_COUNTER}{relay}/{outcome}"


def select_relay_totals(totals: Mapping[str, int]) -> Mapping[tuple[str, str], int]:
    """Return the totals of relays among many, by (relay, outcome)."""
    relay_totals = {
        what.removeprefix(RELAY_COUNTER): number
        for what, number in totals.items()
        if what.startswith(RELAY_COUNTER)
    }
    return {
        (what.rpartition("/")[0], what.rpartition("/")[2]): number for what, number in relay_totals.items()
    }


def list_for_row(session: Session, outbox_id: int) -> Sequence[Attempt]:
    """Return each attempt of one row, oldest first."""
    return session.scalars(select(Attempt).where(Attempt.outbox_id == outbox_id).order_by(Attempt.id)).all()


def find_with_outcome(session: Session, outbox_ids: Collection[int], *, outcome: str) -> set[int]:
    """Return the rows among these that ever had this outcome."""
    if not outbox_ids:
        return set()
    query = select(Attempt.outbox_id).where(Attempt.outbox_id.in_(outbox_ids), Attempt.outcome == outcome)
    return set(session.scalars(query))
