"""Erasure: delete everything about a person; a keyed hash keeps the address from being added again."""

from datetime import datetime

from sqlalchemy.orm import Session

from lists import (
    audit,
    contacts,
    merge_redirects,
    suppressions,
)
from lists.addresses import Address


def erase_person(session: Session, address: Address, *, now: datetime, actor: str) -> bool:
    """Erase the contact of this address everywhere and never write to it again.

    Every table with personal data references the contact, and its rows are deleted by cascade. Returns
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
