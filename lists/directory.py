"""Listing: a congregation or organization that wants to be on the map, and what staff decided.

```
asked ─address confirmed→ waiting ─staff→ approved | rejected
asked, waiting ─the person leaves→ withdrawn
waiting ─the address is another one→ asked
```
What the form said stays in the listing until staff approve it: filling in a form with somebody's address
changes nothing that is known about that person.
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
    """What somebody said who wants a congregation or organization on the map."""

    organization: str
    name: str = ""
    tradition: str = ""
    role: str = ""
    zip: str = ""
    offer: str = ""

    def clean(self) -> "Application":
        """Return it ready to be kept.

        Raises BadInput for an empty organization, and for texts that are too long or hold control characters,
        BadZip for what has not the shape of a ZIP code.
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
    """Note a cleaned application; it replaces an earlier one whose address was never confirmed."""
    session.execute(delete(Listing).where(Listing.contact_id == contact_id, Listing.state == "asked"))
    session.add(Listing(contact_id=contact_id, asked_at=now, **asdict(application)))
    session.flush()


def mark_address_confirmed(session: Session, *, contact_id: int) -> bool:
    """Move the application from asked to waiting, in place of one that waited; tells whether it moved."""
    asked = update(Listing).where(Listing.contact_id == contact_id, Listing.state == "asked")
    moved = session.scalars(asked.values(state="waiting").returning(Listing.id)).all()
    if not moved:
        return False
    session.execute(
        delete(Listing).where(
            Listing.contact_id == contact_id, Listing.state == "waiting", Listing.id != max(moved)
        )
    )
    return True


def require_confirmation(session: Session, *, contact_id: int) -> None:
    """Let an application that waits for staff wait for the address first, which is a new one."""
    waiting = update(Listing).where(Listing.contact_id == contact_id, Listing.state == "waiting")
    session.execute(waiting.values(state="asked"))


def approve(session: Session, listing_id: int, *, now: datetime, actor: str) -> Listing:
    """Approve a waiting application: its words become the contact's, and the organizer list is joined.

    Raises NotFound, and Conflict with the reason when it is not waiting for a decision.
    """
    listing = _decide(session, listing_id, state="approved", now=now, actor=actor)
    known = {
        "name": listing.name,
        "organization": listing.organization,
        "tradition": listing.tradition,
        "role": listing.role,
    }
    said: dict[str, Any] = {column: value for column, value in known.items() if value}
    place = geography.find(listing.zip) if listing.zip else None
    if place is not None:
        said |= contacts.place_columns(place)
    contacts.amend(session, listing.contact_id, **said)
    subscription = subscriptions.find(session, contact_id=listing.contact_id, list="organizers")
    joined = subscription and subscriptions.confirm(
        session, subscription_id=subscription.id, round=subscription.round, now=now
    )
    if joined is None:
        raise Conflict("This person has left the organizer list since. They can apply again themselves.")
    consents.add(
        session, contact_id=listing.contact_id, list="organizers", action="approved", page=actor, now=now
    )
    return listing


def reject(session: Session, listing_id: int, *, now: datetime, actor: str) -> Listing:
    """Reject a waiting application; nothing else changes and no mail is sent. Raises as `approve` does."""
    return _decide(session, listing_id, state="rejected", now=now, actor=actor)


def _decide(session: Session, listing_id: int, *, state: str, now: datetime, actor: str) -> Listing:
    waiting = update(Listing).where(Listing.id == listing_id, Listing.state == "waiting")
    number = count_changed(session, waiting.values(state=state, decided_at=now))
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
    """Take back whatever application of this contact staff have not decided yet."""
    open_ones = update(Listing).where(
        Listing.contact_id == contact_id, Listing.state.in_(("asked", "waiting"))
    )
    session.execute(open_ones.values(state="withdrawn"))


def list_applications(session: Session, *, state: str | None = None) -> Sequence[Listing]:
    """Return applications, oldest first, of one state or of all."""
    wanted = select(Listing).order_by(Listing.id)
    return session.scalars(wanted if state is None else wanted.where(Listing.state == state)).all()
