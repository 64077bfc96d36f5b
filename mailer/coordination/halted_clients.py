"""Halted clients: connections to PostgreSQL whose process stands still in the middle of a statement.

PostgreSQL counts a connection as active while it waits for the rest of a batch of statements (psycopg's
`executemany` is one), or for its client to read a result. So idle_in_transaction_session_timeout passes
over it, and its locks stop every other worker for as long as the process is frozen.
"""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from lists.db import Database

_WAITING = text(
    "SELECT pid, state_change FROM pg_stat_activity"
    " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
    " AND application_name = current_setting('application_name')"
    " AND state = 'active' AND wait_event_type = 'Client'"
)
_TERMINATE = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE pid = :pid AND state_change = :state_change AND state = 'active' AND wait_event_type = 'Client'"
)


@dataclass(kw_only=True)
class HaltedClients:
    """Finds halted clients by two looks, some seconds apart, that find the same wait."""

    database: Database
    _waiting: frozenset[tuple[int, datetime]] = field(default=frozenset(), init=False)

    def terminate(self) -> int:
        """Terminate the connections that wait since before the previous call; returns how many.

        Their clients find their transactions undone and repeat them. There are none on SQLite.
        """
        if self.database.dialect != "postgresql":
            return 0
        with self.database.write() as session:
            waiting = frozenset((row.pid, row.state_change) for row in session.execute(_WAITING))
            halted = waiting & self._waiting
            self._waiting = waiting - halted
            return sum(_terminate(session, pid, state_change) for pid, state_change in halted)


def _terminate(session: Session, pid: int, state_change: datetime) -> int:
    return session.scalar(_TERMINATE, {"pid": pid, "state_change": state_change}) or 0
