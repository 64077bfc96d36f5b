"""Standing: for each list and kind of mail, whether one would go to a person now, else which rule keeps it.

The first rule that keeps it is told: what the person said comes before what we are doing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import catalog, permission, suppressions
from lists.addresses import domain_of
from lists.contacts import Contact
from lists.permission import SENTENCES
from mailer.coordination import send_hold, suspensions
from mailer.coordination.suspensions import DOMAIN_SCOPE, RELAY_SCOPE
from mailer.events import events
from mailer.outbox.outbox import OutboxRow
from mailer.policy import POLICY
from mailer.sources import confirmations
from mailer.sources.journeys import Journey
from mailer.sources.schedule import Schedule

HELD_UP = {"held": "Message {id} is held: {why}.", "unknown": "Nobody can say whether message {id} arrived."}
AT_REST: Mapping[str, str] = {
    "paused": "Its letters wait for the end of a pause.",
    "done": "They have had all its letters.",
    "goal": "They have reached what its letters lead to.",
    "left": "Its letters have ended, because they left or want none.",
    "stopped": "Its letters have ended, because the mail server refused one.",
    "sending": "A letter of it is on its way.",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether a kind of mail of one list would go now; else the rule that keeps it, and a sentence."""

    list: str
    kind: str
    goes: bool
    rule: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: whom, which list and kind, at which moment of the service's."""

    session: Session
    contact: Contact
    list: str
    kind: str
    now: datetime
    schedules: Sequence[Schedule]
    relays: Sequence[str]


Kept = tuple[str, str] | None  # the rule and its sentence
Rule = Callable[[Question], Kept]


def of(
    session: Session,
    contact: Contact,
    *,
    schedules: Sequence[Schedule],
    relays: Sequence[str],
    now: datetime,
) -> Sequence[Answer]:
    """Answer for every list and kind of mail; a kind that belongs to no list is asked for once, with "".

    `relays` are the names of the mail servers that mail leaves by.
    """
    asked = [
        ("", kind) for kind, policy in POLICY.items() if policy.needs == "address" and not policy.to_staff
    ]
    of_lists = [kind for kind, policy in POLICY.items() if policy.needs != "address"]
    asked += [(name, kind) for name in catalog.list_names(session) for kind in of_lists]
    answers = []
    for name, kind in asked:
        question = Question(
            session=session,
            contact=contact,
            list=name,
            kind=kind,
            now=now,
            schedules=schedules,
            relays=relays,
        )
        kept = next((found for rule in RULES[kind] if (found := rule(question)) is not None), None)
        rule, why = kept or ("", "")
        answers.append(Answer(list=name, kind=kind, goes=kept is None, rule=rule, why=why))
    return answers


def _permission(asked: Question) -> Kept:
    purpose = POLICY[asked.kind].purpose(asked.list)
    found = permission.find_recipients(asked.session, [asked.contact.id], purpose=purpose, now=asked.now)
    reader = found.get(asked.contact.id)
    why = "never joined" if reader is None else reader.refusal
    if why is None:
        return None
    reason = (
        suppressions.find_reason(asked.session, asked.contact.email_digest) if why == "suppressed" else None
    )
    return why, f"{SENTENCES[why]} Here: {reason}." if reason else SENTENCES[why]


def _restore(asked: Question) -> Kept:
    restore = send_hold.find_unsettled(asked.session)
    return None if restore is None else ("restore", restore.sentence)


def _pause(asked: Question) -> Kept:
    """Mail waits when every server that it could leave by is paused, or the domain it goes to."""
    every = suspensions.read_all(asked.session)
    paused = {scope: pause for scope, pause in every.items() if pause.applies_to(asked.kind)}
    domain = domain_of(asked.contact.email)
    if (pause := paused.get(f"{DOMAIN_SCOPE}{domain}")) is not None:
        return "domain paused", f"Mail to {domain} waits: {pause.why}."
    ours = [paused.get(f"{RELAY_SCOPE}{name}") for name in asked.relays]
    if ours and all(ours):
        return "relays paused", "Every mail server of ours is paused. “mailer relay list” says why."
    return None


def _brake(asked: Question) -> Kept:
    today = confirmations.count_answers_today(asked.session, asked.contact.id, now=asked.now)
    if today < confirmations.ANSWERS_PER_DAY:
        return None
    return "brake", f"{today} questions went to this address today; no more do."


def _held_up(asked: Question) -> Kept:
    row = OutboxRow
    mine = (row.contact_id == asked.contact.id, row.kind == asked.kind, row.list == asked.list)
    stuck = select(row).where(*mine, row.state.in_(HELD_UP)).order_by(row.id.desc()).limit(1)
    found = asked.session.scalars(stuck).one_or_none()
    if found is None:
        return None
    return found.state, HELD_UP[found.state].format(id=found.id, why=found.why)


def _journey(asked: Question) -> Kept:
    """Only the letter that is due goes; the others wait for their day."""
    names = [schedule.name for schedule in asked.schedules if schedule.list == asked.list]
    if not names:
        return "no letters", "This list has no letters."
    mine = select(Journey).where(Journey.contact_id == asked.contact.id, Journey.sequence.in_(names))
    journey = asked.session.scalars(mine.order_by(Journey.id)).first()
    if journey is None:
        return (
            "no journey",
            "Its letters have not begun; who was on the list before they were made gets none.",
        )
    if journey.state in AT_REST:
        return f"journey {journey.state}", AT_REST[journey.state]
    if journey.due_at > asked.now:
        return "not due", f"The next letter, {journey.step}, is due on {journey.due_at:%Y-%m-%d %H:%M} UTC."
    return None


def _call(asked: Question) -> Kept:
    opened = [
        event
        for event in events.list_upcoming(asked.session, now=asked.now, audience=asked.list)
        if event.invited_at is not None
    ]
    if not opened:
        return "no call", "No call of this list has its invitations open."
    keys = [f"invitation/{event.id}/{event.sequence}/contact/{asked.contact.id}" for event in opened]
    had = asked.session.scalars(select(OutboxRow.key).where(OutboxRow.key.in_(keys))).all()
    return ("invited", "They are invited already.") if len(had) == len(keys) else None


EVERY: Sequence[Rule] = (_permission, _restore, _pause)
RULES: Mapping[str, Sequence[Rule]] = {
    "confirmation": (*EVERY, _brake, _held_up),
    "already": (*EVERY, _brake),
    "access": EVERY,
    "received": EVERY,
    "invitation": (*EVERY, _held_up, _call),
    "sequence": (*EVERY, _held_up, _journey),
    "broadcast": (*EVERY, _held_up),
}
