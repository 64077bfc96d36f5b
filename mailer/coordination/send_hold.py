"""Send hold: after a restore this database sends no message until the gap is settled.

```
(restored) held ─departures merged, or the gap accepted→ ended
```
The gap is the time between the backup and the restore. The database lacks the opt-outs and erasures of this
time, and the messages sent in it. mailer/backup/restore_gap.py marks the messages that may have been sent.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, String, exists, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, PrimaryKey, Timestamp, UtcDateTime
from lists.errors import Conflict

MERGED, ACCEPTED = "departures", "accepted"


class Restore(Base):
    """One restore: the times of the backup and of the restore, its run, and how its gap was settled.

    `marked_at` is when the messages that may have been sent were marked; `run` is the one in the marker of
    the data folder (mailer/backup/restore_run.py).
    """

    __tablename__ = "restores"

    id: Mapped[PrimaryKey]
    backup_at: Mapped[Timestamp]
    restored_at: Mapped[Timestamp]
    run: Mapped[str | None] = mapped_column(String(32), default=None)
    marked_at: Mapped[datetime | None] = mapped_column("reckoned_at", UtcDateTime, default=None)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    how: Mapped[str] = mapped_column(String(10), default="")

    @property
    def sentence(self) -> str:
        """The reason why no message is sent, and what to do, for people."""
        return (
            f"Nothing is sent: the backup of {_format_moment(self.backup_at)} was put back at"
            f" {_format_moment(self.restored_at)}. It is not known here who left or asked to be forgotten in"
            " between. Merge the file of departures (“mailer db merge FILE”), or accept the gap"
            " (“mailer db accept-gap”)."
        )


def begin(session: Session, *, backup_at: datetime, run: str, now: datetime) -> Restore:
    """Record that this run has just restored this database; from now on it is held."""
    restore = Restore(backup_at=backup_at, restored_at=now, run=run)
    session.add(restore)
    session.flush()
    return restore


def find_by_run(session: Session, run: str) -> Restore | None:
    """Return the restore of this run, or None where the run did not finish."""
    return session.scalars(select(Restore).where(Restore.run == run)).one_or_none()


SELECT_UNSETTLED = (
    select(Restore).where(Restore.ended_at.is_(None)).limit(1)
)  # built once: each claim runs it


def find_unsettled(session: Session) -> Restore | None:
    """Return the restore whose gap is not settled yet, or None."""
    return session.scalars(SELECT_UNSETTLED).one_or_none()


def is_active() -> ColumnElement[bool]:
    """Return the SQL condition that no message may be sent."""
    return exists().where(Restore.ended_at.is_(None))


def refuse_while_active(session: Session) -> None:
    """Raise Conflict, with what to do, while no message may be sent."""
    restore = find_unsettled(session)
    if restore is not None:
        raise Conflict(restore.sentence)


def end(session: Session, restore: Restore, *, how: str, now: datetime) -> None:
    """End the hold; `how` is MERGED or ACCEPTED."""
    restore.ended_at, restore.how = now, how
    session.flush()


def _format_moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
