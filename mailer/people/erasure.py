"""Erasure: erases a person everywhere, with the copies in the try-out's post office."""

from datetime import datetime

from sqlalchemy.orm import Session

from lists import contacts
from lists.addresses import Address
from lists.identity import erasure
from mailer.people import messages
from mailer.tryout import postoffice


def erase_person(session: Session, address: Address, *, now: datetime, actor: str) -> bool:
    """Erase the person with this address and suppress it; tells whether there was such a person."""
    postoffice.delete_messages_to(session, list_spellings(session, address))
    return erasure.erase_person(session, address, now=now, actor=actor)


def erase_contact(session: Session, contact_id: int) -> None:
    """Erase a contact everywhere; whether its address is suppressed is decided elsewhere."""
    contact = contacts.get(session, contact_id)
    used = messages.list_addresses(session, contact_id=contact_id)
    postoffice.delete_messages_to(session, {contact.email, contact.email_key, *used})
    contacts.erase(session, contact_id)


def list_spellings(session: Session, address: Address) -> set[str]:
    """Return every stored spelling of this person's address, and each earlier address."""
    spellings, contact = {address.email, address.key}, contacts.find(session, address)
    if contact is not None:
        spellings |= {contact.email, *messages.list_addresses(session, contact_id=contact.id)}
    return spellings
