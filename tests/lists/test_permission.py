"""Permission: the same rule as a SQL condition and as a reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import addresses, contacts, imports, permission, subscriptions, suppressions, topic_optouts
from lists.contacts import Contact
from lists.db import Database
from lists.permission import PERMANENT_REASONS, REASONS, Needs, Purpose
from lists.subscriptions import Subscription
from tests.clocks import START, StoppedClock
from tests.people import PEPPER, Person
from tests.statements import recorded

INSTANT = timedelta(microseconds=1)
STATES = (None, "pending", "confirmed", "left")
PAUSES = (None, START - INSTANT, START, START + INSTANT, START + timedelta(days=30))
NEEDS: tuple[Needs, ...] = get_args(Needs)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A contact in one of the cases that the rule distinguishes."""

    contact_id: int
    state: str | None
    suppressed: bool
    arriving: bool
    paused_until: datetime | None
    declined: bool

    def refusal(self, needs: Needs, now: datetime) -> str | None:
        """Return the expected reason, from a second implementation of the rule: the first that applies."""
        if self.state is None and needs != "address":
            return "never joined"
        if self.suppressed:
            return "suppressed"
        if needs == "address":
            return None
        if self.state == "left":
            return "left"
        if needs == "asked":
            return "already confirmed" if self.state == "confirmed" else self._check_import()
        if self.state == "pending":
            return "not confirmed"
        if self.arriving:
            return "arriving"
        if self.declined:
            return "declined"
        return "paused" if self.paused_until is not None and self.paused_until > now else None

    def _check_import(self) -> str | None:
        return "arriving" if self.arriving else None


@pytest.fixture
def cases(database: Database) -> list[Case]:
    with database.write() as session:
        return list(_every_case(session))


def _every_case(session: Session) -> Iterator[Case]:
    list_import = imports.begin(session, list="interest", fingerprint=b"sheet", now=START)
    combinations = product(STATES, (False, True), PAUSES, (False, True), (False, True))
    for number, (state, suppressed, pause, declined, arriving) in enumerate(combinations):
        address = addresses.parse(f"case{number}@example.org", pepper=PEPPER)
        contact = contacts.find_or_add(session, address, now=START)
        if suppressed:
            suppressions.add(session, address.digest, reason="staff", now=START)
        if state is not None:
            subscription = subscriptions.ask(session, contact_id=contact.id, list="interest", now=START)
            subscription.state, subscription.paused_until = state, pause
            subscription.arrival_id = list_import.id if arriving else None
        # An opt-out of another topic has no effect.
        topics = {"calls"} | ({"updates"} if declined else set())
        topic_optouts.set_optouts(session, contact_id=contact.id, topics=topics, now=START)
        # A subscription to another list has no effect.
        subscriptions.ask(session, contact_id=contact.id, list="organizers", now=START)
        yield Case(
            contact_id=contact.id,
            state=state,
            suppressed=suppressed,
            paused_until=pause,
            declined=declined,
            arriving=arriving,
        )


def _answers(database: Database, cases: list[Case], needs: Needs, now: datetime) -> dict[int, str | None]:
    """Evaluate the rule in its three forms, which must agree."""
    purpose = Purpose(needs=needs, list="interest", topic="updates")
    condition = permission.is_allowed(purpose, now=now)
    reason = permission.refusal_reason(purpose, now=now)
    query = select(Contact.id).select_from(permission.join_subscriptions(purpose))
    with database.read() as session:
        allowed = set(session.scalars(query.where(condition)))
        rows = session.execute(query.add_columns(reason).where(reason.is_not(None)))
        refusals = {row.id: row[1] for row in rows}
        recipients = permission.find_recipients(
            session, [case.contact_id for case in cases], purpose=purpose, now=now
        )
    assert allowed.isdisjoint(refusals)
    assert {number for number, recipient in recipients.items() if recipient.refusal is None} == allowed
    assert {
        number: recipient.refusal for number, recipient in recipients.items() if recipient.refusal
    } == refusals
    reasons = {number: recipient.refusal for number, recipient in recipients.items()}
    return {case.contact_id: reasons.get(case.contact_id, "never joined") for case in cases}


@given(needs=st.sampled_from(NEEDS), later=st.integers(-2, 2) | st.integers(-(10**13), 10**13))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_condition_and_the_reason_agree_in_every_case_at_every_moment(
    database: Database, cases: list[Case], needs: Needs, later: int
) -> None:
    now = START + later * INSTANT
    expected = {case.contact_id: case.refusal(needs, now) for case in cases}
    assert _answers(database, cases, needs, now) == expected


@pytest.mark.parametrize(
    ("now", "refusal"), [(START - INSTANT, "paused"), (START, None), (START + INSTANT, None)]
)
def test_a_pause_ends_at_the_exact_moment(
    database: Database, ben: Person, now: datetime, refusal: str | None
) -> None:
    with database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=START)
        purpose = Purpose(needs="confirmed", list="interest")
        assert (
            permission.find_recipients(session, [ben.id], purpose=purpose, now=now)[ben.id].refusal == refusal
        )


def test_nobody_who_left_gets_list_mail_and_everybody_else_does(
    database: Database, clock: StoppedClock, ana: Person, ben: Person, cleo: Person
) -> None:
    contact_ids = [ana.id, ben.id, cleo.id]
    with database.read() as session:
        purpose = Purpose(needs="confirmed", list="interest")
        recipients = permission.find_recipients(session, contact_ids, purpose=purpose, now=clock.now())
        assert {number: recipient.refusal for number, recipient in recipients.items()} == {
            ben.id: None,
            cleo.id: "left",
        }
        recipient = recipients[ben.id]
        assert (recipient.email, recipient.name, recipient.language) == (ben.email, "Ben", "es")
        assert (recipient.zone, recipient.city) == ("America/Phoenix", "Phoenix")


def test_every_reason_has_a_sentence_and_temporary_ones_are_not_permanent(
    database: Database, cases: list[Case]
) -> None:
    reasons = {
        reason for needs in NEEDS for reason in _answers(database, cases, needs, START).values() if reason
    }
    assert reasons == set(REASONS)
    assert reasons - PERMANENT_REASONS == {"paused", "not confirmed", "arriving"}


def test_many_recipients_are_checked_in_one_statement(database: Database, cases: list[Case]) -> None:
    numbers = [case.contact_id for case in cases]
    purpose = Purpose(needs="confirmed", list="interest")
    with database.read() as session:
        with recorded(database) as one_statements:
            permission.find_recipients(session, numbers[:1], purpose=purpose, now=START)
        with recorded(database) as all_statements:
            permission.find_recipients(session, numbers, purpose=purpose, now=START)
            permission.find_recipients(session, [], purpose=purpose, now=START)
    assert (len(one_statements), len(all_statements)) == (1, 2)


def test_a_contact_is_selected_once_for_a_purpose(database: Database, cases: list[Case]) -> None:
    with database.read() as session:
        for needs in NEEDS:
            people = permission.join_subscriptions(Purpose(needs=needs, list="interest"))
            contact_ids = session.scalars(select(Contact.id).select_from(people)).all()
            expected_ids = [case.contact_id for case in cases if case.state or needs == "address"]
            assert sorted(contact_ids) == sorted(expected_ids)
        assert session.scalar(select(Subscription.id).limit(1)) is not None
