"""Departure replay: applies the departures file to an older database after a restore."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import audit, consents, directory, list_exclusions, subscriptions, suppressions
from lists.contacts import Contact
from lists.departures import LEFT, DepartureRecord

CONTACTS_PER_BATCH = 10_000
EVIDENCE_PAGE = "departures"  # the page of the consent record


@dataclass(frozen=True, kw_only=True)
class ReapplyResult:
    """What applying a departures file changed: lists left, addresses suppressed, people erased."""

    left: int
    barred: int
    erased: int


def replay(
    session: Session,
    records: Iterable[DepartureRecord],
    *,
    erase: Callable[[Session, int], None],
    now: datetime,
    actor: str,
) -> ReapplyResult:
    """Apply the records of a departures file again; what is applied already, or was undone since, stays.

    `erase` erases a contact, given its number, for each person whom the file records as forgotten. A person
    who joined a list again after the recorded time stays on it. For a person without a subscription in the
    database, it records that they left the list.
    """
    by_digest: dict[bytes, list[DepartureRecord]] = defaultdict(list)
    exclusions: dict[tuple[bytes, str], DepartureRecord] = {}
    barred = 0
    for record in records:
        by_digest[record.digest].append(record)
        if record.what == LEFT:
            exclusions[record.digest, record.list] = record
        else:
            barred += suppressions.add(session, record.digest, reason=record.what, now=record.at)
    left = erased = 0
    for contact_id, digest in _find_contacts(session, by_digest):
        contact_records = by_digest[digest]
        if any(record.what == "forgotten" for record in contact_records):
            erase(session, contact_id)
            erased += 1
            continue
        for subscription in subscriptions.list_for_contact(session, contact_id):
            exclusions.pop((digest, subscription.list), None)
        left += sum(_leave(session, contact_id, record) for record in contact_records if record.what == LEFT)
    list_exclusions.record(session, exclusions.values())
    audit.record(session, actor=actor, action="merge departures", now=now)
    return ReapplyResult(left=left, barred=barred, erased=erased)


def _leave(session: Session, contact_id: int, record: DepartureRecord) -> bool:
    subscription = subscriptions.find(session, contact_id=contact_id, list=record.list)
    if subscription is None or subscription.state == "left":
        return False
    joined_at = subscription.confirmed_at if subscription.state == "confirmed" else subscription.asked_at
    if joined_at is not None and joined_at > record.at:
        return False
    subscriptions.leave(session, contact_id=contact_id, list=record.list, now=record.at)
    consents.add(
        session, contact_id=contact_id, list=record.list, action="left", page=EVIDENCE_PAGE, now=record.at
    )
    if record.list == "organizers":
        directory.withdraw(session, contact_id=contact_id)
    return True


def _find_contacts(
    session: Session, digests: Mapping[bytes, Sequence[DepartureRecord]]
) -> Iterator[tuple[int, bytes]]:
    """Find the contacts with one of these digests in one scan of all, because digests have no index."""
    last_id = 0
    while True:
        query = select(Contact.id, Contact.email_digest).where(Contact.id > last_id).order_by(Contact.id)
        rows = session.execute(query.limit(CONTACTS_PER_BATCH)).all()
        if not rows:
            return
        last_id = rows[-1].id
        yield from ((row.id, row.email_digest) for row in rows if row.email_digest in digests)
