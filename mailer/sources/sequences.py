"""Sequences: the follow-up mails, one step after another, in the reader's own hours and language.

Code that confirms, imports or ends subscriptions does not depend on sequences: this module reads the queue of
changed subscriptions, and once a night it searches for contacts that the queue missed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, String, and_, cast, delete, exists, literal, select
from sqlalchemy.orm import Session, aliased

from lists.db import materialize
from lists.directory import Listing
from lists.permission import is_allowed, join_subscriptions, refusal_reason
from lists.subscriptions import Subscription, SubscriptionChange
from mailer.compose.editions import Editions
from mailer.compose.source import AddressedMessage, MessageContent, Refusal
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow, Result
from mailer.policy import POLICY
from mailer.sources import journeys
from mailer.sources.journeys import Journey
from mailer.sources.schedule import Schedule, Step, due_after

CHANGES_AT_ONCE = 5_000
SKIPPED_AT_ONCE = 5_000
START_WITHIN = timedelta(days=3)  # a sequence new to an old list must not write to all its members

# The change of a journey after its message has ended. While the message is queued again or held, the journey
# waits for it; a message of unknown outcome counts as sent, because sending twice is worse here.
AFTER_RESULT: Mapping[str, str] = {
    "sent": "advance",
    "unknown": "advance",
    "expired": "advance",
    "failed": "stopped",
    "cancelled": "left",
}


def _is_organizer() -> ColumnElement[bool]:
    other = aliased(Subscription)
    return exists().where(
        other.contact_id == Journey.contact_id, other.list == "organizers", other.state == "confirmed"
    )


def _has_applied() -> ColumnElement[bool]:
    return exists().where(
        Listing.contact_id == Journey.contact_id, Listing.state.in_(("asked", "waiting", "approved"))
    )


CONDITION_BUILDERS = {"organizer": _is_organizer, "applied": _has_applied}


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """The source of the kind `sequence`."""

    editions: Editions
    schedules: Sequence[Schedule]
    default_zone: str
    kinds: tuple[str, ...] = field(default=("sequence",), init=False)

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Start, resume and end journeys, then insert the steps due in an open window into the outbox."""
        self._follow_changes(session, now)
        journeys.end_pauses(session, now=now)
        zones = journeys.list_waiting_zones(session)
        new = 0
        for schedule in self.schedules:
            for step in schedule.steps:
                new += self._fill_step(session, schedule, step, zones, now, limit)
        return new

    def start_missed(self, session: Session, *, now: datetime) -> int:
        """Start and resume journeys that the queue of changes missed: the nightly safety net.

        A journey whose step no longer exists continues after the last step that was sent.
        """
        recent = Subscription.confirmed_at > now - START_WITHIN
        changed = 0
        for schedule in self.schedules:
            changed += self._start(session, schedule, recent, now)
            changed += journeys.resume(session, recent, sequence=schedule.name, list=schedule.list, now=now)
            changed += _repair_unknown_steps(session, schedule, now=now)
        return changed

    def compose(
        self, session: Session, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Add nothing: a step's text has no fields but those of every message."""
        return {message.entry.id: MessageContent() for message in messages}

    def settle(self, session: Session, results: Sequence[Result], *, now: datetime) -> None:
        """Change each journey as AFTER_RESULT defines, those of one step and zone in one UPDATE."""
        changes = {
            result.entry.ref: AFTER_RESULT[result.state] for result in results if result.state in AFTER_RESULT
        }
        if not changes:
            return
        rows = session.execute(
            select(Journey.id, Journey.sequence, Journey.step).where(
                Journey.id.in_(list(changes)), Journey.state == "sending"
            )
        ).all()
        schedules = {schedule.name: schedule for schedule in self.schedules}

        def group_key(journey: Any) -> tuple[str, str, str]:
            return (changes[journey.id], journey.sequence, journey.step)

        for (change, sequence, step), members in groupby(sorted(rows, key=group_key), key=group_key):
            condition = Journey.id.in_([journey.id for journey in members])
            if change == "advance" and sequence in schedules:
                _advance(session, schedules[sequence], step, condition, now=now)
            else:
                journeys.change_state(session, condition, to="stopped" if change == "advance" else change)

    def skip_restore_gap(self, session: Session, *, since: datetime, until: datetime) -> None:
        """Count as sent every step that may have been sent between two moments without records.

        No step can have been sent earlier than it was due, so the next one counts from there: a contact who
        may have received a step does not get it again, and no contact gets two at once.
        """
        while session.scalar(select(SubscriptionChange.id).limit(1)) is not None:
            self._follow_changes(session, since)
        journeys.end_pauses(session, now=until, due_at=since)
        for schedule in self.schedules:
            for step in schedule.steps:
                _skip_step(session, schedule, step.name, until)

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Return the first moment when some journey is both due and in its window."""
        if session.scalar(select(SubscriptionChange.id).limit(1)) is not None:
            return now
        steps = {(schedule.name, step.name): step for schedule in self.schedules for step in schedule.steps}
        moments = [
            steps[sequence, step].next_open(max(due_at, now), zone)
            for sequence, step, zone, due_at in journeys.list_earliest_due(session)
            if (sequence, step) in steps
        ]
        pause_ends = journeys.find_next_pause_end(session, now=now)
        return min([*moments, *([pause_ends] if pause_ends else [])], default=None)

    def _follow_changes(self, session: Session, now: datetime) -> None:
        oldest = select(SubscriptionChange.id).order_by(SubscriptionChange.id).limit(CHANGES_AT_ONCE)
        contact_ids = session.scalars(
            delete(SubscriptionChange)
            .where(SubscriptionChange.id.in_(materialize(oldest)))
            .returning(SubscriptionChange.contact_id)
            .execution_options(synchronize_session=False)
        ).all()
        if not contact_ids:
            return
        changed = sorted(set(contact_ids))
        for schedule in self.schedules:
            names = {"sequence": schedule.name, "list": schedule.list}
            condition = Subscription.contact_id.in_(changed)
            self._start(session, schedule, condition, now)
            journeys.resume(session, condition, now=now, **names)
            journeys.end_for_leavers(session, condition, **names)

    def _start(
        self, session: Session, schedule: Schedule, condition: ColumnElement[bool], now: datetime
    ) -> int:
        return journeys.start(
            session,
            condition,
            sequence=schedule.name,
            list=schedule.list,
            step=schedule.steps[0].name,
            default_zone=self.default_zone,
            now=now,
        )

    def _fill_step(
        self,
        session: Session,
        schedule: Schedule,
        step: Step,
        zones: Sequence[str],
        now: datetime,
        limit: int,
    ) -> int:
        open_zones = [zone for zone in zones if step.is_open(now, zone)]
        if not journeys.mark_due(
            session, sequence=schedule.name, step=step.name, zones=open_zones, now=now, limit=limit
        ):
            return 0
        due = (Journey.state == journeys.DUE) & (Journey.sequence == schedule.name)
        if schedule.goal:
            journeys.change_state(session, due, CONDITION_BUILDERS[schedule.goal](), to="goal")
        if step.skip:
            _advance(session, schedule, step.name, due, CONDITION_BUILDERS[step.skip](), now=now)
        new = self._enqueue(session, schedule, step, due, now)
        _stop_refused(session, schedule, due, now)
        _advance(session, schedule, step.name, due, now=now)  # contacts who had this step before they left
        return new

    def _enqueue(
        self, session: Session, schedule: Schedule, step: Step, due: ColumnElement[bool], now: datetime
    ) -> int:
        purpose = POLICY["sequence"].purpose(schedule.list)
        key = _key(schedule, step)
        selection = (
            select(Journey.contact_id.label("contact_id"), key.label("key"), Journey.id.label("ref"))
            .select_from(join_subscriptions(purpose))
            .join(Journey, Journey.contact_id == Subscription.contact_id)
            .where(due, is_allowed(purpose, now=now))
        )
        edition_id = self.editions.freeze_current(
            session, schedule.template_name(step.name), "sequence", now=now
        )
        new = outbox.fill(
            session, selection, kind="sequence", list=schedule.list, edition_id=edition_id, now=now
        )
        existing = OutboxRow.key.in_(selection.with_only_columns(key))
        new += outbox.revive(session, existing, kind="sequence", edition_id=edition_id, now=now)
        is_queued = exists().where(
            OutboxRow.key == key, OutboxRow.state == "queued", OutboxRow.queued_at == now
        )
        journeys.change_state(session, due, is_queued, to="sending")
        return new


def _key(schedule: Schedule, step: Step) -> ColumnElement[str]:
    """Return the outbox key of one step to the contact of a journey, so that it is one message each time."""
    prefix = literal(f"sequence/{schedule.name}/{step.name}/contact/", String)
    return prefix + cast(Journey.contact_id, String)


def _repair_unknown_steps(session: Session, schedule: Schedule, *, now: datetime) -> int:
    has_unknown_step = and_(
        Journey.state == journeys.WAITING,
        Journey.sequence == schedule.name,
        Journey.step.not_in([step.name for step in schedule.steps]),
    )
    if session.scalar(select(Journey.id).where(has_unknown_step).limit(1)) is None:
        return 0
    changed = 0
    for step in reversed(schedule.steps):
        was_sent = exists().where(OutboxRow.key == _key(schedule, step))
        next_step = schedule.next_step(step.name)
        if next_step is None:
            changed += journeys.change_state(session, has_unknown_step, was_sent, to="done")
        else:
            changed += journeys.change_state(
                session, has_unknown_step, was_sent, to="waiting", step=next_step.name, due_at=now
            )
    return changed + journeys.change_state(
        session, has_unknown_step, to="waiting", step=schedule.steps[0].name, due_at=now
    )


def _stop_refused(session: Session, schedule: Schedule, due: ColumnElement[bool], now: datetime) -> None:
    purpose = POLICY["sequence"].purpose(schedule.list)
    subscription_condition = (Subscription.contact_id == Journey.contact_id) & (
        Subscription.list == schedule.list
    )
    reason = refusal_reason(purpose, now=now)
    refusals = (
        select(Journey.id)
        .select_from(join_subscriptions(purpose))
        .join(Journey, subscription_condition)
        .where(due)
    )
    journeys.change_state(session, Journey.id.in_(refusals.where(reason == "paused")), to="paused")
    final = Journey.id.in_(refusals.where(reason.is_not(None), reason != "paused"))
    journeys.change_state(session, due, final | ~exists().where(subscription_condition), to="left")


def _skip_step(session: Session, schedule: Schedule, step: str, until: datetime) -> None:
    """Advance the journeys that wait for a step due by `until`, each from the moment it was due."""
    due = (Journey.state == journeys.WAITING, Journey.sequence == schedule.name, Journey.step == step)
    while True:
        rows = session.execute(
            select(Journey.id, Journey.due_at, Journey.zone)
            .where(*due, Journey.due_at <= until)
            .limit(SKIPPED_AT_ONCE)
        ).all()

        def group_key(journey: Any) -> tuple[datetime, str]:
            return (journey.due_at, journey.zone)

        for (due_at, _), members in groupby(sorted(rows, key=group_key), key=group_key):
            condition = Journey.id.in_([journey.id for journey in members])
            _advance(session, schedule, step, *due, condition, now=due_at)
        if len(rows) < SKIPPED_AT_ONCE:
            return


def _advance(
    session: Session, schedule: Schedule, step: str, *where: ColumnElement[bool], now: datetime
) -> None:
    next_step = schedule.next_step(step)
    if next_step is None:
        journeys.change_state(session, *where, to="done")
        return
    for zone in session.scalars(select(Journey.zone).where(*where).distinct()).all():
        # The opening after the delay, so that no tick reads a journey that waits for Monday before Monday.
        due_at = next_step.next_open(due_after(now, days=next_step.delay_days, zone=zone), zone)
        journeys.change_state(
            session, *where, Journey.zone == zone, to="waiting", step=next_step.name, due_at=due_at
        )
