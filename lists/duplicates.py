"""Duplicates: pairs of contacts that are likely one person; a hint for staff, who decide."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from lists import addresses
from lists.contacts import Contact

BATCH_SIZE = 1_000  # rows fetched, or keys asked for, at once
SAME_MAILBOX, SAME_PERSON = "same mailbox", "same name and ZIP code"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two addresses that may be one person's, and why."""

    email: str
    other: str
    why: str


def find_pairs(session: Session, *, limit: int) -> Sequence[Pair]:
    """Return up to `limit` pairs, those of one mailbox first; nobody is merged by it."""
    found: dict[frozenset[str], Pair] = {}
    for pair in (*_find_by_mailbox(session, limit=limit), *_find_by_name(session, limit=limit)):
        found.setdefault(frozenset((pair.email, pair.other)), pair)
    return [*found.values()][:limit]


def _find_by_mailbox(session: Session, *, limit: int) -> Sequence[Pair]:
    """Find addresses that only differ in what their mail server passes over.

    Only addresses with a tag, or at a server that passes over dots, can have a twin, so only these are read;
    a million contacts take as much memory as those of them have addresses.
    """
    spellings = [Contact.email_key.like(f"%@{domain}") for domain in addresses.DOT_INSENSITIVE_DOMAINS]
    special = select(Contact.id, Contact.email, Contact.email_key).where(
        or_(Contact.email_key.like("%+%@%"), *spellings)
    )
    first: dict[str, str] = {}
    pairs: list[Pair] = []
    rows = session.execute(special.order_by(Contact.id).execution_options(yield_per=BATCH_SIZE))
    for part in rows.partitions():
        boxes = [(row.email, row.email_key, addresses.guess_mailbox(row.email_key)) for row in part]
        plain = select(Contact.email_key, Contact.email).where(
            Contact.email_key.in_({box for _, key, box in boxes if box != key})
        )
        untagged = {row.email_key: row.email for row in session.execute(plain)}
        for email, _, box in boxes:
            twin = untagged.get(box) or first.get(box)
            first.setdefault(box, email)
            if twin is not None and twin != email:
                pairs.append(Pair(email=twin, other=email, why=SAME_MAILBOX))
            if len(pairs) == limit:
                return pairs
    return pairs


def _find_by_name(session: Session, *, limit: int) -> Iterator[Pair]:
    """Find contacts of the same name, in whatever capitals, and the same ZIP code."""
    name = func.lower(Contact.name)
    known = (Contact.name != "", Contact.zip != "")
    twice = select(name.label("name"), Contact.zip.label("zip")).where(*known).group_by(name, Contact.zip)
    several = twice.having(func.count() > 1).order_by(name, Contact.zip).limit(limit).subquery()
    rows = session.execute(
        select(several.c.name, several.c.zip, Contact.email)
        .join(several, (name == several.c.name) & (Contact.zip == several.c.zip))
        .order_by(several.c.name, several.c.zip, Contact.id)
    )
    for _, same in groupby(rows, key=lambda row: (row[0], row[1])):
        first, *others = [row.email for row in same]
        for other in others:
            yield Pair(email=first, other=other, why=SAME_PERSON)
