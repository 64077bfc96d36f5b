"""Address changes in tests: a contact gets a new address, and time passes."""

from datetime import timedelta

from sqlalchemy import select

from lists import addresses, contacts, subscriptions
from lists.contacts import Contact
from mailer.outbox.outbox import OutboxRow
from mailer.people import address_change
from mailer.people.address_change import AddressChangePreview
from mailer.service import Service
from tests import relays
from tests.people import PEPPER, Person
from tests.relays import World

NEW = "ben@nuevo.example.org"


def move_address(
    service: Service, person: Person, new: str = NEW, *, version: int | None = None
) -> AddressChangePreview:
    with service.database.write() as session:
        return address_change.change_address(
            session,
            person.id,
            addresses.parse(new, pepper=PEPPER),
            version=contacts.get(session, person.id).version if version is None else version,
            source=service.confirmations,
            now=service.clock.now(),
            actor="staff",
        )


def get_contact(service: Service, email: str = NEW) -> Contact:
    with service.database.read() as session:
        contact = contacts.find(session, addresses.parse(email, pepper=PEPPER))
        assert contact is not None
        return contact


def states(service: Service, email: str = NEW) -> dict[str, str]:
    with service.database.read() as session:
        entries = subscriptions.list_for_contact(session, get_contact(service, email).id)
        return {each.list: each.state for each in entries}


def live(service: Service, world: World, *, days: int) -> None:
    """Let days pass, with the service's own jobs and its deliveries whenever something is due."""
    end = world.clock.now() + timedelta(days=days)
    while world.clock.now() < end:
        service.jobs.tick()
        relays.deliver(service, world)
        with service.database.read() as session:
            due = service.sequences.next_due(session, now=world.clock.now())
        if due is None or due <= world.clock.now():
            due = end
        world.clock.set(min(due, end))


def kinds(service: Service, email: str = NEW) -> list[str]:
    """Return the kinds of messages sent to the contact of this address, oldest first."""
    with service.database.read() as session:
        statement = select(OutboxRow.kind).where(
            OutboxRow.contact_id == get_contact(service, email).id, OutboxRow.state == "sent"
        )
        return list(session.scalars(statement.order_by(OutboxRow.sent_at)))


def token(service: Service, email: str = NEW) -> str:
    """Return the path of the newest confirmation that waits or was sent to this address."""
    with service.database.read() as session:
        row = session.scalars(
            select(OutboxRow)
            .where(OutboxRow.contact_id == get_contact(service, email).id, OutboxRow.kind == "confirmation")
            .order_by(OutboxRow.id.desc())
        ).first()
        assert row is not None
        subscription = subscriptions.find(session, contact_id=row.contact_id, list=row.list)
        assert subscription is not None
        return f"/confirm/{service.tokens.sign_confirm(subscription.id, subscription.round)}"
