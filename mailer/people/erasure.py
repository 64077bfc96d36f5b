"""Forgetting: somebody is erased everywhere, the copies in the try-out's post office among it."""

from datetime import datetime

from sqlalchemy.orm import Session

from lists import contacts, erasure
from lists.addresses import Address
from mailer.people import messages
from mailer.tryout import postoffice


def erase_person(session: Session, address: Address, *, now: datetime, actor: str) -> bool:
    """Erase whoever has this address and never write there again; tells whether there was somebody."""
    postoffice.delete_messages_to(session, list_spellings(session, address))
    return erasure.erase_person(session, address, now=now, actor=actor)


def erase_contact(session: Session, contact_id: int) -> None:
    """Erase a contact everywhere; whether it may be written to again is said elsewhere."""
    contact = contacts.get(session, contact_id)
    used = messages.list_addresses(session, contact_id=contact_id)
    postoffice.delete_messages_to(session, {contact.email, contact.email_key, *used})
    contacts.erase(session, contact_id)


def list_spellings(session: Session, address: Address) -> set[str]:
    """Return every way in which this person's address is written here, and each one they had before."""
    written, contact = {address.email, address.key}, contacts.find(session, address)
    if contact is not None:
        written |= {contact.email, *messages.list_addresses(session, contact_id=contact.id)}
    return written
