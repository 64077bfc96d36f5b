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
from lists.imports import ListImport
from lists.notes import Note
from lists.subscriptions import Subscription, SubscriptionChange
from lists.topic_optouts import TopicOptout

STATES_BY_STRICTNESS = (
    "left",
    "confirmed",
    "pending",
    "",
)  # of two standings on a list the first of these is kept
PERSON_WIDE_REASONS = (
    "complaint",
    "staff",
    "forgotten",
)  # a bounce is about a mailbox, the others about a person
PLACE_COLUMNS = ("zip", "city", "county", "state", "zone", "latitude", "longitude")
AUDIT_TEXTS = {  # the entry for staff, by what the evidence of consent calls it
    "merged": ("contact merge", "contact {other} into contact {keep}"),
    "readdressed": ("contact readdress", "contact {keep}: in place of contact {other}"),
}
FILLABLE_COLUMNS = ("name", "organization", "tradition", "role")

VERSION_CONFLICT = "Somebody has changed one of the two meanwhile. Look at both again, then merge them."
ADDRESS_NOT_PROVEN = (
    "Nobody has confirmed {keep} on any list yet, so it must not get what {other} agreed to. Keep {other}"
    " instead: “mailer contact merge {other} {keep}”."
)
IMPORT_UNFINISHED = (
    "One of the two comes with an import that is not finished. Finish it or take it back first."
)


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One thing known of a person: what each of the two has, and what the one who is kept will have."""

    what: str
    keep: object
    other: object
    becomes: object


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """What merging two contacts would do; `refusal` is a sentence when it cannot be done.

    `lists` maps a list to what each of the two is there and what becomes of it; `versions` are those of the
    two as they were looked at.
    """

    keep_id: int
    other_id: int
    versions: tuple[int, int]
    details: Sequence[Detail]
    lists: Mapping[str, tuple[str, str, str]]
    declined_topics: Sequence[str]
    suppression_reason: str | None
    paused_until: datetime | None
    values: Mapping[str, Any] = field(repr=False)
    refusal: str = ""


def pick_stricter(keep: str, other: str) -> str:
    """Return how somebody stands on a list who stands there in two ways; "" is never having asked."""
    return min(keep, other, key=STATES_BY_STRICTNESS.index)


def plan(session: Session, keep: Contact, other: Contact, *, now: datetime) -> MergePlan:
    """Say what merging `other` into `keep` would do; raises BadInput when they are one contact already."""
    if keep.id == other.id:
        raise BadInput("This is one address written in two ways, and one contact already.")
    mine, theirs = _find_subscriptions(session, keep.id), _find_subscriptions(session, other.id)
    states = {name: each.state for name, each in theirs.items()}
    if other.readdressed_at is not None:  # what waits only for an address that goes anyway had its yes
        states |= {
            each.list: "confirmed" for each in subscriptions.list_for_reconfirmation(session, other.id)
        }
    lists = {
        name: _compare_states(mine.get(name), states.get(name, "")) for name in sorted({**mine, **theirs})
    }
    pauses = [each.paused_until for each in (*mine.values(), *theirs.values()) if each.paused_until]
    values = _fill_values(keep, other)
    return MergePlan(
        keep_id=keep.id,
        other_id=other.id,
        versions=(keep.version, other.version),
        details=[*_list_details(keep, other, values), *_list_field_details(session, keep, other)],
        lists=lists,
        declined_topics=sorted(
            topic_optouts.list_for_contact(session, keep.id)
            | topic_optouts.list_for_contact(session, other.id)
        ),
        suppression_reason=_find_suppression(session, keep, other),
        paused_until=max((until for until in pauses if until > now), default=None),
        values=values,
        refusal=_find_refusal(
            session, keep, other, keep_subscriptions=mine, other_subscriptions=theirs, lists=lists
        ),
    )


def merge(
    session: Session, merge_plan: MergePlan, *, now: datetime, actor: str, action: str = "merged"
) -> None:
    """Do what was planned, in the transaction that planned it; the other contact is gone afterwards.

    `action` is what the evidence of consent calls it. Raises Conflict with the plan's refusal. Whoever owns
    other tables must have moved their rows before.
    """
    if merge_plan.refusal:
        raise Conflict(merge_plan.refusal)
    keep, other = contacts.get(session, merge_plan.keep_id), contacts.get(session, merge_plan.other_id)
    _spread_suppressions(session, keep, other, now=now)
    merge_redirects.record(session, other, target_id=keep.id, now=now)
    for name, (mine, theirs, becomes) in merge_plan.lists.items():
        _merge_subscription(
            session,
            keep.id,
            other.id,
            name,
            keep_state=mine,
            other_state=theirs,
            merged_state=becomes,
            now=now,
        )
        consents.add(session, contact_id=keep.id, list=name, action=action, page=actor, now=now)
    if merge_plan.paused_until is not None:
        subscriptions.pause(session, contact_id=keep.id, until=merge_plan.paused_until)
    no = [{"contact_id": keep.id, "topic": topic, "at": now} for topic in merge_plan.declined_topics]
    insert_or_nothing(session, TopicOptout, no)
    for table in (Consent, Listing, Note, SubscriptionChange):
        mine_now = update(table).where(table.contact_id == other.id).values(contact_id=keep.id)
        session.execute(mine_now.execution_options(synchronize_session=False))
    if merge_plan.lists.get("organizers", ("", "", ""))[2] == "left":
        directory.withdraw(session, contact_id=keep.id)
    fields.merge_values(session, other=other.id, keep=keep.id)
    tags.merge(session, other=other.id, keep=keep.id)
    contacts.amend(session, keep.id, **merge_plan.values)
    contacts.erase(session, other.id)
    session.expire_all()
    about, subject = AUDIT_TEXTS[action]
    said = subject.format(keep=keep.id, other=other.id)
    audit.record(session, actor=actor, action=about, subject=said, now=now)


def lock_contacts(session: Session, keep_id: int, other_id: int, *, versions: tuple[int, int]) -> None:
    """Hold two contacts until the transaction ends, so that nothing is written for either meanwhile.

    Raises Conflict when one of them is not as it was looked at any more.
    """
    both = select(Contact).where(Contact.id.in_((keep_id, other_id))).order_by(Contact.id)
    held = session.scalars(both.with_for_update(), execution_options={"populate_existing": True})
    found = {contact.id: contact.version for contact in held}
    if (found.get(keep_id), found.get(other_id)) != versions:
        raise Conflict(VERSION_CONFLICT)


def _find_subscriptions(session: Session, contact_id: int) -> Mapping[str, Subscription]:
    return {each.list: each for each in subscriptions.list_for_contact(session, contact_id)}


def _compare_states(keep_subscription: Subscription | None, other_state: str) -> tuple[str, str, str]:
    own = keep_subscription.state if keep_subscription else ""
    return own, other_state, pick_stricter(own, other_state)


def _fill_values(keep: Contact, other: Contact) -> Mapping[str, Any]:
    """Return what the contact that is kept gets from the other: what it has not itself."""
    values: dict[str, Any] = {
        name: getattr(other, name)
        for name in FILLABLE_COLUMNS
        if not getattr(keep, name) and getattr(other, name)
    }
    if not keep.zip and not keep.zone:
        values |= {name: getattr(other, name) for name in PLACE_COLUMNS if getattr(other, name)}
    return {
        **values,
        "discreet": keep.discreet or other.discreet,
        "created_at": min(keep.created_at, other.created_at),
    }


def _list_details(keep: Contact, other: Contact, values: Mapping[str, Any]) -> Sequence[Detail]:
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


def _list_field_details(session: Session, keep: Contact, other: Contact) -> Sequence[Detail]:
    """Return what staff's own fields hold of either, and the tags."""
    mine, theirs = fields.find_values(session, keep.id), fields.find_values(session, other.id)
    both = {**theirs, **mine}
    values = [
        Detail(what=name, keep=mine.get(name, ""), other=theirs.get(name, ""), becomes=both[name])
        for name in sorted(both)
    ]
    own, others = tags.list_for_contact(session, keep.id), tags.list_for_contact(session, other.id)
    united = sorted({*own, *others})
    words = Detail(what="tags", keep=" ".join(own), other=" ".join(others), becomes=" ".join(united))
    return [*values, words] if united else values


