"""Many readers at once, for tests and benchmarks of numbers."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import subscriptions
from lists.contacts import Contact
from lists.db import insert_or_nothing

AT_ONCE = 1_000


def addresses(number: int, *, first: int = 0) -> set[str]:
    """Return the addresses that `add` gives to this many readers."""
    return {f"reader{each}@example.org" for each in range(first, first + number)}


def add(
    session: Session, number: int, *, list: str, now: datetime, first: int = 0, confirmed: bool = True
) -> None:
    """Add this many readers to a list, without names, in New York; `first` numbers the first of them."""
    for begin in range(first, first + number, AT_ONCE):
        each_of = range(begin, min(begin + AT_ONCE, first + number))
        insert_or_nothing(session, Contact, [_row(each, now) for each in each_of])
        digests = [_digest(each) for each in each_of]
        ids = session.scalars(select(Contact.id).where(Contact.email_digest.in_(digests))).all()
        subscriptions.add_all(session, ids, list=list, now=now, confirmed=confirmed)


def _digest(each: int) -> bytes:
    return each.to_bytes(16, "big")


def _row(each: int, now: datetime) -> dict[str, object]:
    address = f"reader{each}@example.org"
    empty = dict.fromkeys(("name", "zip", "city", "county", "state", "organization", "tradition", "role"), "")
    known = {"email": address, "email_key": address, "email_digest": _digest(each), "language": "en"}
    return {**empty, **known, "zone": "America/New_York", "created_at": now, "version": 1}
