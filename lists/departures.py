"""Departure: a person left, complained, was suppressed or erased.

A backup does not contain departures that happened after it was made. So each departure is added to this table
in the transaction that causes it, and deleted once mailer/backup/departures_file.py has written it to a file
that can be copied off the machine. One line too many in that file is harmless, a missing line is not. The
table holds keyed hashes and no address.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import LargeBinary, String, delete, literal, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base, PrimaryKey, Timestamp, UtcDateTime, insert_or_nothing
from lists.merge_redirects import MergeRedirect

LEFT = "left"
NO_LIST = ""  # the departure concerns all lists


class Departure(Base):
    """One departure that the file may not have yet; `what` is "left" or the reason of a suppression."""

    __tablename__ = "departures"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[PrimaryKey]
    what: Mapped[str] = mapped_column(String(12))
    list: Mapped[str] = mapped_column(String(40))
    email_digest: Mapped[bytes] = mapped_column(LargeBinary(16))
    at: Mapped[Timestamp]


@dataclass(frozen=True, kw_only=True)
class DepartureRecord:
    """One line of the departures file.

    What happened, on which list ("" for all), to whom (a digest of 16 octets), and when.
    """

    what: str
    list: str
    digest: bytes
    at: datetime


def record_leave(
    session: Session, *, contact_id: int, list: str, now: datetime, except_digest: bytes = b""
) -> None:
    """Record that this contact left a list, and with it every address that was merged into it.

    An older backup has these addresses as contacts of their own. `except_digest` is the digest of an address
    that did not leave.
    """
    columns = ("what", "list", "email_digest", "at")
    for digest, condition in (
        (Contact.email_digest, Contact.id == contact_id),
        (MergeRedirect.email_digest, MergeRedirect.contact_id == contact_id),
    ):
        departing = select(literal(LEFT), literal(list), digest, literal(now, UtcDateTime))
        departing = departing.where(condition, digest != except_digest)
        insert_or_nothing(session, Departure, departing, columns=columns)


def record_suppression(session: Session, digest: bytes, *, reason: str, now: datetime) -> None:
    """Record that this address must never be written to again."""
    row = {"what": reason, "list": NO_LIST, "email_digest": digest, "at": now}
    insert_or_nothing(session, Departure, [row])


def list_pending(session: Session, *, limit: int) -> Sequence[tuple[int, DepartureRecord]]:
    """Return the oldest departures that the file may not have yet, each with its number."""
    rows = session.scalars(select(Departure).order_by(Departure.id).limit(limit))
    return [
        (row.id, DepartureRecord(what=row.what, list=row.list, digest=row.email_digest, at=row.at))
        for row in rows
    ]


def delete_written(session: Session, departure_ids: Collection[int]) -> None:
    """Delete the departures that are in the file now, and on the disk."""
    statement = delete(Departure).where(Departure.id.in_(departure_ids))
    session.execute(statement.execution_options(synchronize_session=False))
