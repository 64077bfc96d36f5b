"""Crowd: many contacts at once, for tests and benchmarks of large numbers."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import subscriptions
from lists.contacts import Contact
from lists.db import insert_or_nothing

BATCH_SIZE = 1_000


def addresses(number: int, *, first: int = 0) -> set[str]:
    """Return the addresses that `add` gives to this many contacts."""
    return {f"reader{index}@example.org" for index in range(first, first + number)}


def add(
    session: Session, number: int, *, list: str, now: datetime, first: int = 0, confirmed: bool = True
) -> None:
    """Add this many contacts to a list, without names, in New York; `first` is the number of the first."""
    for start in range(first, first + number, BATCH_SIZE):
        numbers = range(start, min(start + BATCH_SIZE, first + number))
        insert_or_nothing(session, Contact, [_row(number_in_batch, now) for number_in_batch in numbers])
        digests = [_digest(number_in_batch) for number_in_batch in numbers]
        ids = session.scalars(select(Contact.id).where(Contact.email_digest.in_(digests))).all()
        subscriptions.add_all(session, ids, list=list, now=now, confirmed=confirmed)


def _digest(number: int) -> bytes:
    return number.to_bytes(16, "big")


def _row(number: int, now: datetime) -> dict[str, object]:
    address = f"reader{number}@example.org"
    empty_columns = dict.fromkeys(
        ("name", "zip", "city", "county", "state", "organization", "tradition", "role"), ""
    )
    values = {"email": address, "email_key": address, "email_digest": _digest(number), "language": "en"}
    return {**empty_columns, **values, "zone": "America/New_York", "created_at": now, "version": 1}
