"""Merging: two contacts that are one person become one, and the stricter of any two answers wins.

Nobody gains by it what neither of them had: who left one list left it, who wants no calls wants none, a
pause lasts as long as the longer one, and one address never gets what only the other one agreed to, unless
it has said yes to some list itself. What was known of both stays as it was for the one who is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from lists import (
    audit,
    consents,
    contacts,
    departures,
    directory,
    fields,
    merge_redirects,
    subscriptions,
    suppressions,
    tags,
    topic_optouts,
)
from lists.consents import Consent
from lists.contacts import Contact
from lists.db import insert_or_nothing
from lists.directory import Listing
from lists.errors import BadInput, Conflict
from lists.imports import Arrival
from lists.notes import Note
from lists.subscriptions import Subscription, SubscriptionChange
from lists.topic_optouts import Decline

STRICTEST = ("left", "confirmed", "pending", "")  # of two standings on a list the first of these is kept
SPREADING = ("complaint", "staff", "forgotten")  # a bounce is about a mailbox, the others about a person
PLACE = ("zip", "city", "county", "state", "zone", "latitude", "longitude")
AUDITED = {  # the entry for staff, by what the evidence of consent calls it
    "merged": ("contact merge", "contact {other} into contact {keep}"),
    "readdressed": ("contact readdress", "contact {keep}: in place of contact {other}"),
}
FILLED = ("name", "organization", "tradition", "role")

CHANGED = "Somebody has changed one of the two meanwhile. Look at both again, then merge them."
UNPROVED = (
    "Nobody has confirmed {keep} on any list yet, so it must not get what {other} agreed to. Keep {other}"
    " instead: “mailer contact merge {other} {keep}”."
)
ARRIVING = "One of the two comes with an import that is not finished. Finish it or take it back first."


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One thing known of a person: what each of the two has, and what the one who is kept will have."""

    what: str
    keep: object
    other: object
    becomes: object


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What merging two contacts would do; `refusal` is a sentence when it cannot be done.

    `lists` maps a list to what each of the two is there and what becomes of it; `versions` are those of the
    two as they were looked at.
    """

    keep_id: int
    other_id: int
    versions: tuple[int, int]
    details: Sequence[Detail]
    lists: Mapping[str, tuple[str, str, str]]
    declined: Sequence[str]
    suppressed: str | None
    paused_until: datetime | None
    values: Mapping[str, Any] = field(repr=False)
    refusal: str = ""


def stricter(keep: str, other: str) -> str:
    """Return how somebody stands on a list who stands there in two ways; "" is never having asked."""
    return min(keep, other, key=STRICTEST.index)


def plan(session: Session, keep: Contact, other: Contact, *, now: datetime) -> Plan:
    """Say what merging `other` into `keep` would do; raises BadInput when they are one contact already."""
    if keep.id == other.id:
        raise BadInput("This is one address written in two ways, and one contact already.")
    mine, theirs = _standing(session, keep.id), _standing(session, other.id)
    states = {name: each.state for name, each in theirs.items()}
    if other.readdressed_at is not None:  # what waits only for an address that goes anyway had its yes
        states |= {each.list: "confirmed" for each in subscriptions.returning(session, other.id)}
    lists = {name: _of_both(mine.get(name), states.get(name, "")) for name in sorted({**mine, **theirs})}
    pauses = [each.paused_until for each in (*mine.values(), *theirs.values()) if each.paused_until]
    values = _filled(keep, other)
    return Plan(
        keep_id=keep.id,
        other_id=other.id,
        versions=(keep.version, other.version),
        details=[*_details(keep, other, values), *_more(session, keep, other)],
        lists=lists,
        declined=sorted(
            topic_optouts.of_contact(session, keep.id) | topic_optouts.of_contact(session, other.id)
        ),
        suppressed=_suppressed(session, keep, other),
        paused_until=max((until for until in pauses if until > now), default=None),
        values=values,
        refusal=_refusal(session, keep, other, mine=mine, theirs=theirs, lists=lists),
    )


def merge(session: Session, planned: Plan, *, now: datetime, actor: str, action: str = "merged") -> None:
    """Do what was planned, in the transaction that planned it; the other contact is gone afterwards.

    `action` is what the evidence of consent calls it. Raises Conflict with the plan's refusal. Whoever owns
    other tables must have moved their rows before.
    """
    if planned.refusal:
        raise Conflict(planned.refusal)
    keep, other = contacts.get(session, planned.keep_id), contacts.get(session, planned.other_id)
    _bar_both(session, keep, other, now=now)
    merge_redirects.note(session, other, into=keep.id, now=now)
    for name, (mine, theirs, becomes) in planned.lists.items():
        _join(session, keep.id, other.id, name, mine=mine, theirs=theirs, becomes=becomes, now=now)
        consents.add(session, contact_id=keep.id, list=name, action=action, page=actor, now=now)
    if planned.paused_until is not None:
        subscriptions.pause(session, contact_id=keep.id, until=planned.paused_until)
    no = [{"contact_id": keep.id, "topic": topic, "at": now} for topic in planned.declined]
    insert_or_nothing(session, Decline, no)
    for table in (Consent, Listing, Note, SubscriptionChange):
        mine_now = update(table).where(table.contact_id == other.id).values(contact_id=keep.id)
        session.execute(mine_now.execution_options(synchronize_session=False))
    if planned.lists.get("organizers", ("", "", ""))[2] == "left":
        directory.withdraw(session, contact_id=keep.id)
    fields.hand_over(session, other=other.id, keep=keep.id)
    tags.hand_over(session, other=other.id, keep=keep.id)
    contacts.amend(session, keep.id, **planned.values)
    contacts.erase(session, other.id)
    session.expire_all()
    about, subject = AUDITED[action]
    said = subject.format(keep=keep.id, other=other.id)
    audit.note(session, actor=actor, action=about, subject=said, now=now)


def locked(session: Session, keep_id: int, other_id: int, *, versions: tuple[int, int]) -> None:
    """Hold two contacts until the transaction ends, so that nothing is written for either meanwhile.

    Raises Conflict when one of them is not as it was looked at any more.
    """
    both = select(Contact).where(Contact.id.in_((keep_id, other_id))).order_by(Contact.id)
    held = session.scalars(both.with_for_update(), execution_options={"populate_existing": True})
    found = {contact.id: contact.version for contact in held}
    if (found.get(keep_id), found.get(other_id)) != versions:
        raise Conflict(CHANGED)


def _standing(session: Session, contact_id: int) -> Mapping[str, Subscription]:
    return {each.list: each for each in subscriptions.of_contact(session, contact_id)}


def _of_both(mine: Subscription | None, theirs: str) -> tuple[str, str, str]:
    own = mine.state if mine else ""
    return own, theirs, stricter(own, theirs)


def _filled(keep: Contact, other: Contact) -> Mapping[str, Any]:
    """Return what the contact that is kept gets from the other: what it has not itself."""
    values: dict[str, Any] = {
        name: getattr(other, name) for name in FILLED if not getattr(keep, name) and getattr(other, name)
    }
    if not keep.zip and not keep.zone:
        values |= {name: getattr(other, name) for name in PLACE if getattr(other, name)}
    return {
        **values,
        "discreet": keep.discreet or other.discreet,
        "created_at": min(keep.created_at, other.created_at),
    }


def _details(keep: Contact, other: Contact, values: Mapping[str, Any]) -> Sequence[Detail]:
    shown = ("email", "name", "language", "zip", "city", "organization", "tradition", "role", "discreet")
    return [
        Detail(
            what=name,
            keep=getattr(keep, name),
            other=getattr(other, name),
            becomes=values.get(name, getattr(keep, name)),
        )
        for name in shown
    ]


def _more(session: Session, keep: Contact, other: Contact) -> Sequence[Detail]:
    """Return what staff's own fields hold of either, and the tags."""
    mine, theirs = fields.of_contact(session, keep.id), fields.of_contact(session, other.id)
    both = {**theirs, **mine}
    values = [
        Detail(what=name, keep=mine.get(name, ""), other=theirs.get(name, ""), becomes=both[name])
        for name in sorted(both)
    ]
    own, others = tags.of_contact(session, keep.id), tags.of_contact(session, other.id)
    united = sorted({*own, *others})
    words = Detail(what="tags", keep=" ".join(own), other=" ".join(others), becomes=" ".join(united))
    return [*values, words] if united else values


