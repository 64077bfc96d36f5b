"""Permission: may we write to this contact for this purpose? One rule, as a SQL predicate and as a reason.

The rule is a short table of (reason, condition that forbids). `is_allowed` is "no condition holds" and
`refusal_reason` is "the first condition that holds". Both are built from the same table, so the recipients
and the reasons of the others always agree.
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

# The codes of the rule; mailer/reasons.py has a sentence for each.
REASONS = (
    "suppressed", "never joined", "left", "not confirmed", "already confirmed", "paused", "declined",
    "arriving",
)  # fmt: skip
# Reasons that do not end with time.
PERMANENT_REASONS = frozenset({"suppressed", "never joined", "left", "already confirmed", "declined"})


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """The purpose of a message: for which list, and what it requires of the recipient.

    `address`: a service message to a person who has just acted (it requires only that the address is not
    suppressed and is not an unconfirmed new address). `asked`: a request to confirm a pending subscription.
    `confirmed`: list mail, which requires a confirmed subscription that is not paused, and, where there is a
    `topic`, no opt-out of it (see lists.topic_optouts).
    """

    needs: Needs
    list: str = ""
    topic: str = ""


class Recipient(NamedTuple):
    """The recipient of a message as they are now, and why we may not write to them (None when we may).

    `name` is "" until the address is proven (see lists.address_proof).
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
    on_condition = and_(Subscription.contact_id == Contact.id, Subscription.list == purpose.list)
    return join(Contact, Subscription, on_condition, isouter=purpose.needs == "address")


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
    """Apply the rule to many contacts in one query: contact id → recipient with the refusal.

    An erased contact, and one without a required subscription, is missing from the result.
    """
    rows = session.execute(_recipient_query(purpose), {"contact_ids": contact_ids, "now": now})
    return {row.id: Recipient(*row) for row in rows}


@cache
def _recipient_query(purpose: Purpose) -> Select[*tuple[Any, ...]]:
    """Return the query of `find_recipients`; cached, because building it takes longer than running it."""
    query = select(
        Contact.id,
        Contact.email,
        # A purpose that requires a confirmed subscription needs no second proof.
        (Contact.name if purpose.needs == "confirmed" else address_proof.proven_name()).label("name"),
        Contact.language,
        Contact.zone,
        Contact.city,
        Contact.discreet,
        refusal_reason(purpose, now=bindparam("now", type_=UtcDateTime)).label("refusal"),
    ).select_from(join_subscriptions(purpose))
    return query.where(Contact.id.in_(bindparam("contact_ids", expanding=True)))


def _refusal_conditions(
    purpose: Purpose, now: datetime | ColumnElement[datetime]
) -> list[tuple[str, ColumnElement[bool]]]:
    conditions = [("suppressed", suppressions.is_suppressed())]
    is_unproven = Contact.readdressed_at.is_not(None)  # only the request to confirm it is sent there
    if purpose.needs == "address":
        conditions.append(("not confirmed", is_unproven))
    elif purpose.needs == "asked":
        conditions += [
            ("left", Subscription.state == "left"),
            ("already confirmed", Subscription.state == "confirmed"),
            ("arriving", subscriptions.is_arriving()),
        ]
    elif purpose.needs == "confirmed":
        paused = Subscription.paused_until
        conditions += [
            ("left", Subscription.state == "left"),
            ("not confirmed", or_(Subscription.state == "pending", is_unproven)),
            ("arriving", subscriptions.is_arriving()),
        ]
        conditions += [("declined", topic_optouts.is_opted_out(purpose.topic))] if purpose.topic else []
        conditions.append(("paused", and_(paused.is_not(None), paused > now)))
    return conditions
