"""Message events: what happened to one message, as sentences from the tables, oldest first."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mailer import reasons
from mailer.people.messages import MessageFacts

COLUMNS = {"at": "When", "what": "What happened"}
OUTCOME_SENTENCES = {
    "sent": "It was handed to the mail server, which took it.",
    "deferred": "The server asked us to try again later.",
    "refused": "The server refused it.",
    "unreachable": "The mail server could not be reached.",
    "unknown": "No answer came after the last byte: it may or may not have arrived.",
}
STATE_SENTENCES = {
    "cancelled": "It will not leave any more",
    "failed": "It could not be sent, and nobody tries again",
    "expired": "It was given up",
    "unknown": "Nobody can say whether it arrived",
    "bounced": "It came back",
    "complained": "Its reader complained about it",
    "held": "It is held, and leaves when the reason is over",
}
UNDATED_STATES = (
    "cancelled",
    "failed",
    "unknown",
    "bounced",
    "complained",
)  # the time of the change is not stored


def list_events(message: MessageFacts, *, now: datetime) -> Sequence[MessageFacts]:
    """Return each event as `at` and `what`; the present state has the present time."""
    attempts = message["attempts"]
    assert isinstance(attempts, Sequence)
    return [
        {"at": message["queued_at"], "what": "It was put into the outbox."},
        *({"at": attempt["at"], "what": _describe_attempt(attempt)} for attempt in attempts),
        *_describe_state(message, attempts, now),
    ]


def _describe_attempt(attempt: Mapping[str, object]) -> str:
    outcome = str(attempt["outcome"])
    code, reply = attempt["code"], str(attempt["reply"])
    sentence = reasons.describe(str(attempt["reason"]))
    if sentence and outcome == "unknown" and not code:  # no server answered, for this reason
        return sentence
    if sentence and outcome != "unknown":
        return f"{OUTCOME_SENTENCES[outcome]} {sentence}"
    words = " ".join(str(part) for part in (code, reply) if part)
    verb = "Noted" if outcome == "unknown" and not code else "It said"
    return OUTCOME_SENTENCES.get(outcome, f"{outcome}.") + (f" {verb}: {words}" if words else "")


def _describe_state(
    message: MessageFacts, attempts: Sequence[Mapping[str, object]], now: datetime
) -> Sequence[MessageFacts]:
    state, due_at = str(message["state"]), message["due_at"]
    assert isinstance(due_at, datetime)
    attempt_count, claims = len(attempts), message["attempt"]
    assert isinstance(claims, int)
    if state == "sent":
        return [] if attempts else [{"at": message["sent_at"], "what": "It was sent."}]
    sentence = f" {message['why']}" if message["why"] else ""
    rows: list[MessageFacts] = []
    if claims > attempt_count + (state == "sending"):
        times = "once" if claims - attempt_count == 1 else f"{claims - attempt_count} times"
        rows.append({"at": None, "what": f"A worker took it up {times} and gave it back without sending."})
    if state == "queued" and due_at > now:
        rows.append({"at": due_at, "what": f"It will be tried{' again' if attempt_count else ''}.{sentence}"})
    elif state == "queued":
        rows.append({"at": now, "what": f"It is due and waits for delivery.{sentence}"})
    elif state == "sending":
        rows.append({"at": now, "what": "A worker is handing it over."})
    else:
        at = message["expires_at"] if state == "expired" else now
        rows.append({"at": at, "what": f"{STATE_SENTENCES.get(state, state)}.{sentence}"})
    return rows
