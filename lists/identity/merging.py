"""Merging: two contacts of one person become one, and the stricter of any two answers counts.

A merge gives no permission that neither contact had. A list that one of them left is left. A topic that one
of them declined is declined. The longer pause counts. An address does not get what only the other one agreed
to, unless it has confirmed some list itself. Values of the contact that is kept are not replaced.
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

STATES_BY_STRICTNESS = ("left", "confirmed", "pending", "")  # of two states on a list the first is kept
PERSON_WIDE_REASONS = ("complaint", "staff", "forgotten")  # a bounce is about a mailbox only
PLACE_COLUMNS = ("zip", "city", "county", "state", "zone", "latitude", "longitude")
AUDIT_TEXTS = {  # audit action and subject by the action of the consent record
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
    """One property: the value of each contact, and the value after the merge."""

    what: str
    keep: object
    other: object
    becomes: object


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """The result of merging two contacts; `refusal` is a sentence when they cannot be merged.

    `lists` maps a list to the states of both contacts and the state after the merge; `versions` are those of
    the two contacts when the plan was made.
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
    """Return the state that is kept of two states on one list; "" is no subscription."""
    return min(keep, other, key=STATES_BY_STRICTNESS.index)


def plan(session: Session, keep: Contact, other: Contact, *, now: datetime) -> MergePlan:
    """Return the result of merging `other` into `keep`; raises BadInput when they are one contact already."""
    if keep.id == other.id:
        raise BadInput("This is one address written in two ways, and one contact already.")
    keep_subscriptions = _find_subscriptions(session, keep.id)
    other_subscriptions = _find_subscriptions(session, other.id)
    states = {name: subscription.state for name, subscription in other_subscriptions.items()}
    if other.readdressed_at is not None:  # these wait only for an address that is removed anyway
        states |= {
            subscription.list: "confirmed"
            for subscription in subscriptions.list_for_reconfirmation(session, other.id)
        }
    lists = {
        name: _compare_states(keep_subscriptions.get(name), states.get(name, ""))
        for name in sorted({**keep_subscriptions, **other_subscriptions})
    }
    pauses = [
        subscription.paused_until
        for subscription in (*keep_subscriptions.values(), *other_subscriptions.values())
        if subscription.paused_until
    ]
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
            session,
            keep,
            other,
            keep_subscriptions=keep_subscriptions,
            other_subscriptions=other_subscriptions,
            lists=lists,
        ),
    )


def merge(
    session: Session, merge_plan: MergePlan, *, now: datetime, actor: str, action: str = "merged"
) -> None:
    """Merge the two contacts of the plan, in the transaction that made it, and delete the other contact.

    `action` is that of the consent records. Raises Conflict with the plan's refusal. Callers with tables of
    their own must move those rows before.
    """
    if merge_plan.refusal:
        raise Conflict(merge_plan.refusal)
    keep, other = contacts.get(session, merge_plan.keep_id), contacts.get(session, merge_plan.other_id)
    _spread_suppressions(session, keep, other, now=now)
    merge_redirects.record(session, other, target_id=keep.id, now=now)
    for name, (keep_state, other_state, merged_state) in merge_plan.lists.items():
        _merge_subscription(
            session,
            keep.id,
            other.id,
            name,
            keep_state=keep_state,
            other_state=other_state,
            merged_state=merged_state,
            now=now,
        )
        consents.add(session, contact_id=keep.id, list=name, action=action, page=actor, now=now)
    if merge_plan.paused_until is not None:
        subscriptions.pause(session, contact_id=keep.id, until=merge_plan.paused_until)
    optouts = [{"contact_id": keep.id, "topic": topic, "at": now} for topic in merge_plan.declined_topics]
    insert_or_nothing(session, TopicOptout, optouts)
    for table in (Consent, Listing, Note, SubscriptionChange):
        statement = update(table).where(table.contact_id == other.id).values(contact_id=keep.id)
        session.execute(statement.execution_options(synchronize_session=False))
    if merge_plan.lists.get("organizers", ("", "", ""))[2] == "left":
        directory.withdraw(session, contact_id=keep.id)
    fields.merge_values(session, other=other.id, keep=keep.id)
    tags.merge(session, other=other.id, keep=keep.id)
    contacts.amend(session, keep.id, **merge_plan.values)
    contacts.erase(session, other.id)
    session.expire_all()
    audit_action, subject_text = AUDIT_TEXTS[action]
    audit_subject = subject_text.format(keep=keep.id, other=other.id)
    audit.record(session, actor=actor, action=audit_action, subject=audit_subject, now=now)


def lock_contacts(session: Session, keep_id: int, other_id: int, *, versions: tuple[int, int]) -> None:
    """Lock the rows of two contacts until the transaction ends, so that no other transaction changes them.

    Raises Conflict when one of them does not have the given version any more.
    """
    query = select(Contact).where(Contact.id.in_((keep_id, other_id))).order_by(Contact.id)
    rows = session.scalars(query.with_for_update(), execution_options={"populate_existing": True})
    current_versions = {contact.id: contact.version for contact in rows}
    if (current_versions.get(keep_id), current_versions.get(other_id)) != versions:
        raise Conflict(VERSION_CONFLICT)


def _find_subscriptions(session: Session, contact_id: int) -> Mapping[str, Subscription]:
    return {
        subscription.list: subscription
        for subscription in subscriptions.list_for_contact(session, contact_id)
    }