def _find_suppression(session: Session, keep: Contact, other: Contact) -> str | None:
    """Return why the address that is kept must not be written to afterwards, or None."""
    own = suppressions.find_reason(session, keep.email_digest)
    theirs = suppressions.list_reasons(session, other.email_digest)
    return own or next((reason for reason in theirs if reason in PERSON_WIDE_REASONS), None)


def _spread_suppressions(session: Session, keep: Contact, other: Contact, *, now: datetime) -> None:
    for one, another in ((keep, other), (other, keep)):
        for reason in suppressions.list_reasons(session, one.email_digest):
            if reason in PERSON_WIDE_REASONS:
                suppressions.add(session, another.email_digest, reason=reason, now=now)


def _find_refusal(
    session: Session,
    keep: Contact,
    other: Contact,
    *,
    keep_subscriptions: Mapping[str, Subscription],
    other_subscriptions: Mapping[str, Subscription],
    lists: Mapping[str, tuple[str, str, str]],
) -> str:
    arrivals = {
        each.arrival_id
        for each in (*keep_subscriptions.values(), *other_subscriptions.values())
        if each.arrival_id is not None
    }
    under_way = select(ListImport.id).where(ListImport.id.in_(arrivals), ListImport.state == "arriving")
    if arrivals and session.scalar(under_way.limit(1)) is not None:
        return IMPORT_UNFINISHED
    proved = keep.readdressed_at is None and any(each.confirmed_at for each in keep_subscriptions.values())
    gains = [name for name, (own, _, becomes) in lists.items() if becomes == "confirmed" != own]
    return ADDRESS_NOT_PROVEN.format(keep=keep.email, other=other.email) if gains and not proved else ""


