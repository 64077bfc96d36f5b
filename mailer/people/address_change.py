"""Readdressing: what the ledger, the letters and the calls do when somebody has another address.

What the old address got is not sent again, and nothing more goes there. An update that waited goes on
waiting, for the yes from the new address; letters and invitations are put anew after it, so that none is too
old by then. Who is invited to a call is invited once more: what lets them in, and the entry in their
calendar, may be out of their reach now.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, String, cast, exists, func, literal, select, update
from sqlalchemy.orm import Session

from lists import address_change, contacts, subscriptions
from lists.addresses import Address
from lists.contacts import Contact
from lists.errors import Conflict
from mailer.events import events
from mailer.outbox.outbox import UNKNOWN, OutboxRow
from mailer.people import merging
from mailer.people.merging import LIST_MAIL_KINDS, WAITING
from mailer.sources import confirmations, invitations
from mailer.sources.confirmations import ANSWERS_PER_DAY, Confirmations
from mailer.sources.invitations import Rsvp

ACTION = "readdressed"
KINDS_TO_MOVE = ("broadcast",)  # its source fills once, and would not find them again after their yes
CANCEL_REASON = merging.CANCEL_REASONS[ACTION]
TOO_MANY_QUESTIONS = (
    "{number} questions went to this person today, and no more do. Please try again tomorrow."
)


@dataclass(frozen=True, kw_only=True)
class AddressChangePreview:
    """What readdressing would do; `refusal` is a sentence when it cannot be done.

    `lists` maps a list to the state that somebody has there and the one that follows; `version` is the
    contact's as it was looked at; `cancelled` is how many messages wait, and leave no more.
    """

    old: str
    new: str
    version: int
    lists: Mapping[str, tuple[str, str]]
    cancelled: int
    refusal: str = ""


def preview(session: Session, old: Contact, new: Address, *, now: datetime) -> AddressChangePreview:
    """Say what it would do to give this contact a new address; changes nothing."""
    standing = {each.list: each.state for each in subscriptions.list_for_contact(session, old.id)}
    gone = select(func.count()).where(
        OutboxRow.contact_id == old.id, OutboxRow.state.in_(WAITING), OutboxRow.kind.not_in(KINDS_TO_MOVE)
    )
    today = confirmations.count_answers_today(session, old.id, now=now)
    enough = TOO_MANY_QUESTIONS.format(number=today) if today >= ANSWERS_PER_DAY else ""
    return AddressChangePreview(
        old=old.email,
        new=new.email,
        version=old.version,
        lists={
            name: (state, "left" if state == "left" else "pending")
            for name, state in sorted(standing.items())
        },
        cancelled=session.scalar(gone) or 0,
        refusal=address_change.find_refusal(session, old, new) or enough,
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
    """Give a contact that was looked at in this version a new address, and ask there; says what it did.

    Raises Conflict when it has changed since, when the preview refuses, and while a message to it is being
    handed over.
    """
    old = contacts.get(session, old_id)
    done = preview(session, old, new, now=now)
    if done.refusal:
        raise Conflict(done.refusal)
    contact = address_change.begin(session, old, new, version=version, now=now)
    _move_waiting_messages(session, old_id, contact.id)
    versions = (contact.version, contacts.get(session, old_id).version)
    merging.merge(session, contact.id, old_id, versions=versions, now=now, actor=actor, action=ACTION)
    _release_invitation_keys(session, contact.id, now=now)
    _cancel_in_doubt(session, contact.id)
    source.ask_new_address(session, contact.id, now=now)
    return done


def _move_waiting_messages(session: Session, old: int, new: int) -> None:
    mine = (OutboxRow.contact_id == old, OutboxRow.state.in_(WAITING), OutboxRow.kind.in_(KINDS_TO_MOVE))
    own = OutboxRow.key.endswith(f"/contact/{old}")
    key = func.replace(OutboxRow.key, f"/contact/{old}", f"/contact/{new}")
    _update_messages(session, *mine, own, contact_id=new, key=key)


def _release_invitation_keys(session: Session, contact_id: int, *, now: datetime) -> None:
    """Let go of the keys of invitations to calls that are not over, but to those they said no to."""
    declined = exists().where(
        Rsvp.contact_id == contact_id, Rsvp.event_id == OutboxRow.ref, Rsvp.answer == "no"
    )
    calls = [event.id for event in events.list_upcoming(session, now=now)]
    mine = (OutboxRow.contact_id == contact_id, OutboxRow.kind == invitations.KIND, OutboxRow.ref.in_(calls))
    own = literal("/", String) + cast(OutboxRow.id, String)
    _update_messages(session, *mine, ~declined, key=OutboxRow.key + own)


def _cancel_in_doubt(session: Session, contact_id: int) -> None:
    """Leave no answer to a sign-up undecided: staff could have it sent again, to the new address."""
    unsure = (OutboxRow.contact_id == contact_id, OutboxRow.state == UNKNOWN)
    _update_messages(
        session, *unsure, OutboxRow.kind.not_in(LIST_MAIL_KINDS), state="cancelled", why=CANCEL_REASON
    )


def _update_messages(session: Session, *where: ColumnElement[bool], **values: object) -> None:
    changed = update(OutboxRow).where(*where).values(**values)
    session.execute(changed.execution_options(synchronize_session=False))
