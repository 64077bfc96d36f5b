"""Forget somebody: everything about them is erased, and a keyed hash keeps the address from coming back.

`reapply_departures` does to an older database, after a restore, what a file of departures says happened
since.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import (
    audit,
    consents,
    contacts,
    departures,
    directory,
    merge_redirects,
    subscriptions,
    suppressions,
)
from lists.addresses import Address
from lists.contacts import Contact
from lists.departures import LEFT, DepartureRecord

CONTACTS_PER_BATCH = 10_000
EVIDENCE_PAGE = "departures"  # where it was said, in the evidence of consent


@dataclass(frozen=True, kw_only=True)
class ReapplyResult:
    """What merging departures changed: lists left, addresses barred, people erased."""

    left: int
    barred: int
    erased: int


def erase_person(session: Session, address: Address, *, now: datetime, actor: str) -> bool:
    """Erase the contact of this address everywhere and never write to it again.

    Every table that holds something of a person points at the contact and goes with it by cascade. Returns
    whether there was such a contact; the address is suppressed either way.
    """
    suppressions.add(session, address.digest, reason="forgotten", now=now)
    audit.record(session, actor=actor, action="forget", now=now)
    contact = contacts.find(session, address)
    if contact is None:
        return False
    for merged in merge_redirects.list_for_contact(session, contact.id):
        suppressions.add(session, merged.email_digest, reason="forgotten", now=now)
    contacts.erase(session, contact.id)
    session.expunge(contact)
    return True


def reapply_departures(
    session: Session,
    records: Iterable[DepartureRecord],
    *,
    erase: Callable[[Session, int], None],
    now: datetime,
    actor: str,
) -> ReapplyResult:
    """Do again what is in a file of departures; what is done already, or was taken back since, stays.

    `erase` takes a contact by number out of everything, for whom the file says they are forgotten.
    Whoever joined a list again after the moment they left it has come back, and stays. Of whom the database
    does not know that they were on a list, it keeps that they left it.
    """
    by_digest: dict[bytes, list[DepartureRecord]] = defaultdict(list)
    absent: dict[tuple[bytes, str], DepartureRecord] = {}
    barred = 0
    for each in records:
        by_digest[each.digest].append(each)
        if each.what == LEFT:
            absent[each.digest, each.list] = each
        else:
            barred += suppressions.add(session, each.digest, reason=each.what, now=each.at)
    left = erased = 0
    for contact_id, digest in _find_contacts(session, by_digest):
        said = by_digest[digest]
        if any(each.what == "forgotten" for each in said):
            erase(session, contact_id)
            erased += 1
            continue
        for standing in subscriptions.list_for_contact(session, contact_id):
            absent.pop((digest, standing.list), None)
        left += sum(_leave(session, contact_id, each) for each in said if each.what == LEFT)
    departures.record_exclusions(session, absent.values())
    audit.record(session, actor=actor, action="merge departures", now=now)
    return ReapplyResult(left=left, barred=barred, erased=erased)


def _leave(session: Session, contact_id: int, record: DepartureRecord) -> bool:
    standing = subscriptions.find(session, contact_id=contact_id, list=record.list)
    if standing is None or standing.state == "left":
        return False
    since = standing.confirmed_at if standing.state == "confirmed" else standing.asked_at
    if since is not None and since > record.at:
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
    """Find the contacts with one of these digests by one walk through all, for digests have no index."""
    last = 0
    while True:
        following = select(Contact.id, Contact.email_digest).where(Contact.id > last).order_by(Contact.id)
        rows = session.execute(following.limit(CONTACTS_PER_BATCH)).all()
        if not rows:
            return
        last = rows[-1].id
        yield from ((row.id, row.email_digest) for row in rows if row.email_digest in digests)
