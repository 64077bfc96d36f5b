"""List exclusion: a person who left a list of which they have no subscription here.

The merge of a file of departures writes it (lists/identity/departure_replay.py), imports ask for it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import LargeBinary, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, PrimaryKey, insert_or_nothing
from lists.departures import DepartureRecord


class ListExclusion(Base):
    """A person who left a list and has no subscription here, because they joined after the backup was made.

    It keeps the import of an old file from subscribing them. It is ignored once they ask to join that list
    again.
    """

    __tablename__ = "absences"
    __table_args__ = (UniqueConstraint("email_digest", "list"),)

    id: Mapped[PrimaryKey]
    email_digest: Mapped[bytes] = mapped_column(LargeBinary(16))
    list: Mapped[str] = mapped_column(String(40))


def record(session: Session, records: Iterable[DepartureRecord]) -> None:
    """Record who left a list of which they have no subscription here."""
    rows = [{"email_digest": record.digest, "list": record.list} for record in records]
    if rows:
        insert_or_nothing(session, ListExclusion, rows)


def find_lists(session: Session, digests: Collection[bytes]) -> Mapping[bytes, Collection[str]]:
    """Return the lists that people with these digests left and have no subscription of here."""
    exclusions = select(ListExclusion.email_digest, ListExclusion.list).where(
        ListExclusion.email_digest.in_(digests)
    )
    lists: defaultdict[bytes, set[str]] = defaultdict(set)
    for row in session.execute(exclusions):
        lists[row.email_digest].add(row.list)
    return lists
