"""Proof: whether an address was confirmed from there, and what mails may say of its contact before.

Anybody can type anything beside anybody's address. So until it is confirmed, no mail holds a word of what was
typed with it, not even a name; a name about which two forms disagree is then nobody's.
"""

from sqlalchemy import ColumnElement, String, and_, bindparam, case, exists, false, literal, or_, update
from sqlalchemy.orm import Session

from lists.consents import Consent
from lists.contacts import Contact
from lists.subscriptions import Subscription

_SIGNUP_ACTION = "asked"  # the consent that a form writes down, whoever filled it in


def is_address_proven() -> ColumnElement[bool]:
    """Return the SQL condition, over contacts, that this address was confirmed: from there, or by staff."""
    confirmed = exists().where(Subscription.contact_id == Contact.id, Subscription.confirmed_at.is_not(None))
    said = exists().where(Consent.contact_id == Contact.id, Consent.action == "confirmed")
    return and_(Contact.readdressed_at.is_(None), or_(confirmed.correlate(Contact), said.correlate(Contact)))


def proven_name() -> ColumnElement[str]:
    """Return the SQL expression of a contact's name as a mail may say it: "" while nothing is proved."""
    return case((is_address_proven(), Contact.name), else_=literal("", String))


def dispute_name(session: Session, contact_id: int, *, name: str) -> None:
    """Take the name from a contact that only forms have told of, when this one says another.

    Else a stranger's words would wait for the yes of whoever the address belongs to, and greet them.
    """
    session.execute(_CLEAR_DISPUTED_NAME, {"contact": contact_id, "typed": name})


_HAS_CONSENT = exists().where(Consent.contact_id == Contact.id)
_CLEAR_DISPUTED_NAME = (  # run for every sign-up, known or not, so that timing shows nothing
    update(Contact)
    .where(Contact.id == bindparam("contact"), Contact.name.not_in(("", bindparam("typed"))))
    .where(
        _HAS_CONSENT.where(Consent.action == _SIGNUP_ACTION),
        ~_HAS_CONSENT.where(Consent.action != _SIGNUP_ACTION),
    )
    .values(name="", searchable=false(), version=Contact.version + 1)
    .execution_options(synchronize_session=False)
)
