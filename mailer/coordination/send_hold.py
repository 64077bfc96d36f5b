"""Restore: that this database was put back from a backup, and may send nothing until its gap is settled.

```
(put back) held ─departures merged, or the gap accepted→ ended
```
The gap is the time between the backup and the restore: this database does not know who left or asked to be
forgotten in it, nor what was sent. mailer/backup/restore_gap.py sees to what may have been sent.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, String, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, PrimaryKey, Timestamp, UtcDateTime
from lists.errors import Conflict

MERGED, ACCEPTED = "departures", "accepted"


class Restore(Base):
    """One restore: of when, when, by which run, and how its gap was settled.

    `reckoned_at` says that what may have been sent is marked; `run` is the one that the marker in the data
    folder names (mailer/backup/placements.py).
    """

    __tablename__ = "restores"

    id: Mapped[PrimaryKey]
    backup_at: Mapped[Timestamp]
    restored_at: Mapped[Timestamp]
    run: Mapped[str | None] = mapped_column(String(32), default=None)
    reckoned_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    how: Mapped[str] = mapped_column(String(10), default="")

    @property
    def sentence(self) -> str:
        """Say why nothing is sent, and what to do."""
        return (
            f"Nothing is sent: the backup of {_format_moment(self.backup_at)} was put back at"
            f" {_format_moment(self.restored_at)}. Who left or asked to be forgotten in between is not known"
            " here. Merge the file of departures (“mailer db merge FILE”), or accept the gap"
            " (“mailer db accept-gap”)."
        )


def begin(session: Session, *, backup_at: datetime, run: str, now: datetime) -> Restore:
    """Note that this database was put back just now, by this run; from here on it is held."""
    restore = Restore(backup_at=backup_at, restored_at=now, run=run)
    session.add(restore)
    session.flush()
    return restore


def find_by_run(session: Session, run: str) -> Restore | None:
    """Return the restore that this run made, if it ever came to its end."""
    return session.scalars(select(Restore).where(Restore.run == run)).one_or_none()


SELECT_UNSETTLED = select(Restore).where(Restore.ended_at.is_(None)).limit(1)  # made once: each claim asks


def find_unsettled(session: Session) -> Restore | None:
    """Return the restore whose gap is not settled yet, or None."""
    return session.scalars(SELECT_UNSETTLED).one_or_none()


def is_held() -> ColumnElement[bool]:
    """Return the SQL condition that nothing may be sent."""
    return exists().where(Restore.ended_at.is_(None))


def refuse_while_held(session: Session) -> None:
    """Raise Conflict, with what to do, while nothing may be sent."""
    restore = find_unsettled(session)
    if restore is not None:
        raise Conflict(restore.sentence)


def end(session: Session, restore: Restore, *, how: str, now: datetime) -> None:
    """Let everything go on; `how` is MERGED or ACCEPTED."""
    restore.ended_at, restore.how = now, how
    session.flush()


def _format_moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
