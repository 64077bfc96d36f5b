"""Eligibility: for each list and kind of mail, whether one would be sent to a person now, else the rule.

The first rule that prevents it is returned: the person's own choices come before the state of the service.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import catalog, permission, suppressions
from lists.addresses import domain_of
from lists.contacts import Contact
from mailer import reasons
from mailer.coordination import send_hold, suspensions
from mailer.coordination.suspensions import DOMAIN_SCOPE, RELAY_SCOPE
from mailer.events import events
from mailer.outbox.outbox import OutboxRow
from mailer.policy import POLICY
from mailer.sources import confirmations
from mailer.sources.journeys import Journey
from mailer.sources.schedule import Schedule

OUTBOX_SENTENCES = {
    "held": "Message {id} is held. {sentence}",
    "unknown": "Nobody can say whether message {id} arrived.",
}
JOURNEY_SENTENCES: Mapping[str, str] = {
    "paused": "Its emails wait for the end of a pause.",
    "done": "They have had all its emails.",
    "goal": "They have reached what its emails lead to.",
    "left": "Its emails have ended, because they left or want none.",
    "stopped": "Its emails have ended, because the mail server refused one.",
    "sending": "An email of it is on its way.",
}


@dataclass(frozen=True, kw_only=True)
class Eligibility:
    """Whether a kind of mail of one list would be sent now; else the rule and its sentence."""

    list: str
    kind: str
    goes: bool
    rule: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class EligibilityQuery:
    """One query: contact, list and kind, at a time of the service's clock."""

    session: Session
    contact: Contact
    list: str
    kind: str
    now: datetime
    schedules: Sequence[Schedule]
    relays: Sequence[str]


BlockingRule = tuple[str, str] | None  # the rule and its sentence
EligibilityRule = Callable[[EligibilityQuery], BlockingRule]


def check_all(
    session: Session,
    contact: Contact,
    *,
    schedules: Sequence[Schedule],
    relays: Sequence[str],
    now: datetime,
) -> Sequence[Eligibility]:
    """Evaluate every list and kind of mail; a kind that belongs to no list is evaluated once, with "".

    `relays` are the names of the relays in use.
    """
    pairs = [
        ("", kind) for kind, policy in POLICY.items() if policy.needs == "address" and not policy.to_staff
    ]
    list_kinds = [kind for kind, policy in POLICY.items() if policy.needs != "address"]
    pairs += [(name, kind) for name in catalog.list_names(session) for kind in list_kinds]
    answers = []
    for name, kind in pairs:
        query = EligibilityQuery(
            session=session,
            contact=contact,
            list=name,
            kind=kind,
            now=now,
            schedules=schedules,
            relays=relays,
        )
        blocking = next((result for rule in RULES[kind] if (result := rule(query)) is not None), None)
        rule, why = blocking or ("", "")
        answers.append(Eligibility(list=name, kind=kind, goes=blocking is None, rule=rule, why=why))
    return answers


def _check_permission(query: EligibilityQuery) -> BlockingRule:
    purpose = POLICY[query.kind].purpose(query.list)
    recipients = permission.find_recipients(query.session, [query.contact.id], purpose=purpose, now=query.now)
    reader = recipients.get(query.contact.id)
    why = "never joined" if reader is None else reader.refusal
    if why is None:
        return None
    reason = (
        suppressions.find_reason(query.session, query.contact.email_digest) if why == "suppressed" else None
    )
    sentence = reasons.describe(why)
    return why, f"{sentence} Here: {reason}." if reason else sentence


def _check_send_hold(query: EligibilityQuery) -> BlockingRule:
    restore = send_hold.find_unsettled(query.session)
    return None if restore is None else ("restore", restore.sentence)


def _check_suspensions(query: EligibilityQuery) -> BlockingRule:
    """Mail waits when every relay that it could use is suspended, or the recipient's domain is."""
    scopes = suspensions.read_all(query.session)
    suspended = {
        scope: suspension for scope, suspension in scopes.items() if suspension.applies_to(query.kind)
    }
    domain = domain_of(query.contact.email)
    if (suspension := suspended.get(f"{DOMAIN_SCOPE}{domain}")) is not None:
        return "domain paused", f"Mail to {domain} waits: {suspension.reply}."
    of_relays = [suspended.get(f"{RELAY_SCOPE}{name}") for name in query.relays]
    if of_relays and all(of_relays):
        return "relays paused", "Every mail server of ours is paused. “mailer relay list” says why."
    return None


def _check_throttle(query: EligibilityQuery) -> BlockingRule:
    today = confirmations.count_answers_today(query.session, query.contact.id, now=query.now)
    if today < confirmations.ANSWERS_PER_DAY:
        return None
    return "brake", f"{today} questions went to this address today; no more do."


def _check_outbox(query: EligibilityQuery) -> BlockingRule:
    columns = OutboxRow
    conditions = (
        columns.contact_id == query.contact.id,
        columns.kind == query.kind,
        columns.list == query.list,
    )
    statement = (
        select(columns)
        .where(*conditions, columns.state.in_(OUTBOX_SENTENCES))
        .order_by(columns.id.desc())
        .limit(1)
    )
    message = query.session.scalars(statement).one_or_none()
    if message is None:
        return None
    return message.state, OUTBOX_SENTENCES[message.state].format(
        id=message.id, sentence=reasons.describe(message.reason, message.detail)
    )


def _check_journey(query: EligibilityQuery) -> BlockingRule:
    """Only the step that is due is sent; the others wait for their day."""
    names = [schedule.name for schedule in query.schedules if schedule.list == query.list]
    if not names:
        return "no letters", "This list has no follow-up emails."
    statement = select(Journey).where(Journey.contact_id == query.contact.id, Journey.sequence.in_(names))
    journey = query.session.scalars(statement.order_by(Journey.id)).first()
    if journey is None:
        return (
            "no journey",
            "Its emails have not begun; who was on the list before they were made gets none.",
        )
    if journey.state in JOURNEY_SENTENCES:
        return f"journey {journey.state}", JOURNEY_SENTENCES[journey.state]
    if journey.due_at > query.now:
        return "not due", f"The next email, {journey.step}, is due on {journey.due_at:%Y-%m-%d %H:%M} UTC."
    return None


def _check_event(query: EligibilityQuery) -> BlockingRule:
    calls = [
        event
        for event in events.list_upcoming(query.session, now=query.now, audience=query.list)
        if event.invited_at is not None
    ]
    if not calls:
        return "no call", "No call of this list has its invitations open."
    keys = [f"invitation/{event.id}/{event.sequence}/contact/{query.contact.id}" for event in calls]
    invited_keys = query.session.scalars(select(OutboxRow.key).where(OutboxRow.key.in_(keys))).all()
    return ("invited", "They are invited already.") if len(invited_keys) == len(keys) else None


COMMON_RULES: Sequence[EligibilityRule] = (_check_permission, _check_send_hold, _check_suspensions)
RULES: Mapping[str, Sequence[EligibilityRule]] = {
    "confirmation": (*COMMON_RULES, _check_throttle, _check_outbox),
    "already": (*COMMON_RULES, _check_throttle),
    "access": COMMON_RULES,
    "received": COMMON_RULES,
    "invitation": (*COMMON_RULES, _check_outbox, _check_event),
    "sequence": (*COMMON_RULES, _check_outbox, _check_journey),
    "broadcast": (*COMMON_RULES, _check_outbox),
}
