"""Forget somebody: everything about them is erased, and a keyed hash keeps the address from coming back."""

from datetime import datetime

from sqlalchemy.orm import Session

from lists import audit, contacts, suppressions
from lists.addresses import Address


def forget(session: Session, address: Address, *, now: datetime, actor: str) -> bool:
    """Erase the contact of this address everywhere and never write to it again.

    Every table that holds something of a person points at the contact and goes with it by cascade. Returns
    whether there was such a contact; the address is suppressed either way.
    """
    suppressions.add(session, address.digest, reason="forgotten", now=now)
    audit.note(session, actor=actor, action="forget", now=now)
    contact = contacts.find(session, address)
    if contact is None:
        return False
    contacts.erase(session, contact.id)
    session.expunge(contact)
    return True
