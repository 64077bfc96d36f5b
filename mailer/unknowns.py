"""Unknown: messages of which nobody can say whether the server took them (RFC 1047), and what is decided.

Where the kind's policy says so, mailer/verdicts.py sends such a message once more: the same row, so the same
bytes and Message-ID, by which many mailboxes drop the second. The others wait for staff, or a late report.
"""

from datetime import datetime
from typing import Literal

from sqlalchemy import CursorResult, update
from sqlalchemy.orm import Session

from lists.errors import Conflict, NotFound
from mailer.outbox import OutboxRow

Decision = Literal["sent", "resend"]


def resolve(session: Session, row_id: int, decision: Decision, *, now: datetime) -> None:
    """Decide about one row: it was sent after all, or it is sent once more.

    Raises NotFound, and Conflict for a row that does not wait for a decision.
    """
    row = session.get(OutboxRow, row_id)
    if row is None:
        raise NotFound(f"There is no message number {row_id} in the outbox.")
    mine = update(OutboxRow).where(OutboxRow.id == row_id, OutboxRow.state == "unknown")
    decided = (
        mine.values(state="sent", why="staff say it arrived", sent_at=now)
        if decision == "sent"
        else mine.values(state="queued", why="staff want it sent again", due_at=now)
    )
    if not _changed(session, decided):
        raise Conflict(f"Message {row_id} is {row.state}; only an unknown one waits for a decision.")


def _changed(session: Session, statement: object) -> int:
    result = session.execute(statement.execution_options(synchronize_session=False))  # type: ignore[attr-defined]
    assert isinstance(result, CursorResult)
    return result.rowcount
