"""Verdict: what the relay's answer to one message means to its row, and writing that down.

One message's fault must not keep the outcomes of others from being recorded, because what is not recorded is
sent again.
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
from mailer.outbox import attempts, held_messages, outbox
from mailer.outbox.outbox import Entry, Result
from mailer.policy import POLICY, is_urgent
from mailer.smtp import doubt
from mailer.smtp.outcome import Outcome

FIRST_RETRY, LONGEST_RETRY = timedelta(minutes=5), timedelta(minutes=66)  # Postfix's schedule, doubling
MOST_DOUBLINGS = 10  # beyond the longest, and far below what a timedelta can hold
RETRY_CONNECTION_AFTER = timedelta(
    seconds=10
)  # until a message that failed while others got through is tried again
RECHECK_AFTER = timedelta(minutes=1)
WAITS_FOR_RELAY = "waits for a mail server of ours that can carry it"
CONNECTION_FAILED = "its connection failed, while others got through"

# What the relay said → the row's next state, and why. Connections that fail cost no message an attempt.
NEXT_STATES = {
    "sent": ("sent", ""),
    "deferred": ("queued", "their server asked us to try again later"),
    "refused": ("failed", "their server refused it"),
    "unreachable": ("queued", "the relay cannot be reached"),
    "unknown": ("unknown", doubt.BROKEN),
    "unsupported": ("held", ""),
}

REFUSES_US = "their server refuses us, not this person; tried again"
NO_ANSWER = "their server did not answer in time; tried again"
POSTPONED = "their server lets others wait; tried in a while"
POSTPONE_URGENT, POSTPONE_LEAST = timedelta(seconds=30), timedelta(minutes=3)
POSTPONE_PART = 4  # of how long it has waited, but at least the above

log = structlog.get_logger()


def give_back(entry: Entry) -> Result:
    """Return what gives a claimed row back that was never handed to a server."""
    return Result(entry=entry, state="queued")


def hold_unsupported(entry: Entry, reason: str) -> Result:
    """Return what keeps a claimed row back that no mail server of ours can carry, and why."""
    return Result(entry=entry, state="held", why=f"{held_messages.SERVER_LIMIT}{reason}")


def requeue_for_capable_relay(entry: Entry, *, now: datetime) -> Result:
    """Return what puts a claimed row back until a mail server that can carry it works again."""
    return Result(entry=entry, state="queued", why=WAITS_FOR_RELAY, due_at=now + RECHECK_AFTER)


def postpone(entry: Entry) -> Result:
    """Return what puts a claimed row off that was not begun, because its recipient's server stalls."""
    return Result(entry=entry, state="queued", why=POSTPONED)


def was_answered(result: Result | None) -> bool | None:
    """Tell whether a server answered a message that was handed to it; None where none was asked."""
    if result is None or result.outcome not in ("sent", "deferred", "refused", "unknown"):
        return None
    return result.code is not None


def from_outcome(
    ready: ReadyMessage, outcome: Outcome, *, relay: str = "", only_this_connection: bool = False
) -> Result:
    """Return what the answer of a relay, by its name, means to the row of this message.

    `alone`: only this connection failed, while others got through.
    """
    if outcome.state == "unsupported":
        return hold_unsupported(ready.entry, outcome.reply)
    state, why = NEXT_STATES[outcome.state]
    why = outcome.doubt or why
    if outcome.too_large:
        state, why = "held", f"{held_messages.SERVER_LIMIT}{outcome.code} {outcome.reply}"
    if only_this_connection:
        why = CONNECTION_FAILED
    if outcome.state == "deferred" and outcome.code is None:
        why = NO_ANSWER
    ours = refuses_us(outcome)
    if ours:
        state, why = "queued", REFUSES_US
        log.warning("refused for what we are", code=outcome.code, reply=outcome.reply)
    return Result(
        entry=ready.entry,
        state=state,
        why=why,
        costs_attempt=outcome.state != "unreachable",
        address=ready.recipient,
        relay=relay,
        outcome=outcome.state,
        code=outcome.code,
        reply=outcome.reply,
        is_about_us=ours,
    )


def refuses_us(outcome: Outcome) -> bool:
    """Tell whether a refusal, for now or for good, is about us: it must punish no recipient."""
    return outcome.about == "ours" and not outcome.too_large


def from_outcome_state(entry: Entry, outcome_state: str, *, why: str = "") -> Result:
    """Return what an outcome means to a claimed row when only a journal, or nobody, can tell it."""
    state, usual = NEXT_STATES[outcome_state]
    tried = outcome_state != "unreachable"
    return Result(
        entry=entry, state=state, why=why or usual, costs_attempt=tried, outcome=outcome_state, reply=why
    )


def record_and_settle(
    database: Database, clock: Clock, sources: Mapping[str, Source], results: Sequence[Result]
) -> None:
    """Record results, each with what it means to its source, in one transaction.

    Where a source fails at one of them, that one is recorded without it and the fault is logged. Raises
    StorageError when nothing can be written; the same results may be handed in again.
    """

    def recorded(these: Sequence[Result], *, settled: bool = True) -> None:
        with database.write() as session:
            now = clock.now()
            kept = outbox.record(session, _schedule_retries(session, these, now=now), now=now)
            if settled:
                settle_all(session, sources, kept, now=now)

    try:
        recorded(results)
    except StorageError:
        raise
    except Exception:
        if len(results) > 1:
            for result in results:
                record_and_settle(database, clock, sources, [result])
            return
        log.exception("an outcome is recorded, but its source does not know", row=results[0].entry.id)
        recorded(results, settled=False)


def _schedule_retries(session: Session, results: Sequence[Result], *, now: datetime) -> Sequence[Result]:
    """Say when each is tried again; what nobody can be sure about leaves once more if its policy says so."""
    doubtful = {
        result.entry.id
        for result in results
        if result.state == "unknown" and POLICY[result.entry.kind].on_unknown == "resend"
    }
    resend = doubtful - attempts.find_with_outcome(session, doubtful, outcome="unknown")

    def decided(result: Result) -> Result:
        if result.outcome == "deferred" or result.is_about_us:
            wait = FIRST_RETRY * 2 ** min(result.entry.tries, MOST_DOUBLINGS)
            return replace(result, due_at=now + min(wait, LONGEST_RETRY))
        if result.why == POSTPONED:
            least = POSTPONE_URGENT if is_urgent(result.entry.kind) else POSTPONE_LEAST
            waited = (now - result.entry.queued_at) / POSTPONE_PART
            return replace(result, due_at=now + min(max(waited, least), LONGEST_RETRY))
        if result.why == CONNECTION_FAILED:
            return replace(result, due_at=now + RETRY_CONNECTION_AFTER)
        if result.entry.id in resend:
            return replace(result, state="queued", why="nobody can say whether it arrived; once more")
        return result

    return [decided(result) for result in results]
