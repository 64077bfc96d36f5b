"""The SQL statements that a piece of work sends to the database, counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from lists.db import Database


@contextmanager
def recorded(database: Database) -> Iterator[list[str]]:
    """Give a list to which every statement sent inside the block is added."""
    sent: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):  # which PostgreSQL's driver sends by itself
            sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
