"""Merging: what the ledger, the sequences and the calls do when two contacts become one.

What either address got is not sent again: its row takes the key of the contact that is kept. What waits for
the address that goes is cancelled, and what waits for the one that stays is too, where the other got it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from lists import contacts, merging
from lists.contacts import Contact
from lists.errors import Conflict
from lists.merging import MergePlan
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow
from mailer.policy import POLICY
from mailer.sources import journeys
from mailer.sources.invitations import Rsvp
from mailer.sources.journeys import Journey

WAITING = ("queued", "held")
IN_DOUBT = "unknown"
RECEIVED_STATES = ("sent", IN_DOUBT, "complained")
LIVE_STATES = (*WAITING, "sending")
ENDED_STATES = ("done", "goal")
CANCEL_REASONS = {"merged": "merged with another address", "readdressed": "the address is another one now"}
LIST_MAIL_KINDS = [kind for kind, policy in POLICY.items() if policy.list_mail]

SENDING_NOW = "A message to one of the two is being handed over just now. Try again in a minute."


@dataclass(frozen=True, kw_only=True)
class MergePreview:
    """What merging would do: to the person, and how many messages move and how many are cancelled."""

    plan: MergePlan
    message_count: int
    cancelled: int


def preview(session: Session, keep: Contact, other: Contact, *, now: datetime) -> MergePreview:
    """Say what merging `other` into `keep` would do; raises BadInput when they are one contact already."""
    mine = select(OutboxRow.state, func.count()).where(OutboxRow.contact_id == other.id)
    counted = {row[0]: row[1] for row in session.execute(mine.group_by(OutboxRow.state))}
    return MergePreview(
        plan=merging.plan(session, keep, other, now=now),
        message_count=sum(counted.values()),
        cancelled=sum(counted.get(state, 0) for state in WAITING),
    )


def merge(
    session: Session,
    keep_id: int,
    other_id: int,
    *,
    versions: tuple[int, int],
    now: datetime,
    actor: str,
    action: str = "merged",
) -> MergePreview:
    """Make one contact of two that were looked at in these versions; says what it did.

    `action` is what the evidence of consent calls it. Raises Conflict when one of them has changed since,
    when the plan refuses, and while a message to one of them is being handed over.
    """
    merging.lock_contacts(session, keep_id, other_id, versions=versions)
    keep, other = contacts.get(session, keep_id), contacts.get(session, other_id)
    done = preview(session, keep, other, now=now)
    if done.plan.refusal:
        raise Conflict(done.plan.refusal)
    _move_messages(session, keep_id, other_id, why=CANCEL_REASONS[action])
    _move_journeys(session, keep_id, other_id)
    _move_answers(session, keep_id, other_id)
    merging.merge(session, done.plan, now=now, actor=actor, action=action)
    kept = contacts.get(session, keep_id)
    if kept.zone:
        journeys.change_zone(session, keep_id, zone=kept.zone)
    _resume_journeys(session, keep_id, now=now)
    return done


def _move_messages(session: Session, keep: int, other: int, *, why: str) -> None:
    rows = _lock_messages(session, keep, other)
    if any(row.state == "sending" for row in rows):
        raise Conflict(SENDING_NOW)
    outbox.cancel(session, OutboxRow.contact_id == other, why=why)
    mine = {row.key: row for row in rows if row.contact_id == keep}
    number = re.compile(rf"/contact/{other}(?=/|$)")
    for row in rows:
        if row.contact_id == other:
            twin = number.sub(f"/contact/{keep}", row.key)
            key = _choose_key(session, row, mine.get(twin), twin) if row.kind in LIST_MAIL_KINDS else row.key
            _update_message(session, row.id, contact_id=keep, key=key)


def _choose_key(session: Session, row: OutboxRow, own_row: OutboxRow | None, merged_key: str) -> str:
    """Return the key under which a row of the other contact goes on; `mine` is the same message to this one.

    `twin` is free for whoever was not sent it, and taken by whoever may have been.
    """
    if row.state not in RECEIVED_STATES:
        return row.key
    if own_row is None:
        return merged_key
    if own_row.state not in RECEIVED_STATES:
        outbox.cancel(session, OutboxRow.id == own_row.id, why=CANCEL_REASONS["merged"])
        _update_message(session, own_row.id, key=f"{own_row.key}/{own_row.id}")
        return merged_key
    # Both may have it, so staff must not be asked whether to send it once more.
    unsure = next((each for each in (row, own_row) if each.state == IN_DOUBT), None)
    if unsure is not None:
        _update_message(session, unsure.id, state="cancelled", why=CANCEL_REASONS["merged"])
    return row.key


def _move_journeys(session: Session, keep: int, other: int) -> None:
    mine = {each.sequence: each for each in _journeys(session, keep)}
    for theirs in _journeys(session, other):
        if theirs.sequence not in mine:
            theirs.contact_id = keep
        elif theirs.state in ENDED_STATES:
            mine[theirs.sequence].state = theirs.state  # what one of them has finished is not begun again
    session.flush()


def _resume_journeys(session: Session, keep: int, *, now: datetime) -> None:
    """Let a journey whose message was cancelled look again at its step, which may have been sent."""
    live = exists().where(
        OutboxRow.kind == "sequence", OutboxRow.ref == Journey.id, OutboxRow.state.in_(LIVE_STATES)
    )
    stuck = (Journey.contact_id == keep, Journey.state == "sending", ~live)
    journeys.change_state(session, *stuck, to="waiting", due_at=now)


def _move_answers(session: Session, keep: int, other: int) -> None:
    """Keep of two answers to one call the latest."""
    mine = {each.event_id: each for each in _answers(session, keep)}
    for theirs in _answers(session, other):
        own = mine.get(theirs.event_id)
        if own is None:
            theirs.contact_id = keep
        elif own.answered_at < theirs.answered_at:
            own.answer, own.answered_at = theirs.answer, theirs.answered_at
    session.flush()


def _lock_messages(session: Session, keep: int, other: int) -> Sequence[OutboxRow]:
    """Return every message of both, held so that no worker takes one up meanwhile."""
    both = select(OutboxRow).where(OutboxRow.contact_id.in_((keep, other))).order_by(OutboxRow.id)
    fresh = {"populate_existing": True}
    return session.scalars(both.with_for_update(), execution_options=fresh).all()


def _journeys(session: Session, contact_id: int) -> Sequence[Journey]:
    return session.scalars(select(Journey).where(Journey.contact_id == contact_id)).all()


def _answers(session: Session, contact_id: int) -> Sequence[Rsvp]:
    return session.scalars(select(Rsvp).where(Rsvp.contact_id == contact_id)).all()


def _update_message(session: Session, row_id: int, **values: object) -> None:
    changed = update(OutboxRow).where(OutboxRow.id == row_id).values(**values)
    session.execute(changed.execution_options(synchronize_session=False))
