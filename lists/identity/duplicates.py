"""Duplicates: pairs of contacts that are likely one person; a hint for staff, who decide."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from lists import addresses
from lists.contacts import Contact

BATCH_SIZE = 1_000  # rows fetched, or keys queried, at once
SAME_MAILBOX, SAME_PERSON = "same mailbox", "same name and ZIP code"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two addresses that may belong to one person, and why."""

    email: str
    other: str
    why: str


def find_pairs(session: Session, *, limit: int) -> Sequence[Pair]:
    """Return up to `limit` pairs, those of one mailbox first; merges nothing."""
    pairs: dict[frozenset[str], Pair] = {}
    for pair in (*_find_by_mailbox(session, limit=limit), *_find_by_name(session, limit=limit)):
        pairs.setdefault(frozenset((pair.email, pair.other)), pair)
    return [*pairs.values()][:limit]


def _find_by_mailbox(session: Session, *, limit: int) -> Sequence[Pair]:
    """Find addresses that differ only in what their mail server ignores.

    Only addresses with a tag, or on a server that ignores dots, can have a second spelling, so only these are
    read. The memory used is in proportion to their number, not to the number of contacts.
    """
    spellings = [Contact.email_key.like(f"%@{domain}") for domain in addresses.DOT_INSENSITIVE_DOMAINS]
    query = select(Contact.id, Contact.email, Contact.email_key).where(
        or_(Contact.email_key.like("%+%@%"), *spellings)
    )
    emails_by_mailbox: dict[str, str] = {}
    pairs: list[Pair] = []
    rows = session.execute(query.order_by(Contact.id).execution_options(yield_per=BATCH_SIZE))
    for partition in rows.partitions():
        mailboxes = [(row.email, row.email_key, addresses.guess_mailbox(row.email_key)) for row in partition]
        untagged_query = select(Contact.email_key, Contact.email).where(
            Contact.email_key.in_({mailbox for _, key, mailbox in mailboxes if mailbox != key})
        )
        emails_by_key = {row.email_key: row.email for row in session.execute(untagged_query)}
        for email, _, mailbox in mailboxes:
            first_email = emails_by_key.get(mailbox) or emails_by_mailbox.get(mailbox)
            emails_by_mailbox.setdefault(mailbox, email)
            if first_email is not None and first_email != email:
                pairs.append(Pair(email=first_email, other=email, why=SAME_MAILBOX))
            if len(pairs) == limit:
                return pairs
    return pairs


def _find_by_name(session: Session, *, limit: int) -> Iterator[Pair]:
    """Find contacts with the same name, ignoring case, and the same ZIP code."""
    name = func.lower(Contact.name)
    conditions = (Contact.name != "", Contact.zip != "")
    groups = (
        select(name.label("name"), Contact.zip.label("zip")).where(*conditions).group_by(name, Contact.zip)
    )
    repeated = groups.having(func.count() > 1).order_by(name, Contact.zip).limit(limit).subquery()
    rows = session.execute(
        select(repeated.c.name, repeated.c.zip, Contact.email)
        .join(repeated, (name == repeated.c.name) & (Contact.zip == repeated.c.zip))
        .order_by(repeated.c.name, repeated.c.zip, Contact.id)
    )
    for _, group in groupby(rows, key=lambda row: (row[0], row[1])):
        first, *others = [row.email for row in group]
        for other in others:
            yield Pair(email=first, other=other, why=SAME_PERSON)