def _suppressed(session: Session, keep: Contact, other: Contact) -> str | None:
    """Return why the address that is kept must not be written to afterwards, or None."""
    own = suppressions.reason(session, keep.email_digest)
    theirs = suppressions.reasons(session, other.email_digest)
    return own or next((reason for reason in theirs if reason in SPREADING), None)


def _bar_both(session: Session, keep: Contact, other: Contact, *, now: datetime) -> None:
    for one, another in ((keep, other), (other, keep)):
        for reason in suppressions.reasons(session, one.email_digest):
            if reason in SPREADING:
                suppressions.add(session, another.email_digest, reason=reason, now=now)


def _refusal(
    session: Session,
    keep: Contact,
    other: Contact,
    *,
    mine: Mapping[str, Subscription],
    theirs: Mapping[str, Subscription],
    lists: Mapping[str, tuple[str, str, str]],
) -> str:
    arrivals = {each.arrival_id for each in (*mine.values(), *theirs.values()) if each.arrival_id is not None}
    under_way = select(Arrival.id).where(Arrival.id.in_(arrivals), Arrival.state == "arriving")
    if arrivals and session.scalar(under_way.limit(1)) is not None:
        return ARRIVING
    proved = keep.readdressed_at is None and any(each.confirmed_at for each in mine.values())
    gains = [name for name, (own, _, becomes) in lists.items() if becomes == "confirmed" != own]
    return UNPROVED.format(keep=keep.email, other=other.email) if gains and not proved else ""


