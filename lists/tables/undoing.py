"""Undoing: an import that was wrong is taken back, batch by batch, as if its people had never come.

Whoever proved since that the address is theirs, by a link that only they have, stays; who left meanwhile
stays left. Whoever filled in the form meanwhile has asked to join and proved nothing, and is asked for a yes.
Of whom mail has reached already, the contact and its consents stay, so that the links in that mail work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session, aliased

from lists import imports
from lists.consents import Consent
from lists.contacts import Contact
from lists.directory import Listing
from lists.imports import Arrival
from lists.merge_redirects import Merger
from lists.notes import Note
from lists.subscriptions import Subscription, SubscriptionChange
from lists.tables.staging import BATCH
from lists.tags import Tag
from lists.topic_optouts import Decline

PROVED = ("confirmed", "approved", "paused", "resumed", "language", "topics")
WORDS = "This import was a mistake and was taken back."
QUIET = {"synchronize_session": False}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How many people an import brought onto its list, and what taking it back does to them.

    `back`: taken off the list; `asked`: of these, who signed up meanwhile and are asked for a yes instead;
    `left`: left meanwhile and stay so; `proved`: confirmed or changed something themselves, and stay.
    """

    people: int
    back: int
    asked: int
    left: int
    proved: int


def standing(session: Session, arrival: Arrival) -> Standing:
    """Return how the people of an import stand now."""
    people = session.scalar(select(func.count()).where(*_imported(arrival))) or 0
    here = select(func.count()).select_from(Subscription).where(Subscription.arrival_id == arrival.id)
    left = session.scalar(here.where(Subscription.state == "left")) or 0
    back = session.scalar(here.where(_wrong(arrival))) or 0
    asked = session.scalar(here.where(_wrong(arrival), _said(("asked",)))) or 0
    return Standing(people=people, back=back, asked=asked, left=left, proved=people - back - left)


def wrong(arrival: Arrival) -> Select[int]:
    """Select the contacts, by number, whom taking back an import takes off its list."""
    return select(Subscription.contact_id).where(_wrong(arrival))


def asked(arrival: Arrival) -> Select[int]:
    """Select, of these, those who signed up by the form since."""
    return wrong(arrival).where(_said(("asked",)))


def undone(arrival: Arrival) -> Select[int]:
    """Select the contacts, by number, whom mail had reached when an import was taken back."""
    return select(Consent.contact_id).where(Consent.action == "undone", Consent.page == _page(arrival))


def let_stay(session: Session, arrival: Arrival, *, after: int) -> int | None:
    """Free one batch of those who proved that they are here, so that they count on while the rest goes.

    Returns where to go on, None at the end.
    """
    found = _batch(session, arrival, after)
    if not found:
        return None
    mine = and_(
        Subscription.contact_id.in_([contact for _, contact in found]), Subscription.arrival_id == arrival.id
    )
    freed = update(Subscription).where(mine, Subscription.state != "left", _said(PROVED))
    session.execute(freed.values(arrival_id=None).execution_options(**QUIET))
    return found[-1][0]


def people(session: Session, arrival: Arrival, *, after: int) -> tuple[Sequence[int], int | None]:
    """Return one batch of those whom taking back takes off the list, and where to go on, None at the end."""
    found = _batch(session, arrival, after)
    if not found:
        return [], None
    contacts = [contact for _, contact in found]
    return session.scalars(wrong(arrival).where(Subscription.contact_id.in_(contacts))).all(), found[-1][0]


def take_back(
    session: Session,
    arrival: Arrival,
    contacts: Sequence[int],
    *,
    reached: ColumnElement[bool],
    kept: ColumnElement[bool],
    now: datetime,
) -> int:
    """Take these people off the list that an import brought them onto; returns how many contacts are gone.

    `reached` says of a contact that mail for this list has left for it, and `kept` that something else than
    what lists/ knows still points at it.
    """
    mine = and_(Subscription.contact_id.in_(contacts), Subscription.arrival_id == arrival.id)
    again = {"state": "pending", "asked_at": now, "mailed_at": None, "confirmed_at": None, "arrival_id": None}
    asked = update(Subscription).where(mine, _said(("asked",))).values(**again)
    session.execute(asked.execution_options(**QUIET))
    changes = delete(SubscriptionChange).where(
        SubscriptionChange.contact_id.in_(contacts), SubscriptionChange.list == arrival.list
    )
    session.execute(changes.execution_options(**QUIET))
    session.execute(delete(Subscription).where(mine).execution_options(**QUIET))
    told = session.scalars(select(Contact.id).where(Contact.id.in_(contacts), reached)).all()
    said = {
        "list": arrival.list,
        "action": "undone",
        "page": _page(arrival),
        "wording": WORDS,
        "language": "",
    }
    if told:
        session.execute(insert(Consent), [{**said, "contact_id": contact, "at": now} for contact in told])
    never = delete(Consent).where(Consent.contact_id.in_(contacts), Consent.contact_id.not_in(told))
    session.execute(never.where(*_imported(arrival)).execution_options(**QUIET))
    gone = delete(Contact).where(Contact.id.in_(contacts), ~_pointed_at(arrival), ~kept).returning(Contact.id)
    return len(session.scalars(gone.execution_options(**QUIET)).all())


def _batch(session: Session, arrival: Arrival, after: int) -> Sequence[tuple[int, int]]:
    """Return the next of those whom an import brought, by the number of the consent, with the contact's."""
    found = select(Consent.id, Consent.contact_id).where(Consent.id > after, *_imported(arrival))
    return [(row.id, row.contact_id) for row in session.execute(found.order_by(Consent.id).limit(BATCH))]


def _page(arrival: Arrival) -> str:
    return imports.PAGE.format(number=arrival.id)


def _imported(arrival: Arrival) -> tuple[ColumnElement[bool], ...]:
    return (Consent.page == _page(arrival), Consent.action == "imported")


def _wrong(arrival: Arrival) -> ColumnElement[bool]:
    """Return the condition that a subscription is there only by this import."""
    return and_(Subscription.arrival_id == arrival.id, Subscription.state != "left", ~_said(PROVED))


def _said(actions: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that the person of a subscription did one of these things on its list."""
    theirs = aliased(Consent)
    return exists().where(
        theirs.contact_id == Subscription.contact_id,
        theirs.list == Subscription.list,
        theirs.action.in_(actions),
    )


def _pointed_at(arrival: Arrival) -> ColumnElement[bool]:
    """Return the condition that something else than this import holds a contact here."""
    tables = (Subscription, Consent, Listing, Note, Merger, Decline)
    tagged = exists().where(Tag.contact_id == Contact.id, Tag.at > (arrival.ended_at or arrival.began_at))
    here = [exists().where(table.contact_id == Contact.id) for table in tables]
    return or_(*here, tagged, Contact.version > 1)
