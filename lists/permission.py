"""May we write to this contact for this purpose? ONE rule, as a SQL predicate and as an answer.

The rule is a short table of (reason, condition that forbids). `is_allowed` is "none of them holds" and
`refusal_reason` is "the first that holds", both made from the same table, so that who is written to and why
somebody is not can never disagree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    and_,
    bindparam,
    case,
    join,
    literal,
    not_,
    null,
    or_,
    select,
)
from sqlalchemy.orm import Session

from lists import address_proof, subscriptions, suppressions, topic_optouts
from lists.contacts import Contact
from lists.db import UtcDateTime
from lists.subscriptions import Subscription

Needs = Literal["address", "asked", "confirmed"]

SENTENCES = {
    "suppressed": "This address must not be written to: it was forgotten, complained, or bounces.",
    "never joined": "This contact never asked for this list.",
    "left": "This contact left the list.",
    "not confirmed": "This contact has not confirmed the sign-up, or a new address, yet.",
    "already confirmed": "This contact has confirmed already, so there is nothing to ask.",
    "paused": "This contact asked for a pause, which is not over yet.",
    "declined": "This contact does not want mails of this kind.",
    "arriving": "This contact comes with an import that is not finished.",
}
PERMANENT_REASONS = frozenset(
    {"suppressed", "never joined", "left", "already confirmed", "declined"}
)  # waiting will not end these


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """Why we want to write: for which list, and what that needs.

    `address`: a service message to whoever just acted (nothing but "not suppressed", and no new address that
    nobody has confirmed); `asked`: a request to confirm a pending subscription; `confirmed`: list mail, a
    confirmed subscription that is not paused, whose reader has not declined the `topic` (see
    lists.topic_optouts) where there is one.
    """

    needs: Needs
    list: str = ""
    topic: str = ""


class Recipient(NamedTuple):
    """Whom a message is for, as they are now, and why we may not write to them (None when we may).

    `name` is "" while nobody at the address has confirmed it (see lists.address_proof).
    """

    id: int
    email: str
    name: str
    language: str
    zone: str
    city: str
    discreet: bool
    refusal: str | None


def join_subscriptions(purpose: Purpose) -> FromClause:
    """Return contacts, each with its subscription to the purpose's list (or none), to select from."""
    same = and_(Subscription.contact_id == Contact.id, Subscription.list == purpose.list)
    return join(Contact, Subscription, same, isouter=purpose.needs == "address")


def is_allowed(purpose: Purpose, *, now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the SQL predicate, over `join_subscriptions(purpose)`, that we may write."""
    return and_(*(not_(forbids) for _, forbids in _refusal_conditions(purpose, now)))


def refusal_reason(purpose: Purpose, *, now: datetime | ColumnElement[datetime]) -> ColumnElement[str | None]:
    """Return the SQL expression, over `join_subscriptions(purpose)`, of why not; NULL when we may write."""
    return case(
        *((forbids, literal(reason, String)) for reason, forbids in _refusal_conditions(purpose, now)),
        else_=null(),
    )


def find_recipients(
    session: Session, contact_ids: Sequence[int], *, purpose: Purpose, now: datetime
) -> dict[int, Recipient]:
    """Ask the rule for many contacts in one query: contact id → reader with the answer.

    A contact that is gone, or has no subscription where one is needed, is missing from the answer.
    """
    found = session.execute(_recipient_query(purpose), {"contact_ids": contact_ids, "now": now})
    return {row.id: Recipient(*row) for row in found}


@cache
def _recipient_query(purpose: Purpose) -> Select[*tuple[Any, ...]]:
    """Return the query of `find_recipients`; cached, because building it takes longer than running it."""
    reader = select(
        Contact.id,
        Contact.email,
        # What needs a confirmed subscription needs no second look at whether there is one.
        (Contact.name if purpose.needs == "confirmed" else address_proof.proven_name()).label("name"),
        Contact.language,
        Contact.zone,
        Contact.city,
        Contact.discreet,
        refusal_reason(purpose, now=bindparam("now", type_=UtcDateTime)).label("refusal"),
    ).select_from(join_subscriptions(purpose))
    return reader.where(Contact.id.in_(bindparam("contact_ids", expanding=True)))


def _refusal_conditions(
    purpose: Purpose, now: datetime | ColumnElement[datetime]
) -> list[tuple[str, ColumnElement[bool]]]:
    rule = [("suppressed", suppressions.is_suppressed())]
    unproved = Contact.readdressed_at.is_not(None)  # nothing but the question whether it is theirs goes there
    if purpose.needs == "address":
        rule.append(("not confirmed", unproved))
    elif purpose.needs == "asked":
        rule += [
            ("left", Subscription.state == "left"),
            ("already confirmed", Subscription.state == "confirmed"),
            ("arriving", subscriptions.is_arriving()),
        ]
    elif purpose.needs == "confirmed":
        paused = Subscription.paused_until
        rule += [
            ("left", Subscription.state == "left"),
            ("not confirmed", or_(Subscription.state == "pending", unproved)),
            ("arriving", subscriptions.is_arriving()),
        ]
        rule += [("declined", topic_optouts.is_opted_out(purpose.topic))] if purpose.topic else []
        rule.append(("paused", and_(paused.is_not(None), paused > now)))
    return rule
