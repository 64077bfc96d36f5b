"""Undoing: what a wrong import has sent already is named, and what waits for its people is cancelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from lists.contacts import Contact
from lists.imports import ListImport
from lists.subscriptions import Subscription
from lists.tables import undoing
from lists.tables.undoing import UndoCounts
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow
from mailer.policy import POLICY
from mailer.sources.invitations import Rsvp
from mailer.sources.journeys import Journey

WAITING = ("queued", "held")
REACHED = ("sending", "sent", "unknown", "bounced", "complained")
LIST_MAIL = [kind for kind, policy in POLICY.items() if policy.list_mail]
NOT_BEGUN = ("queued", "held", "cancelled", "expired")
WHY = "never joined"  # of the permission rule, so that whoever joins later gets it after all


@dataclass(frozen=True, kw_only=True)
class Look:
    """What taking back an import would do: to its people, to what waits, and what has left already.

    `mails` are the messages that reached its people: kind, state, number.
    """

    standing: UndoCounts
    waiting: int
    mails: Sequence[tuple[str, str, int]]


def look(session: Session, arrival: ListImport) -> Look:
    """Say what taking back an import would do, and what its people have been sent."""
    waiting = _theirs(arrival).where(OutboxRow.state.in_(WAITING))
    kinds = _mails(arrival).with_only_columns(OutboxRow.kind, OutboxRow.state, func.count())
    counted = session.execute(kinds.group_by(OutboxRow.kind, OutboxRow.state).order_by(OutboxRow.kind))
    return Look(
        standing=undoing.count_people(session, arrival),
        waiting=session.scalar(waiting.with_only_columns(func.count())) or 0,
        mails=[(kind, state, number) for kind, state, number in counted],
    )


def mails(session: Session, arrival: ListImport, *, limit: int) -> Sequence[dict[str, object]]:
    """Return each message that reached the people of an import who are, or were, taken off its list."""
    columns = (Contact.email, OutboxRow.kind, OutboxRow.state, OutboxRow.sent_at)
    wanted = _mails(arrival).join(Contact, Contact.id == OutboxRow.contact_id).with_only_columns(*columns)
    found = session.execute(wanted.order_by(Contact.email, OutboxRow.id).limit(limit))
    return [
        {"email": row.email, "kind": row.kind, "state": row.state, "sent_at": row.sent_at} for row in found
    ]


def take_back(
    session: Session, arrival: ListImport, *, sequences: Sequence[str], after: int, now: datetime
) -> tuple[int, int, int | None]:
    """Take back one batch; returns how many people, how many contacts are gone, and where to go on.

    `sequences` are those that follow the list: who is taken off it has not begun them.
    """
    people, following = undoing.list_batch(session, arrival, after=after)
    if not people:
        return 0, 0, following
    theirs = OutboxRow.contact_id.in_(people) & (OutboxRow.list == arrival.list)
    asked = undoing.select_signed_up(arrival).where(Subscription.contact_id.in_(people))
    asking = OutboxRow.contact_id.in_(asked) & OutboxRow.kind.not_in(LIST_MAIL)
    outbox.cancel(session, theirs & ~asking, why=WHY)
    begun = delete(Journey).where(Journey.contact_id.in_(people), Journey.sequence.in_(sequences))
    session.execute(begun.execution_options(synchronize_session=False))
    gone = undoing.undo_batch(
        session, arrival, people, is_mailed=_reached(arrival), is_referenced=_kept(), now=now
    )
    return len(people), gone, following


def _theirs(arrival: ListImport) -> Select[OutboxRow]:
    who = or_(
        OutboxRow.contact_id.in_(undoing.select_removable(arrival)),
        OutboxRow.contact_id.in_(undoing.select_mailed(arrival)),
    )
    return select(OutboxRow).where(OutboxRow.list == arrival.list, who)


def _mails(arrival: ListImport) -> Select[OutboxRow]:
    mails = _theirs(arrival).where(OutboxRow.state.in_(REACHED), OutboxRow.queued_at >= arrival.began_at)
    undone_at = arrival.undo_began_at
    return mails if undone_at is None else mails.where(OutboxRow.queued_at <= undone_at)


def _reached(arrival: ListImport) -> ColumnElement[bool]:
    return exists().where(
        OutboxRow.contact_id == Contact.id,
        OutboxRow.list == arrival.list,
        OutboxRow.state.in_(REACHED),
        OutboxRow.queued_at >= arrival.began_at,
    )


def _kept() -> ColumnElement[bool]:
    """Return the condition that a message which was begun, or an answer to a call, points at a contact."""
    begun = exists().where(OutboxRow.contact_id == Contact.id, OutboxRow.state.not_in(NOT_BEGUN))
    return or_(begun, exists().where(Rsvp.contact_id == Contact.id))
