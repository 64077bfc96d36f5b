"""Import undo: lists what an import caused to be sent, and cancels the waiting messages to its people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from lists.contacts import Contact
from lists.imports import ListImport
from lists.subscriptions import Subscription
from lists.tables import import_undo
from lists.tables.import_undo import UndoCounts
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow
from mailer.policy import LIST_MAIL_KINDS
from mailer.reasons import Reason
from mailer.sources.invitations import Rsvp
from mailer.sources.journeys import Journey

WAITING = ("queued", "held")
DISPATCHED_STATES = ("sending", "sent", "unknown", "bounced", "complained")
UNSENT_STATES = ("queued", "held", "cancelled", "expired")
CANCEL_REASON = Reason.NEVER_JOINED  # so that a person who joins later still gets the message


@dataclass(frozen=True, kw_only=True)
class ImportUndoPreview:
    """What undoing an import would do: to its people, to waiting messages, and what was dispatched already.

    `message_counts` are the dispatched messages to its people: kind, state, number.
    """

    counts: UndoCounts
    waiting: int
    message_counts: Sequence[tuple[str, str, int]]


def preview(session: Session, list_import: ListImport) -> ImportUndoPreview:
    """Describe what undoing an import would do, and what was dispatched to its people."""
    waiting = _messages_of_people(list_import).where(OutboxRow.state.in_(WAITING))
    kinds = _dispatched_messages(list_import).with_only_columns(OutboxRow.kind, OutboxRow.state, func.count())
    counts = session.execute(kinds.group_by(OutboxRow.kind, OutboxRow.state).order_by(OutboxRow.kind))
    return ImportUndoPreview(
        counts=import_undo.count_people(session, list_import),
        waiting=session.scalar(waiting.with_only_columns(func.count())) or 0,
        message_counts=[(kind, state, number) for kind, state, number in counts],
    )


def list_messages(session: Session, list_import: ListImport, *, limit: int) -> Sequence[dict[str, object]]:
    """Return each message dispatched to the people of an import who are, or were, taken off its list."""
    columns = (Contact.email, OutboxRow.kind, OutboxRow.state, OutboxRow.sent_at)
    statement = (
        _dispatched_messages(list_import)
        .join(Contact, Contact.id == OutboxRow.contact_id)
        .with_only_columns(*columns)
    )
    rows = session.execute(statement.order_by(Contact.email, OutboxRow.id).limit(limit))
    return [
        {"email": row.email, "kind": row.kind, "state": row.state, "sent_at": row.sent_at} for row in rows
    ]


def undo_batch(
    session: Session, list_import: ListImport, *, sequences: Sequence[str], after: int, now: datetime
) -> tuple[int, int, int | None]:
    """Undo one batch; returns the number of people, the number of contacts deleted, and where to continue.

    `sequences` are those that follow the list: their journeys are deleted.
    """
    people, following = import_undo.list_batch(session, list_import, after=after)
    if not people:
        return 0, 0, following
    is_to_people = OutboxRow.contact_id.in_(people) & (OutboxRow.list == list_import.list)
    signed_up = import_undo.select_signed_up(list_import).where(Subscription.contact_id.in_(people))
    is_answer = OutboxRow.contact_id.in_(signed_up) & OutboxRow.kind.not_in(LIST_MAIL_KINDS)
    outbox.cancel(session, is_to_people & ~is_answer, reason=CANCEL_REASON)
    statement = delete(Journey).where(Journey.contact_id.in_(people), Journey.sequence.in_(sequences))
    session.execute(statement.execution_options(synchronize_session=False))
    deleted_count = import_undo.undo_batch(
        session,
        list_import,
        people,
        is_mailed=_has_dispatched_message(list_import),
        is_referenced=_must_keep_contact(),
        now=now,
    )
    return len(people), deleted_count, following


def _messages_of_people(list_import: ListImport) -> Select[OutboxRow]:
    is_of_import = or_(
        OutboxRow.contact_id.in_(import_undo.select_removable(list_import)),
        OutboxRow.contact_id.in_(import_undo.select_mailed(list_import)),
    )
    return select(OutboxRow).where(OutboxRow.list == list_import.list, is_of_import)


def _dispatched_messages(list_import: ListImport) -> Select[OutboxRow]:
    statement = _messages_of_people(list_import).where(
        OutboxRow.state.in_(DISPATCHED_STATES), OutboxRow.queued_at >= list_import.began_at
    )
    undone_at = list_import.undo_began_at
    return statement if undone_at is None else statement.where(OutboxRow.queued_at <= undone_at)


def _has_dispatched_message(list_import: ListImport) -> ColumnElement[bool]:
    return exists().where(
        OutboxRow.contact_id == Contact.id,
        OutboxRow.list == list_import.list,
        OutboxRow.state.in_(DISPATCHED_STATES),
        OutboxRow.queued_at >= list_import.began_at,
    )


def _must_keep_contact() -> ColumnElement[bool]:
    """Return the condition that a dispatched message or an answer to a call references a contact."""
    was_dispatched = exists().where(OutboxRow.contact_id == Contact.id, OutboxRow.state.not_in(UNSENT_STATES))
    return or_(was_dispatched, exists().where(Rsvp.contact_id == Contact.id))
