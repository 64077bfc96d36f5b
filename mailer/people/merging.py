"""Merging: what happens to messages, journeys and answers when two contacts become one.

What either address received is not sent again: its row takes the key of the contact that is kept. What waits
for the removed address is cancelled, and what waits for the kept one is too, if the other received it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from lists import contacts
from lists.contacts import Contact
from lists.errors import Conflict
from lists.identity import merging
from lists.identity.merging import MergePlan
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow
from mailer.policy import LIST_MAIL_KINDS
from mailer.reasons import Reason
from mailer.sources import journeys
from mailer.sources.invitations import Rsvp
from mailer.sources.journeys import Journey

WAITING = ("queued", "held")
IN_DOUBT = "unknown"
RECEIVED_STATES = ("sent", IN_DOUBT, "complained")
ACTIVE_STATES = (*WAITING, "sending")
CANCEL_REASONS = {"merged": Reason.MERGED, "readdressed": Reason.ADDRESS_CHANGED}

SENDING_NOW = "A message to one of the two is being handed over just now. Try again in a minute."


@dataclass(frozen=True, kw_only=True)
class MergePreview:
    """What merging would do: to the person, and how many messages are moved and how many cancelled."""

    plan: MergePlan
    message_count: int
    cancelled: int


def preview(session: Session, keep: Contact, other: Contact, *, now: datetime) -> MergePreview:
    """Describe what merging `other` into `keep` would do; raises BadInput when they are one contact."""
    statement = select(OutboxRow.state, func.count()).where(OutboxRow.contact_id == other.id)
    counts = {row[0]: row[1] for row in session.execute(statement.group_by(OutboxRow.state))}
    return MergePreview(
        plan=merging.plan(session, keep, other, now=now),
        message_count=sum(counts.values()),
        cancelled=sum(counts.get(state, 0) for state in WAITING),
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
    """Merge two contacts of these versions into one; returns what was done.

    `action` is the name of this in the evidence of consent. Raises Conflict when one contact has changed
    since, when the plan refuses, and while a message to one of them is being sent.
    """
    merging.lock_contacts(session, keep_id, other_id, versions=versions)
    keep, other = contacts.get(session, keep_id), contacts.get(session, other_id)
    result = preview(session, keep, other, now=now)
    if result.plan.refusal:
        raise Conflict(result.plan.refusal)
    _move_messages(session, keep_id, other_id, reason=CANCEL_REASONS[action])
    _move_journeys(session, keep_id, other_id)
    _move_answers(session, keep_id, other_id)
    merging.merge(session, result.plan, now=now, actor=actor, action=action)
    contact = contacts.get(session, keep_id)
    if contact.zone:
        journeys.change_zone(session, keep_id, zone=contact.zone)
    _resume_journeys(session, keep_id, now=now)
    return result


def _move_messages(session: Session, keep: int, other: int, *, reason: str) -> None:
    rows = _lock_messages(session, keep, other)
    if any(row.state == "sending" for row in rows):
        raise Conflict(SENDING_NOW)
    outbox.cancel(session, OutboxRow.contact_id == other, reason=reason)
    kept_rows = {row.key: row for row in rows if row.contact_id == keep}
    pattern = re.compile(rf"/contact/{other}(?=/|$)")
    for row in rows:
        if row.contact_id == other:
            merged_key = pattern.sub(f"/contact/{keep}", row.key)
            key = (
                _choose_key(session, row, kept_rows.get(merged_key), merged_key)
                if row.kind in LIST_MAIL_KINDS
                else row.key
            )
            _update_message(session, row.id, contact_id=keep, key=key)


def _choose_key(session: Session, row: OutboxRow, own_row: OutboxRow | None, merged_key: str) -> str:
    """Return the key of a row of the other contact; `own_row` is the same message to the kept contact.

    A message that was not received keeps its key, so that `merged_key` stays free for it to be sent; one that
    may have been received takes `merged_key`.
    """
    if row.state not in RECEIVED_STATES:
        return row.key
    if own_row is None:
        return merged_key
    if own_row.state not in RECEIVED_STATES:
        outbox.cancel(session, OutboxRow.id == own_row.id, reason=CANCEL_REASONS["merged"])
        _update_message(session, own_row.id, key=f"{own_row.key}/{own_row.id}")
        return merged_key
    # Both may have received it, so staff must not be asked to send it again.
    doubtful_row = next((each for each in (row, own_row) if each.state == IN_DOUBT), None)
    if doubtful_row is not None:
        _update_message(
            session, doubtful_row.id, state="cancelled", **outbox.reason_values(CANCEL_REASONS["merged"])
        )
    return row.key


def _move_journeys(session: Session, keep: int, other: int) -> None:
    kept_journeys = {each.sequence: each for each in _journeys(session, keep)}
    for journey in _journeys(session, other):
        if journey.sequence not in kept_journeys:
            journey.contact_id = keep
        elif journey.state in journeys.ENDED_STATES:
            kept_journeys[
                journey.sequence
            ].state = journey.state  # a journey that one of them finished is not started again
    session.flush()


def _resume_journeys(session: Session, keep: int, *, now: datetime) -> None:
    """Make journeys due whose message was cancelled: the other contact may have received the step."""
    is_active = exists().where(
        OutboxRow.kind == "sequence", OutboxRow.ref == Journey.id, OutboxRow.state.in_(ACTIVE_STATES)
    )
    conditions = (Journey.contact_id == keep, Journey.state == "sending", ~is_active)
    journeys.change_state(session, *conditions, to="waiting", due_at=now)


def _move_answers(session: Session, keep: int, other: int) -> None:
    """Keep the later of two answers to one call."""
    kept_answers = {each.event_id: each for each in _answers(session, keep)}
    for answer in _answers(session, other):
        kept_answer = kept_answers.get(answer.event_id)
        if kept_answer is None:
            answer.contact_id = keep
        elif kept_answer.answered_at < answer.answered_at:
            kept_answer.answer, kept_answer.answered_at = answer.answer, answer.answered_at
    session.flush()


def _lock_messages(session: Session, keep: int, other: int) -> Sequence[OutboxRow]:
    """Return every message of both contacts, locked so that no worker claims one meanwhile."""
    statement = select(OutboxRow).where(OutboxRow.contact_id.in_((keep, other))).order_by(OutboxRow.id)
    options = {"populate_existing": True}
    return session.scalars(statement.with_for_update(), execution_options=options).all()


def _journeys(session: Session, contact_id: int) -> Sequence[Journey]:
    return session.scalars(select(Journey).where(Journey.contact_id == contact_id)).all()


def _answers(session: Session, contact_id: int) -> Sequence[Rsvp]:
    return session.scalars(select(Rsvp).where(Rsvp.contact_id == contact_id)).all()


def _update_message(session: Session, row_id: int, **values: object) -> None:
    statement = update(OutboxRow).where(OutboxRow.id == row_id).values(**values)
    session.execute(statement.execution_options(synchronize_session=False))
