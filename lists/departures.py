"""Departure: somebody left, complained, was barred or forgotten, until that is written into a file as well.

A backup does not know who left after it was made. So each departure is put here in the transaction that makes
it true, and taken out once mailer/backup/departures_file.py has it in a file that can be copied off the
machine: one too many in the file is harmless, one too few is not. It holds keyed hashes and no address.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import LargeBinary, String, UniqueConstraint, delete, literal, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base, PrimaryKey, Timestamp, UtcDateTime, insert_or_nothing
from lists.merge_redirects import MergeRedirect

LEFT = "left"
NO_LIST = ""  # what is true of all lists


class Departure(Base):
    """One departure that the file may not have yet; `what` is "left" or the reason of a suppression."""

    __tablename__ = "departures"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[PrimaryKey]
    what: Mapped[str] = mapped_column(String(12))
    list: Mapped[str] = mapped_column(String(40))
    email_digest: Mapped[bytes] = mapped_column(LargeBinary(16))
    at: Mapped[Timestamp]


class ListExclusion(Base):
    """Somebody who left a list, of which nothing else is here: they joined after the backup was made.

    It keeps an old file from bringing them back, and counts no more once they ask to join that list again.
    """

    __tablename__ = "absences"
    __table_args__ = (UniqueConstraint("email_digest", "list"),)

    id: Mapped[PrimaryKey]
    email_digest: Mapped[bytes] = mapped_column(LargeBinary(16))
    list: Mapped[str] = mapped_column(String(40))


@dataclass(frozen=True, kw_only=True)
class DepartureRecord:
    """What there is to remember: what happened, on which list ("" for all), to whom (16 octets), and when."""

    what: str
    list: str
    digest: bytes
    at: datetime


def record_leave(
    session: Session, *, contact_id: int, list: str, now: datetime, except_digest: bytes = b""
) -> None:
    """Note that this contact left a list, and with it every address that became part of it.

    An older backup has those as contacts of their own. `except_digest` is the digest of an address that did
    not leave.
    """
    columns = ("what", "list", "email_digest", "at")
    for digest, mine in (
        (Contact.email_digest, Contact.id == contact_id),
        (MergeRedirect.email_digest, MergeRedirect.contact_id == contact_id),
    ):
        who = select(literal(LEFT), literal(list), digest, literal(now, UtcDateTime))
        who = who.where(mine, digest != except_digest)
        insert_or_nothing(session, Departure, who, columns=columns)


def record_suppression(session: Session, digest: bytes, *, reason: str, now: datetime) -> None:
    """Note that this address must never be written to again."""
    row = {"what": reason, "list": NO_LIST, "email_digest": digest, "at": now}
    insert_or_nothing(session, Departure, [row])


def list_pending(session: Session, *, limit: int) -> Sequence[tuple[int, DepartureRecord]]:
    """Return the oldest departures that the file may not have yet, each with its number."""
    rows = session.scalars(select(Departure).order_by(Departure.id).limit(limit))
    return [
        (row.id, DepartureRecord(what=row.what, list=row.list, digest=row.email_digest, at=row.at))
        for row in rows
    ]


def delete_pending(session: Session, departure_ids: Collection[int]) -> None:
    """Take out what is in the file now, and on the disk."""
    gone = delete(Departure).where(Departure.id.in_(departure_ids))
    session.execute(gone.execution_options(synchronize_session=False))


def record_exclusions(session: Session, records: Iterable[DepartureRecord]) -> None:
    """Note who left a list of which they have no subscription here."""
    rows = [{"email_digest": each.digest, "list": each.list} for each in records]
    if rows:
        insert_or_nothing(session, ListExclusion, rows)


def find_exclusions(session: Session, digests: Collection[bytes]) -> Mapping[bytes, Collection[str]]:
    """Return the lists that the people with these hashes left while nothing else of that is here."""
    found = select(ListExclusion.email_digest, ListExclusion.list).where(
        ListExclusion.email_digest.in_(digests)
    )
    lists: defaultdict[bytes, set[str]] = defaultdict(set)
    for row in session.execute(found):
        lists[row.email_digest].add(row.list)
    return lists
