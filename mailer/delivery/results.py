"""Results: the new state of a row after the outcome of its message, and how results are recorded.

A fault in one message must not prevent the outcomes of others from being recorded, because a message without
a recorded outcome is sent again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from lists.clock import Clock
from lists.db import Database
from lists.errors import StorageError
from mailer.compose.composer import ReadyMessage
from mailer.compose.source import Source, settle_all
from mailer.outbox import attempts, outbox
from mailer.outbox.outbox import Entry, Result
from mailer.policy import POLICY, is_urgent
from mailer.reasons import Reason
from mailer.smtp.capabilities import RelayLimit
from mailer.smtp.outcome import Outcome

FIRST_RETRY, MAX_RETRY_WAIT = timedelta(minutes=5), timedelta(minutes=66)  # Postfix's schedule, doubling
MAX_DOUBLINGS = 10  # beyond MAX_RETRY_WAIT, and far below the maximum of a timedelta
RETRY_CONNECTION_AFTER = timedelta(seconds=10)  # for a message whose connection failed alone
RECHECK_AFTER = timedelta(minutes=1)

# Outcome → the row's next state, and its reason. A connection that fails costs the message no attempt.
NEXT_STATES: Mapping[str, tuple[str, str]] = {
    "sent": ("sent", ""),
    "deferred": ("queued", Reason.DEFERRED),
    "refused": ("failed", Reason.REFUSED),
    "unreachable": ("queued", Reason.RELAY_UNREACHABLE),
    "unknown": ("unknown", Reason.CONNECTION_BROKEN),
}
POSTPONE_URGENT, MIN_POSTPONE = timedelta(seconds=30), timedelta(minutes=3)
POSTPONE_PART = 4  # of the time it has waited, but at least the above

log = structlog.get_logger()


def give_back(entry: Entry) -> Result:
    """Return the result that gives a claimed row back which was never sent to a server."""
    return Result(entry=entry, state="queued")


def hold_for_limit(entry: Entry, limit: RelayLimit) -> Result:
    """Return the result that holds a claimed row which no relay can carry, with the limit."""
    return Result(entry=entry, state="held", reason=limit.reason, detail=limit.detail)


def requeue_for_capable_relay(entry: Entry, *, now: datetime) -> Result:
    """Return the result that queues a claimed row until a relay that can carry it works again."""
    return Result(entry=entry, state="queued", reason=Reason.NO_CAPABLE_RELAY, due_at=now + RECHECK_AFTER)


def postpone(entry: Entry) -> Result:
    """Return the result that postpones a row which was not begun because its recipient's server stalls."""
    return Result(entry=entry, state="queued", reason=Reason.SLOW_SERVER)


def was_answered(result: Result | None) -> bool | None:
    """Tell whether a server replied to a message; None where the message was not sent to one."""
    if result is None or result.outcome not in ("sent", "deferred", "refused", "unknown"):
        return None
    return result.code is not None


def from_outcome(
    ready: ReadyMessage, outcome: Outcome, *, relay: str = "", only_this_connection: bool = False
) -> Result:
    """Return the result for the row of this message after its outcome; `relay` is the name of the relay.

    `only_this_connection`: this connection failed while others succeeded.
    """
    if outcome.limit is not None:
        return hold_for_limit(ready.entry, outcome.limit)
    state, reason = NEXT_STATES[outcome.state]
    reason, detail = outcome.doubt or reason, ""
    if outcome.too_large:
        state, reason, detail = "held", Reason.SERVER_SIZE_LIMIT, f"{outcome.code} {outcome.reply}"
    if only_this_connection:
        reason = Reason.CONNECTION_FAILED
    if outcome.state == "deferred" and outcome.code is None:
        reason = Reason.NO_ANSWER
    is_sender_refused = refuses_sender(outcome)
    if is_sender_refused:
        state, reason = "queued", Reason.SENDER_REFUSED
        log.warning("refused for what we are", code=outcome.code, reply=outcome.reply)
    return Result(
        entry=ready.entry,
        state=state,
        reason=reason,
        detail=detail,
        counts_as_try=outcome.state != "unreachable",
        address=ready.recipient,
        relay=relay,
        outcome=outcome.state,
        code=outcome.code,
        reply=outcome.reply,
        attempt_reason=outcome.doubt or "",
        blames_sender=is_sender_refused,
    )


def refuses_sender(outcome: Outcome) -> bool:
    """Tell whether a refusal is about the sender, so that it must not count for the recipient."""
    return outcome.cause == "sender" and not outcome.too_large


def from_outcome_state(entry: Entry, outcome_state: str, *, reason: str = "") -> Result:
    """Return the result for a claimed row whose outcome comes from a journal, or is unknown."""
    state, usual_reason = NEXT_STATES[outcome_state]
    counts_as_try = outcome_state != "unreachable"
    return Result(
        entry=entry,
        state=state,
        reason=reason or usual_reason,
        counts_as_try=counts_as_try,
        outcome=outcome_state,
        attempt_reason=reason,
    )


def record_and_settle(
    database: Database, clock: Clock, sources: Mapping[str, Source], results: Sequence[Result]
) -> None:
    """Record results, and settle each with its source, in one transaction.

    Where a source fails at a result, that result is recorded without settling and the fault is logged. Raises
    StorageError when nothing can be written; the same results may be passed again.
    """

    def write(batch: Sequence[Result], *, settle: bool = True) -> None:
        with database.write() as session:
            now = clock.now()
            current = outbox.record(session, _schedule_retries(session, batch, now=now), now=now)
            if settle:
                settle_all(session, sources, current, now=now)

    try:
        write(results)
    except StorageError:
        raise
    except Exception:
        if len(results) > 1:
            for result in results:
                record_and_settle(database, clock, sources, [result])
            return
        log.exception("an outcome is recorded, but its source does not know", row=results[0].entry.id)
        write(results, settle=False)


def _schedule_retries(session: Session, results: Sequence[Result], *, now: datetime) -> Sequence[Result]:
    """Set when each row is tried again; a row in doubt is sent once more if its policy allows it."""
    doubtful_ids = {
        result.entry.id
        for result in results
        if result.state == "unknown" and POLICY[result.entry.kind].on_unknown == "resend"
    }
    resend_ids = doubtful_ids - attempts.find_with_outcome(session, doubtful_ids, outcome="unknown")

    def schedule_retry(result: Result) -> Result:
        if result.outcome == "deferred" or result.blames_sender:
            wait = FIRST_RETRY * 2 ** min(result.entry.tries, MAX_DOUBLINGS)
            return replace(result, due_at=now + min(wait, MAX_RETRY_WAIT))
        if result.reason == Reason.SLOW_SERVER:
            least = POSTPONE_URGENT if is_urgent(result.entry.kind) else MIN_POSTPONE
            delay = (now - result.entry.queued_at) / POSTPONE_PART
            return replace(result, due_at=now + min(max(delay, least), MAX_RETRY_WAIT))
        if result.reason == Reason.CONNECTION_FAILED:
            return replace(result, due_at=now + RETRY_CONNECTION_AFTER)
        if result.entry.id in resend_ids:
            return replace(result, state="queued", reason=Reason.RESENT_IN_DOUBT)
        return result

    return [schedule_retry(result) for result in results]
