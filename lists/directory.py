"""Listing: a congregation or organization that applies to be on the map, and the decision of staff.

```
asked ─address confirmed→ waiting ─staff→ approved | rejected
asked, waiting ─the person leaves→ withdrawn
waiting ─address change→ asked
```
The form's data stays in the listing until staff approve it: filling in a form with another person's address
changes nothing in that person's contact.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String, Text, delete, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import audit, consents, contacts, geography, subscriptions
from lists.contacts import DETAIL_LENGTH, NAME_LENGTH
from lists.db import Base, PrimaryKey, Timestamp, UtcDateTime, count_changed
from lists.errors import BadInput, Conflict, NotFound

OFFER_LENGTH = 1000


class Listing(Base):
    """One application to be on the map; the newest of a contact counts."""

    __tablename__ = "listings"
    __table_args__ = (
        CheckConstraint("state IN ('asked', 'waiting', 'approved', 'rejected', 'withdrawn')", name="state"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[PrimaryKey]
    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    state: Mapped[str] = mapped_column(String(9), default="asked", index=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), default="")
    organization: Mapped[str] = mapped_column(String(DETAIL_LENGTH))
    tradition: Mapped[str] = mapped_column(String(DETAIL_LENGTH), default="")
    role: Mapped[str] = mapped_column(String(DETAIL_LENGTH), default="")
    zip: Mapped[str] = mapped_column(String(5), default="")
    offer: Mapped[str] = mapped_column(Text, default="")
    asked_at: Mapped[Timestamp]
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


@dataclass(frozen=True, kw_only=True)
class Application:
    """The data of the form of a congregation or organization that applies to be on the map."""

    organization: str
    name: str = ""
    tradition: str = ""
    role: str = ""
    zip: str = ""
    offer: str = ""

    def clean(self) -> "Application":
        """Return a normalized copy that can be stored.

        Raises BadInput for an empty organization, and for texts that are too long or contain control
        characters, BadZip for a text that does not have the form of a ZIP code.
        """
        organization = contacts.clean(self.organization, label="name of your congregation or organization")
        if not organization:
            raise BadInput("Please tell us the name of your congregation or organization.")
        offer = self.offer.replace("\r\n", "\n").strip()
        if len(offer) > OFFER_LENGTH:
            raise BadInput(f"What you can offer is longer than {OFFER_LENGTH} characters. Please shorten it.")
        if any(not character.isprintable() and character != "\n" for character in offer):
            raise BadInput("What you can offer holds a hidden character. Please type it again.")
        return Application(
            organization=organization,
            name=contacts.clean(self.name, label="name", limit=NAME_LENGTH),
            tradition=contacts.clean(self.tradition, label="tradition"),
            role=contacts.clean(self.role, label="role"),
            zip=_normalize_zip(self.zip),
            offer=offer,
        )


def _normalize_zip(zip: str) -> str:
    if not zip.strip():
        return ""
    place = geography.find(zip)
    return place.zip if place else zip.strip()[:5]


def add_application(session: Session, application: Application, *, contact_id: int, now: datetime) -> None:
    """Store a cleaned application; it replaces an earlier one whose address was never confirmed."""
    session.execute(delete(Listing).where(Listing.contact_id == contact_id, Listing.state == "asked"))
    session.add(Listing(contact_id=contact_id, asked_at=now, **asdict(application)))
    session.flush()


def mark_address_confirmed(session: Session, *, contact_id: int) -> bool:
    """Move the application from asked to waiting, in place of one that waited; returns whether it moved."""
    statement = update(Listing).where(Listing.contact_id == contact_id, Listing.state == "asked")
    listing_ids = session.scalars(statement.values(state="waiting").returning(Listing.id)).all()
    if not listing_ids:
        return False
    session.execute(
        delete(Listing).where(
            Listing.contact_id == contact_id, Listing.state == "waiting", Listing.id != max(listing_ids)
        )
    )
    return True


def require_confirmation(session: Session, *, contact_id: int) -> None:
    """Move a waiting application back to asked, because its new address must be confirmed first."""
    statement = update(Listing).where(Listing.contact_id == contact_id, Listing.state == "waiting")
    session.execute(statement.values(state="asked"))


def approve(session: Session, listing_id: int, *, now: datetime, actor: str) -> Listing:
    """Approve a waiting application: copy its data to the contact, and confirm the organizer subscription.

    Raises NotFound, and Conflict with the reason when it is not waiting for a decision.
    """
    listing = _decide(session, listing_id, state="approved", now=now, actor=actor)
    details = {
        "name": listing.name,
        "organization": listing.organization,
        "tradition": listing.tradition,
        "role": listing.role,
    }
    changes: dict[str, Any] = {column: value for column, value in details.items() if value}
    place = geography.find(listing.zip) if listing.zip else None
    if place is not None:
        changes |= contacts.place_columns(place)
    contacts.amend(session, listing.contact_id, **changes)
    subscription = subscriptions.find(session, contact_id=listing.contact_id, list="organizers")
    confirmation = subscription and subscriptions.confirm(
        session, subscription_id=subscription.id, round=subscription.round, now=now
    )
    if confirmation is None:
        raise Conflict("This person has left the organizer list since. They can apply again themselves.")
    consents.add(
        session, contact_id=listing.contact_id, list="organizers", action="approved", page=actor, now=now
    )
    return listing


def reject(session: Session, listing_id: int, *, now: datetime, actor: str) -> Listing:
    """Reject a waiting application; nothing else changes and no mail is sent. Raises as `approve` does."""
    return _decide(session, listing_id, state="rejected", now=now, actor=actor)


def _decide(session: Session, listing_id: int, *, state: str, now: datetime, actor: str) -> Listing:
    statement = update(Listing).where(Listing.id == listing_id, Listing.state == "waiting")
    number = count_changed(session, statement.values(state=state, decided_at=now))
    listing = session.get(Listing, listing_id, populate_existing=True)
    if listing is None:
        raise NotFound(f"There is no application number {listing_id}. “mailer organizer list” shows them.")
    if number == 0 and listing.state == "asked":
        raise Conflict(
            "This person has not confirmed the address yet. Wait until they press the button in their mail."
        )
    if number == 0:
        raise Conflict(f"This application is already {listing.state}.")
    audit.record(session, actor=actor, action=f"listing {state}", subject=f"listing {listing_id}", now=now)
    return listing


def withdraw(session: Session, *, contact_id: int) -> None:
    """Withdraw every application of this contact that staff have not decided yet."""
    undecided = update(Listing).where(
        Listing.contact_id == contact_id, Listing.state.in_(("asked", "waiting"))
    )
    session.execute(undecided.values(state="withdrawn"))


def list_applications(session: Session, *, state: str | None = None) -> Sequence[Listing]:
    """Return applications, oldest first, of one state or of all."""
    query = select(Listing).order_by(Listing.id)
    return session.scalars(query if state is None else query.where(Listing.state == state)).all()
