"""People: Ana the organizer, Ben the interested neighbor and Cleo, who left, for every suite."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from lists import addresses, consents, contacts, geography, subscriptions
from lists.addresses import Address

PEPPER = b"pepper of the tests, 32 bytes...!"[:32]


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person in the database: `id` is the contact's, `subscription_id` the one to `list`."""

    id: int
    name: str
    email: str
    address: Address
    language: str
    list: str
    subscription_id: int


def add(
    session: Session,
    *,
    name: str,
    email: str,
    language: str,
    zip: str,
    list: str,
    now: datetime,
) -> Person:
    """Add a person who signed up to this list and confirmed at `now`."""
    address = addresses.parse(email, pepper=PEPPER)
    contact = contacts.find_or_add(
        session, address, now=now, language=language, name=name, place=geography.find(zip)
    )
    subscription = subscriptions.ask(session, contact_id=contact.id, list=list, now=now)
    consents.add(session, contact_id=contact.id, list=list, action="asked", page="/join", now=now)
    subscriptions.confirm(session, subscription_id=subscription.id, round=subscription.round, now=now)
    consents.add(session, contact_id=contact.id, list=list, action="confirmed", page="/confirm", now=now)
    return Person(
        id=contact.id,
        name=name,
        email=email,
        address=address,
        language=language,
        list=list,
        subscription_id=subscription.id,
    )


def ana(session: Session, *, now: datetime) -> Person:
    """Ana, organizer, New York, reads English, confirmed on the organizer list."""
    return add(
        session,
        name="Ana",
        email="ana@stmark.example.org",
        language="en",
        zip="10027",
        list="organizers",
        now=now,
    )


def ben(session: Session, *, now: datetime) -> Person:
    """Ben, interested neighbor, Phoenix, reads Spanish, confirmed on the interest list."""
    return add(
        session,
        name="Ben",
        email="ben@vecinos.example.org",
        language="es",
        zip="85003",
        list="interest",
        now=now,
    )


def cleo(session: Session, *, now: datetime) -> Person:
    """Cleo, Los Angeles, was confirmed on the interest list and left it."""
    person = add(
        session,
        name="Cleo",
        email="cleo@left.example.org",
        language="en",
        zip="90012",
        list="interest",
        now=now,
    )
    subscriptions.leave(session, contact_id=person.id, now=now)
    consents.add(session, contact_id=person.id, list="interest", action="left", page="/unsubscribe", now=now)
    return person
