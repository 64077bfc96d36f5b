"""Address proof: whether an address was confirmed from its own mailbox, and which name an email may use.

A form accepts any text with any address. Until the address is confirmed, no email contains text that was
typed with it, not even a name. When two forms give different names, the contact gets no name.
"""

from sqlalchemy import ColumnElement, String, and_, bindparam, case, exists, false, literal, or_, update
from sqlalchemy.orm import Session

from lists.consents import Consent
from lists.contacts import Contact
from lists.subscriptions import Subscription

_SIGNUP_ACTION = "asked"  # the consent that a form records; anyone can fill in a form


def is_address_proven() -> ColumnElement[bool]:
    """Return the SQL condition, over contacts, that this address was confirmed by its owner or by staff."""
    confirmed = exists().where(Subscription.contact_id == Contact.id, Subscription.confirmed_at.is_not(None))
    consented = exists().where(Consent.contact_id == Contact.id, Consent.action == "confirmed")
    return and_(
        Contact.readdressed_at.is_(None), or_(confirmed.correlate(Contact), consented.correlate(Contact))
    )


def proven_name() -> ColumnElement[str]:
    """Return the SQL expression of the contact's name for an email: "" until the address is proven."""
    return case((is_address_proven(), Contact.name), else_=literal("", String))


def dispute_name(session: Session, contact_id: int, *, name: str) -> None:
    """Clear the name of a contact that only forms have given data of, when this form gives another name.

    Otherwise text typed by another person would greet the owner of the address after the confirmation.
    """
    session.execute(_CLEAR_DISPUTED_NAME, {"contact": contact_id, "typed": name})


_HAS_CONSENT = exists().where(Consent.contact_id == Contact.id)
_CLEAR_DISPUTED_NAME = (  # run for every sign-up, so that timing does not show whether the contact exists
    update(Contact)
    .where(Contact.id == bindparam("contact"), Contact.name.not_in(("", bindparam("typed"))))
    .where(
        _HAS_CONSENT.where(Consent.action == _SIGNUP_ACTION),
        ~_HAS_CONSENT.where(Consent.action != _SIGNUP_ACTION),
    )
    .values(name="", searchable=false(), version=Contact.version + 1)
    .execution_options(synchronize_session=False)
)
