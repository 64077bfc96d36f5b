"""Contact: one person, who may or may not be written to; only the email address is required."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Index,
    LargeBinary,
    String,
    delete,
    false,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.addresses import Address
from lists.db import Base, PrimaryKey, Timestamp, UtcDateTime, count_changed, insert_or_nothing
from lists.errors import BadInput, Conflict, NotFound
from lists.geography import Place

LANGUAGES = ("en", "es")
NAME_LENGTH = 80  # longer display names break header folding, and no greeting needs them
DETAIL_LENGTH = 120
SEARCHABLE_COLUMNS = frozenset(
    {"email", "email_key", "name", "organization"}
)  # the search index is made of these
DETAILS = ("name", "zip", "organization", "tradition", "role")


class Contact(Base):
    """One person; every column but the address may be empty.

    Coordinates are coarse (a tenth of a degree). `discreet`: the lines of a message that a lock screen shows
    do not name the campaign. `readdressed_at`: when staff set this as the new address, None once it is
    confirmed. `searchable`: the search words of this person (lists/search.py) are those of the columns.
    """

    __tablename__ = "contacts"
    __table_args__ = (
        Index(
            "ix_contacts_unsearchable",
            "id",
            sqlite_where=literal_column("searchable = 0"),
            postgresql_where=literal_column("searchable = false"),
        ),
        {"sqlite_autoincrement": True},  # a link made for one person must never name another
    )

    id: Mapped[PrimaryKey]
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(254), unique=True)
    email_digest: Mapped[bytes] = mapped_column(LargeBinary(16))
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), default="")
    language: Mapped[str] = mapped_column(String(2), default="en")
    zip: Mapped[str] = mapped_column(String(5), default="")
    city: Mapped[str] = mapped_column(String(DETAIL_LENGTH), default="")
    county: Mapped[str] = mapped_column(String(DETAIL_LENGTH), default="")
    state: Mapped[str] = mapped_column(String(2), default="")
    zone: Mapped[str] = mapped_column(String(40), default="")
    latitude: Mapped[float | None] = mapped_column(default=None)
    longitude: Mapped[float | None] = mapped_column(default=None)
    organization: Mapped[str] = mapped_column(String(DETAIL_LENGTH), default="")
    tradition: Mapped[str] = mapped_column(String(DETAIL_LENGTH), default="")
    role: Mapped[str] = mapped_column(String(DETAIL_LENGTH), default="")
    discreet: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[Timestamp]
    readdressed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    version: Mapped[int] = mapped_column(default=1)
    searchable: Mapped[bool] = mapped_column(default=False, server_default=false())


def clean(text: str, *, label: str, limit: int = DETAIL_LENGTH) -> str:
    """Return a one-line text with single spaces between its words.

    Raises BadInput for line breaks and control characters, which could inject mail headers, and for a text
    longer than `limit` characters; `label` names the field in the sentence.
    """
    text = " ".join(word for word in text.replace("\N{NO-BREAK SPACE}", " ").split(" ") if word)
    if any(not character.isprintable() for character in text):
        raise BadInput(f"The {label} holds a line break or a hidden character. Please type it again.")
    if len(text) > limit:
        raise BadInput(f"The {label} is longer than {limit} characters. Please shorten it.")
    return text


def place_columns(place: Place | None) -> Mapping[str, Any]:
    """Return the columns that a place fills, all empty when `place` is None."""
    return {
        "zip": place.zip if place else "",
        "city": place.city if place else "",
        "county": place.county if place else "",
        "state": place.state if place else "",
        "zone": place.zone if place else "",
        "latitude": place.latitude if place else None,
        "longitude": place.longitude if place else None,
    }


def find(session: Session, address: Address) -> Contact | None:
    """Return the contact of this address, or None."""
    return session.scalars(select(Contact).where(Contact.email_key == address.key)).one_or_none()


def get(session: Session, contact_id: int) -> Contact:
    """Return the contact of this number; raises NotFound."""
    contact = session.get(Contact, contact_id)
    if contact is None:
        raise NotFound(f"There is no contact number {contact_id}.")
    return contact


def find_or_add(
    session: Session,
    address: Address,
    *,
    now: datetime,
    language: str = "en",
    name: str = "",
    place: Place | None = None,
    discreet: bool = False,
) -> Contact:
    """Return the contact of this address; adds one if there is none.

    An existing contact is not changed: a person who fills in a form has not proven yet that the address is
    theirs, so knowing an address is not enough to change the data of its contact.
    """
    add(session, address, now=now, language=language, name=name, place=place, discreet=discreet)
    contact = find(session, address)
    assert contact is not None
    return contact


def add(
    session: Session,
    address: Address,
    *,
    now: datetime,
    language: str = "en",
    name: str = "",
    place: Place | None = None,
    discreet: bool = False,
) -> bool:
    """Add a contact of this address; returns False, and changes nothing, when there is one already."""
    values = {
        "email": address.email,
        "email_key": address.key,
        "email_digest": address.digest,
        "language": language,
        "name": clean(name, label="name", limit=NAME_LENGTH),
        "organization": "",
        "tradition": "",
        "role": "",
        "discreet": discreet,
        "created_at": now,
        "version": 1,
        **place_columns(place),
    }
    return insert_or_nothing(session, Contact, [values]) == 1  # of two concurrent calls, one adds it


def amend(session: Session, contact_id: int, *, version: int | None = None, **values: Any) -> None:
    """Change columns of one contact and increment its version; does nothing when the contact was erased.

    With the `version` that was read before, raises Conflict when the contact has changed since.
    """
    statement = update(Contact).where(Contact.id == contact_id)
    if version is not None:
        statement = statement.where(Contact.version == version)
    if not SEARCHABLE_COLUMNS.isdisjoint(values):
        statement = statement.values(searchable=False)
    number = count_changed(session, statement.values(**values, version=Contact.version + 1), synchronize=True)
    if version is not None and not number:
        raise Conflict("Somebody else has changed this meanwhile. Look at it again, then change it.")


def erase(session: Session, contact_id: int) -> None:
    """Delete the contact and, by the database's own cascade, every row that belongs to it."""
    session.execute(delete(Contact).where(Contact.id == contact_id))
