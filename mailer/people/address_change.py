"""Address change: what happens to messages and invitations when a person's address changes.

What was sent to the old address is not sent again, and nothing more goes there. A broadcast that waited keeps
waiting, for the confirmation from the new address; steps of sequences and invitations are queued anew after
it, so that none is too old by then. Each invited person is invited again to a call: the link to join, and the
entry in their calendar, may be out of their reach now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, String, cast, exists, func, literal, select, update
from sqlalchemy.orm import Session

from lists import contacts, subscriptions
from lists.addresses import Address
from lists.contacts import Contact
from lists.errors import Conflict
from lists.identity import address_change
from mailer.events import events
from mailer.outbox import outbox
from mailer.outbox.outbox import UNKNOWN, OutboxRow
from mailer.people import merging
from mailer.people.merging import WAITING
from mailer.policy import LIST_MAIL_KINDS
from mailer.sources import confirmations, invitations
from mailer.sources.confirmations import ANSWERS_PER_DAY, Confirmations
from mailer.sources.invitations import Rsvp

ACTION = "readdressed"
KINDS_TO_MOVE = (
    "broadcast",
)  # its source fills once, and would not select them again after the confirmation
CANCEL_REASON = merging.CANCEL_REASONS[ACTION]
TOO_MANY_QUESTIONS = (
    "{number} questions went to this person today, and no more do. Please try again tomorrow."
)


@dataclass(frozen=True, kw_only=True)
class AddressChangePreview:
    """What an address change would do; `refusal` is a sentence when it cannot be done.

    `lists` maps a list to the contact's state there and the one that follows; `version` is the contact's at
    the preview; `cancelled` is the number of waiting messages that will not be sent.
    """

    old: str
    new: str
    version: int
    lists: Mapping[str, tuple[str, str]]
    cancelled: int
    refusal: str = ""


def preview(session: Session, old: Contact, new: Address, *, now: datetime) -> AddressChangePreview:
    """Describe what it would do to give this contact a new address; changes nothing."""
    states = {each.list: each.state for each in subscriptions.list_for_contact(session, old.id)}
    cancelled = select(func.count()).where(
        OutboxRow.contact_id == old.id, OutboxRow.state.in_(WAITING), OutboxRow.kind.not_in(KINDS_TO_MOVE)
    )
    today = confirmations.count_answers_today(session, old.id, now=now)
    throttle_sentence = TOO_MANY_QUESTIONS.format(number=today) if today >= ANSWERS_PER_DAY else ""
    return AddressChangePreview(
        old=old.email,
        new=new.email,
        version=old.version,
        lists={
            name: (state, "left" if state == "left" else "pending") for name, state in sorted(states.items())
        },
        cancelled=session.scalar(cancelled) or 0,
        refusal=address_change.find_refusal(session, old, new) or throttle_sentence,
    )


def change_address(
    session: Session,
    old_id: int,
    new: Address,
    *,
    version: int,
    source: Confirmations,
    now: datetime,
    actor: str,
) -> AddressChangePreview:
    """Give a contact of this version a new address, and send the question there; returns what was done.

    Raises Conflict when the contact has changed since, when the preview refuses, and while a message to it
    is being sent.
    """
    old = contacts.get(session, old_id)
    result = preview(session, old, new, now=now)
    if result.refusal:
        raise Conflict(result.refusal)
    contact = address_change.begin(session, old, new, version=version, now=now)
    _move_waiting_messages(session, old_id, contact.id)
    versions = (contact.version, contacts.get(session, old_id).version)
    merging.merge(session, contact.id, old_id, versions=versions, now=now, actor=actor, action=ACTION)
    _release_invitation_keys(session, contact.id, now=now)
    _cancel_in_doubt(session, contact.id)
    source.ask_new_address(session, contact.id, now=now)
    return result


def _move_waiting_messages(session: Session, old: int, new: int) -> None:
    conditions = (
        OutboxRow.contact_id == old,
        OutboxRow.state.in_(WAITING),
        OutboxRow.kind.in_(KINDS_TO_MOVE),
    )
    has_old_key = OutboxRow.key.endswith(f"/contact/{old}")
    key = func.replace(OutboxRow.key, f"/contact/{old}", f"/contact/{new}")
    _update_messages(session, *conditions, has_old_key, contact_id=new, key=key)


def _release_invitation_keys(session: Session, contact_id: int, *, now: datetime) -> None:
    """Free the keys of invitations to calls that are not over, except calls that the contact declined."""
    has_declined = exists().where(
        Rsvp.contact_id == contact_id, Rsvp.event_id == OutboxRow.ref, Rsvp.answer == "no"
    )
    calls = [event.id for event in events.list_upcoming(session, now=now)]
    conditions = (
        OutboxRow.contact_id == contact_id,
        OutboxRow.kind == invitations.KIND,
        OutboxRow.ref.in_(calls),
    )
    suffix = literal("/", String) + cast(OutboxRow.id, String)
    _update_messages(session, *conditions, ~has_declined, key=OutboxRow.key + suffix)


def _cancel_in_doubt(session: Session, contact_id: int) -> None:
    """Cancel confirmations in doubt: staff could otherwise send them again, to the new address."""
    conditions = (OutboxRow.contact_id == contact_id, OutboxRow.state == UNKNOWN)
    _update_messages(
        session,
        *conditions,
        OutboxRow.kind.not_in(LIST_MAIL_KINDS),
        state="cancelled",
        **outbox.reason_values(CANCEL_REASON),
    )


def _update_messages(session: Session, *conditions: ColumnElement[bool], **values: object) -> None:
    statement = update(OutboxRow).where(*conditions).values(**values)
    session.execute(statement.execution_options(synchronize_session=False))
