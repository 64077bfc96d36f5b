"""Messages of the outbox for display: recipient, state, reason, and each attempt."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lists.contacts import Contact
from lists.errors import NotFound
from mailer import reasons
from mailer.compose.editions import Edition
from mailer.outbox.attempts import Attempt
from mailer.outbox.outbox import HAS_REASON, OutboxRow

MessageFacts = dict[str, object]
MESSAGE_COLUMNS = {
    "id": "Number",
    "kind": "Kind",
    "list": "List",
    "template": "Text",
    "email": "To",
    "state": "State",
    "why": "Why",  # the sentence of `reason` and `detail`
    "due_at": "Due",
    "sent_at": "Sent",
}
ATTEMPT_COLUMNS = {
    "at": "When",
    "relay": "Mail server",
    "address": "To",
    "outcome": "Outcome",
    "code": "Code",
    "reply": "Their server said",
}
DETAIL_COLUMNS = {
    **MESSAGE_COLUMNS,
    "queued_at": "Put in",
    "expires_at": "Given up after",
    "tries": "Tries",
    "key": "Key",
}
REASON_KEYS = ("reason", "detail")


def list_newest(
    session: Session,
    *,
    limit: int,
    state: str | None = None,
    kind: str | None = None,
    contact_id: int | None = None,
) -> Sequence[MessageFacts]:
    """Return messages, the newest first, of one state, kind or contact where these are given."""
    statement = (
        select(OutboxRow, Contact.email, Edition.name)
        .join(Contact, Contact.id == OutboxRow.contact_id)
        .join(Edition, Edition.id == OutboxRow.edition_id)
        .order_by(OutboxRow.id.desc())
        .limit(limit)
    )
    if state is not None:
        statement = statement.where(OutboxRow.state == state)
    if kind is not None:
        statement = statement.where(OutboxRow.kind == kind)
    if contact_id is not None:
        statement = statement.where(OutboxRow.contact_id == contact_id)
    return [_to_facts(row, email, template) for row, email, template in session.execute(statement)]


def get(session: Session, row_id: int) -> MessageFacts:
    """Return one message with its attempts; raises NotFound."""
    statement = (
        select(OutboxRow, Contact.email, Edition.name)
        .join(Contact, Contact.id == OutboxRow.contact_id)
        .join(Edition, Edition.id == OutboxRow.edition_id)
        .where(OutboxRow.id == row_id)
    )
    row = session.execute(statement).one_or_none()
    if row is None:
        raise NotFound(f"There is no message number {row_id}. “mailer outbox list” shows the newest.")
    message = {**_to_facts(*row), "attempt": row[0].attempt}
    return with_attempts(session, [message])[0]


def with_attempts(session: Session, messages: Sequence[MessageFacts]) -> Sequence[MessageFacts]:
    """Return messages with each delivery attempt, oldest first."""
    ids = [message["id"] for message in messages]
    attempts: dict[object, list[MessageFacts]] = {number: [] for number in ids}
    for attempt in session.scalars(select(Attempt).where(Attempt.outbox_id.in_(ids)).order_by(Attempt.id)):
        attempts[attempt.outbox_id].append(
            {key: getattr(attempt, key) for key in (*ATTEMPT_COLUMNS, "reason")}
        )
    return [{**message, "attempts": attempts[message["id"]]} for message in messages]


def count_by_reason(session: Session) -> dict[tuple[str, str], int]:
    """Return how many messages wait or are held for a reason, by state and sentence of the reason."""
    rows = session.execute(
        select(OutboxRow.state, OutboxRow.reason, OutboxRow.detail, func.count())
        .where(OutboxRow.state.in_(("queued", "sending", "held")), HAS_REASON)
        .group_by(OutboxRow.state, OutboxRow.reason, OutboxRow.detail)
    )
    return {(state, reasons.describe(reason, detail)): number for state, reason, detail, number in rows}


def count(session: Session, *, contact_id: int) -> int:
    """Return how many messages there are to one contact."""
    statement = select(func.count()).select_from(OutboxRow).where(OutboxRow.contact_id == contact_id)
    return session.scalar(statement) or 0


def list_addresses(session: Session, *, contact_id: int) -> set[str]:
    """Return every stored address that messages to one contact were sent to."""
    statement = select(Attempt.address).join(OutboxRow, OutboxRow.id == Attempt.outbox_id)
    return {*session.scalars(statement.where(OutboxRow.contact_id == contact_id, Attempt.address != ""))}


def count_sent(session: Session) -> int:
    """Return how many messages have been sent in all."""
    return session.scalar(select(func.count()).select_from(OutboxRow).where(OutboxRow.state == "sent")) or 0


def _to_facts(row: OutboxRow, email: str, template: str) -> MessageFacts:
    values = {key: getattr(row, key) for key in DETAIL_COLUMNS if key not in ("email", "template", "why")}
    reason = {key: getattr(row, key) for key in REASON_KEYS}
    sentence = reasons.describe(row.reason, row.detail)
    return {**values, **reason, "why": sentence, "email": email, "template": template}