def _join(
    session: Session, keep: int, other: int, name: str, *, mine: str, theirs: str, becomes: str, now: datetime
) -> None:
    """Make of how both stand on one list how the contact that is kept stands there."""
    gone = (Subscription.contact_id == other, Subscription.list == name)
    quiet = {"synchronize_session": False}
    if not mine and theirs == "pending":
        # The question went to the other address, and its link must not say yes for this one.
        never = (Subscription.confirmed_at.is_(None), Subscription.round == 0)
        session.execute(delete(Subscription).where(*gone, *never).execution_options(**quiet))
        asked = {"asked_at": now, "mailed_at": None, "arrival_id": None}
        had = update(Subscription).where(*gone)
        had = had.values(contact_id=keep, round=Subscription.round + 1, **asked)
        session.execute(had.execution_options(**quiet))
        subscriptions.add_all(session, [keep], list=name, now=now, confirmed=False)
    elif not mine:
        moved = update(Subscription).where(*gone).values(contact_id=keep, state=theirs)
        session.execute(moved.execution_options(**quiet))
        session.add(SubscriptionChange(contact_id=keep, list=name))
    elif becomes == "left" and mine != "left":
        subscriptions.leave(session, contact_id=keep, list=name, now=now)
        consents.add(session, contact_id=keep, list=name, action="left", page="merge", now=now)
    elif becomes == "confirmed" and mine == "pending":
        since = select(Subscription.confirmed_at).where(*gone).scalar_subquery()
        now_theirs = update(Subscription).where(Subscription.contact_id == keep, Subscription.list == name)
        session.execute(
            now_theirs.values(state="confirmed", confirmed_at=since, left_at=None).execution_options(**quiet)
        )
        session.add(SubscriptionChange(contact_id=keep, list=name))
    if becomes == "left" and mine in ("", "left"):
        departures.note_left(session, contact_id=keep, list=name, now=now)  # of both addresses
