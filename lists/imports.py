"""List import: one import of people to a list; its subscriptions count only once all of them are written.

```
(none) ─begin→ arriving ─finish→ here
                  │  ↑            │
                  │  └─begin undo─┘
                  └─end undo→ undone
```
Rows are written in small transactions, so that a sign-up on the page does not wait for a long one. Until the
last row is written, the permission rule refuses every subscription of the import. `end` changes one row, and
all subscriptions count at once. If the process ends in between, nothing was sent to these people: the same
import is resumed, or it is undone. To undo a finished import, `begin_undo` changes the same row: from that
moment none of its subscriptions counts, while they are removed batch by batch.
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

EVIDENCE_PAGE = "import {number}"  # the page of the consent records
RESUME_LIMIT = timedelta(days=1)  # a confirmation request that is sent later surprises its recipient
ARRIVING: ColumnElement[str] = literal_column("'arriving'")


class ListImport(Base):
    """One import to a list; `fingerprint` identifies the request: the file and the options of the command.

    `undo_began_at` is when staff began to undo it.
    """

    __tablename__ = "arrivals"
    __table_args__ = (
        CheckConstraint("state IN ('arriving', 'here', 'undone')", name="state"),
        Index(  # one at a time, so that no person is in two unfinished imports
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
    list_import = session.get(ListImport, import_id)
    if list_import is None:
        raise NotFound(f"There is no import {import_id}. “mailer list undo” names the newest.")
    return list_import


def list_newest(session: Session, *, limit: int) -> Sequence[ListImport]:
    """Return the newest imports, in every state."""
    return session.scalars(select(ListImport).order_by(ListImport.id.desc()).limit(limit)).all()


def begin_undo(session: Session, import_id: int, *, now: datetime) -> ListImport:
    """Stop counting the subscriptions of an import, and block other imports meanwhile.

    Does nothing when the undo has begun or is done. Raises Conflict while another import is unfinished.
    """
    list_import = find(session, import_id)
    other = find_unfinished(session)
    if other is not None and other.id != import_id:
        raise Conflict(f"Import {other.id} is not finished. Finish it, or take it back, first.")
    statement = update(ListImport).where(ListImport.id == import_id, ListImport.state != "undone")
    session.execute(statement.where(ListImport.undo_began_at.is_(None)).values(undo_began_at=now))
    session.execute(statement.values(state="arriving"))
    session.refresh(list_import)
    return list_import


def is_arriving(import_id: InstrumentedAttribute[int | None]) -> ColumnElement[bool]:
    """Return the SQL condition that a row belongs to an unfinished import."""
    unfinished = select(ListImport.id).where(ListImport.state == ARRIVING)
    return and_(import_id.is_not(None), import_id.in_(unfinished))


def find_unfinished(session: Session) -> ListImport | None:
    """Return the import that was begun and neither finished nor undone, or None."""
    return session.scalars(select(ListImport).where(ListImport.state == ARRIVING)).one_or_none()


def begin(session: Session, *, list: str, fingerprint: bytes, now: datetime) -> ListImport:
    """Begin an import, or resume the same one after an interruption.

    Raises Conflict while another import is unfinished, and for one that was interrupted too long ago.
    """
    row = {"list": list, "fingerprint": fingerprint, "state": "arriving", "began_at": now}
    insert_or_nothing(session, ListImport, [row])
    list_import = find_unfinished(session)
    assert list_import is not None
    if list_import.undo_began_at is not None:
        raise Conflict(
            f"Import {list_import.id} is being taken back. Finish that first:"
            f" mailer list undo {list_import.id} --yes."
        )
    start = f"{list_import.began_at:%B %-d at %H:%M} UTC"
    import_label = f"The import to the list {list_import.list} that was begun on {start}"
    if list_import.fingerprint != fingerprint:
        raise Conflict(
            f"{import_label} is not finished. Give the same command again to go on with it, or take it back"
            " with “mailer list undo”. Nothing was changed."
        )
    if now - list_import.began_at > RESUME_LIMIT:
        raise Conflict(
            f"{import_label} is too old to go on. Take it back with “mailer list undo” and import again."
        )
    return list_import


def end(session: Session, import_id: int, *, state: str, now: datetime) -> None:
    """Set the final state of an import, "here" or "undone"; raises NotFound when it has ended already."""
    statement = (
        update(ListImport)
        .where(ListImport.id == import_id, ListImport.state == ARRIVING)
        .values(state=state, ended_at=now)
        .returning(ListImport.id)
    )
    if session.execute(statement).one_or_none() is None:
        raise NotFound("This import has ended already.")