def _merge_subscription(
    session: Session,
    keep: int,
    other: int,
    name: str,
    *,
    keep_state: str,
    other_state: str,
    merged_state: str,
    now: datetime,
) -> None:
    """Make of how both stand on one list how the contact that is kept stands there."""
    gone = (Subscription.contact_id == other, Subscription.list == name)
    quiet = {"synchronize_session": False}
    if not keep_state and other_state == "pending":
        # The question went to the other address, and its link must not say yes for this one.
        never = (Subscription.confirmed_at.is_(None), Subscription.round == 0)
        session.execute(delete(Subscription).where(*gone, *never).execution_options(**quiet))
        asked = {"asked_at": now, "mailed_at": None, "arrival_id": None}
        had = update(Subscription).where(*gone)
        had = had.values(contact_id=keep, round=Subscription.round + 1, **asked)
        session.execute(had.execution_options(**quiet))
        subscriptions.add_all(session, [keep], list=name, now=now, confirmed=False)
    elif not keep_state:
        moved = update(Subscription).where(*gone).values(contact_id=keep, state=other_state)
        session.execute(moved.execution_options(**quiet))
        session.add(SubscriptionChange(contact_id=keep, list=name))
    elif merged_state == "left" and keep_state != "left":
        subscriptions.leave(session, contact_id=keep, list=name, now=now)
        consents.add(session, contact_id=keep, list=name, action="left", page="merge", now=now)
    elif merged_state == "confirmed" and keep_state == "pending":
        since = select(Subscription.confirmed_at).where(*gone).scalar_subquery()
        now_theirs = update(Subscription).where(Subscription.contact_id == keep, Subscription.list == name)
        session.execute(
            now_theirs.values(state="confirmed", confirmed_at=since, left_at=None).execution_options(**quiet)
        )
        session.add(SubscriptionChange(contact_id=keep, list=name))
    if merged_state == "left" and keep_state in ("", "left"):
        departures.record_leave(session, contact_id=keep, list=name, now=now)  # of both addresses