def _compare_states(keep_subscription: Subscription | None, other_state: str) -> tuple[str, str, str]:
    keep_state = keep_subscription.state if keep_subscription else ""
    return keep_state, other_state, pick_stricter(keep_state, other_state)


def _fill_values(keep: Contact, other: Contact) -> Mapping[str, Any]:
    """Return the values that the contact `keep` gets from the other: those that it does not have itself."""
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
    names = ("email", "name", "language", "zip", "city", "organization", "tradition", "role", "discreet")
    return [
        Detail(
            what=name,
            keep=getattr(keep, name),
            other=getattr(other, name),
            becomes=values.get(name, getattr(keep, name)),
        )
        for name in names
    ]


def _list_field_details(session: Session, keep: Contact, other: Contact) -> Sequence[Detail]:
    """Return the values of custom fields of both contacts, and their tags."""
    keep_values, other_values = fields.find_values(session, keep.id), fields.find_values(session, other.id)
    merged_values = {**other_values, **keep_values}
    details = [
        Detail(
            what=name,
            keep=keep_values.get(name, ""),
            other=other_values.get(name, ""),
            becomes=merged_values[name],
        )
        for name in sorted(merged_values)
    ]
    keep_tags, other_tags = tags.list_for_contact(session, keep.id), tags.list_for_contact(session, other.id)
    merged_tags = sorted({*keep_tags, *other_tags})
    tag_detail = Detail(
        what="tags", keep=" ".join(keep_tags), other=" ".join(other_tags), becomes=" ".join(merged_tags)
    )
    return [*details, tag_detail] if merged_tags else details


def _find_suppression(session: Session, keep: Contact, other: Contact) -> str | None:
    """Return why the address that is kept must not be written to after the merge, or None."""
    keep_reason = suppressions.find_reason(session, keep.email_digest)
    other_reasons = suppressions.list_reasons(session, other.email_digest)
    return keep_reason or next((reason for reason in other_reasons if reason in PERSON_WIDE_REASONS), None)


def _spread_suppressions(session: Session, keep: Contact, other: Contact, *, now: datetime) -> None:
    for source, target in ((keep, other), (other, keep)):
        for reason in suppressions.list_reasons(session, source.email_digest):
            if reason in PERSON_WIDE_REASONS:
                suppressions.add(session, target.email_digest, reason=reason, now=now)


def _find_refusal(
    session: Session,
    keep: Contact,
    other: Contact,
    *,
    keep_subscriptions: Mapping[str, Subscription],
    other_subscriptions: Mapping[str, Subscription],
    lists: Mapping[str, tuple[str, str, str]],
) -> str:
    import_ids = {
        subscription.arrival_id
        for subscription in (*keep_subscriptions.values(), *other_subscriptions.values())
        if subscription.arrival_id is not None
    }
    unfinished = select(ListImport.id).where(ListImport.id.in_(import_ids), ListImport.state == "arriving")
    if import_ids and session.scalar(unfinished.limit(1)) is not None:
        return IMPORT_UNFINISHED
    is_proven = keep.readdressed_at is None and any(
        subscription.confirmed_at for subscription in keep_subscriptions.values()
    )
    gains = [
        name
        for name, (keep_state, _, merged_state) in lists.items()
        if merged_state == "confirmed" != keep_state
    ]
    return ADDRESS_NOT_PROVEN.format(keep=keep.email, other=other.email) if gains and not is_proven else ""


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
    """Merge the subscriptions of two contacts to one list into that of the contact `keep`."""
    other_conditions = (Subscription.contact_id == other, Subscription.list == name)
    no_sync = {"synchronize_session": False}
    if not keep_state and other_state == "pending":
        # The request went to the other address, and its link must not confirm this one.
        unconfirmed_conditions = (Subscription.confirmed_at.is_(None), Subscription.round == 0)
        session.execute(
            delete(Subscription)
            .where(*other_conditions, *unconfirmed_conditions)
            .execution_options(**no_sync)
        )
        request = {"asked_at": now, "mailed_at": None, "arrival_id": None}
        statement = update(Subscription).where(*other_conditions)
        statement = statement.values(contact_id=keep, round=Subscription.round + 1, **request)
        session.execute(statement.execution_options(**no_sync))
        subscriptions.add_all(session, [keep], list=name, now=now, confirmed=False)
    elif not keep_state:
        statement = update(Subscription).where(*other_conditions).values(contact_id=keep, state=other_state)
        session.execute(statement.execution_options(**no_sync))
        session.add(SubscriptionChange(contact_id=keep, list=name))
    elif merged_state == "left" and keep_state != "left":
        subscriptions.leave(session, contact_id=keep, list=name, now=now)
        consents.add(session, contact_id=keep, list=name, action="left", page="merge", now=now)
    elif merged_state == "confirmed" and keep_state == "pending":
        confirmed_at = select(Subscription.confirmed_at).where(*other_conditions).scalar_subquery()
        confirmation = update(Subscription).where(Subscription.contact_id == keep, Subscription.list == name)
        session.execute(
            confirmation.values(state="confirmed", confirmed_at=confirmed_at, left_at=None).execution_options(
                **no_sync
            )
        )
        session.add(SubscriptionChange(contact_id=keep, list=name))
    if merged_state == "left" and keep_state in ("", "left"):
        departures.record_leave(session, contact_id=keep, list=name, now=now)  # for both addresses
