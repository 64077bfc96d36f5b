"""Import: one import on its way in; whom it brings counts for nothing until all of them are here.

```
(none) ─begin→ arriving ─finish→ here
                  │  ↑            │
                  │  └─begin undo─┘
                  └─end undo→ undone
```
Rows are written in small transactions, so that nobody who signs up on the page waits for a long one. Until
the last is written the permission rule refuses every subscription of the arrival; `end` changes one row, and
all of them count at once. If we die in between, nobody was written to: the same import goes on where it
stopped, or is taken back. To take back one that was finished, `begin_undo` changes the same row: from that
moment none of them counts any more, while they are taken out batch by batch.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    Index,
    LargeBinary,
    String,
    and_,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from lists.db import Base, PrimaryKey, Timestamp, UtcDateTime, insert_or_nothing
from lists.errors import Conflict, NotFound

EVIDENCE_PAGE = "import {number}"  # what a consent says of where it was given
RESUME_LIMIT = timedelta(days=1)  # a confirmation that comes later than that surprises whom it asks
ARRIVING: ColumnElement[str] = literal_column("'arriving'")


class ListImport(Base):
    """One import to a list; `fingerprint` stands for what was asked: the file and what was said of it.

    `undo_began_at` is when staff began to take it back.
    """

    __tablename__ = "arrivals"
    __table_args__ = (
        CheckConstraint("state IN ('arriving', 'here', 'undone')", name="state"),
        Index(  # one at a time, so that no person is on the way in twice
            "ix_arrivals_arriving",
            "state",
            unique=True,
            sqlite_where=literal_column("state = 'arriving'"),
            postgresql_where=literal_column("state = 'arriving'"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[PrimaryKey]
    list: Mapped[str] = mapped_column(String(40))
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    state: Mapped[str] = mapped_column(String(8))
    began_at: Mapped[Timestamp]
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    undo_began_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


def find(session: Session, import_id: int) -> ListImport:
    """Return an import by its number; raises NotFound."""
    arrival = session.get(ListImport, import_id)
    if arrival is None:
        raise NotFound(f"There is no import {import_id}. “mailer list undo” names the newest.")
    return arrival


def list_newest(session: Session, *, limit: int) -> Sequence[ListImport]:
    """Return the newest imports, whatever became of them."""
    return session.scalars(select(ListImport).order_by(ListImport.id.desc()).limit(limit)).all()


def begin_undo(session: Session, import_id: int, *, now: datetime) -> ListImport:
    """Let nobody of an import count any more, and let nothing be brought in meanwhile.

    Does nothing when that has begun or is done. Raises Conflict while another import is unfinished.
    """
    arrival = find(session, import_id)
    other = find_unfinished(session)
    if other is not None and other.id != import_id:
        raise Conflict(f"Import {other.id} is not finished. Finish it, or take it back, first.")
    begun = update(ListImport).where(ListImport.id == import_id, ListImport.state != "undone")
    session.execute(begun.where(ListImport.undo_began_at.is_(None)).values(undo_began_at=now))
    session.execute(begun.values(state="arriving"))
    session.refresh(arrival)
    return arrival


def is_arriving(import_id: InstrumentedAttribute[int | None]) -> ColumnElement[bool]:
    """Return the SQL condition that a row belongs to an arrival that is not here yet."""
    under_way = select(ListImport.id).where(ListImport.state == ARRIVING)
    return and_(import_id.is_not(None), import_id.in_(under_way))


def find_unfinished(session: Session) -> ListImport | None:
    """Return the arrival that was begun and neither finished nor undone, or None."""
    return session.scalars(select(ListImport).where(ListImport.state == ARRIVING)).one_or_none()


def begin(session: Session, *, list: str, fingerprint: bytes, now: datetime) -> ListImport:
    """Begin an arrival, or go on with the same one that was interrupted.

    Raises Conflict while another one is unfinished, and for one that was interrupted too long ago.
    """
    new = {"list": list, "fingerprint": fingerprint, "state": "arriving", "began_at": now}
    insert_or_nothing(session, ListImport, [new])
    arrival = find_unfinished(session)
    assert arrival is not None
    if arrival.undo_began_at is not None:
        raise Conflict(
            f"Import {arrival.id} is being taken back. Finish that first:"
            f" mailer list undo {arrival.id} --yes."
        )
    begun = f"The import to the list {arrival.list} that was begun on {arrival.began_at:%B %-d at %H:%M} UTC"
    if arrival.fingerprint != fingerprint:
        raise Conflict(
            f"{begun} is not finished. Give the same command again to go on with it, or take it back with"
            " “mailer list undo”. Nothing was changed."
        )
    if now - arrival.began_at > RESUME_LIMIT:
        raise Conflict(f"{begun} is too old to go on. Take it back with “mailer list undo” and import again.")
    return arrival


def end(session: Session, import_id: int, *, state: str, now: datetime) -> None:
    """Let everybody of an arrival be here, or note that all are gone; raises NotFound when it has ended."""
    ended = (
        update(ListImport)
        .where(ListImport.id == import_id, ListImport.state == ARRIVING)
        .values(state=state, ended_at=now)
        .returning(ListImport.id)
    )
    if session.execute(ended).one_or_none() is None:
        raise NotFound("This import has ended already.")
