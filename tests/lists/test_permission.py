"""May we write? The same rule as a question to the database and as an answer with its reason."""

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
from lists.permission import PERMANENT_REASONS, SENTENCES, Needs, Purpose
from lists.subscriptions import Subscription
from tests.clocks import START, StoppedClock
from tests.people import PEPPER, Person
from tests.statements import recorded

INSTANT = timedelta(microseconds=1)
STANDINGS = (None, "pending", "confirmed", "left")
PAUSES = (None, START - INSTANT, START, START + INSTANT, START + timedelta(days=30))
NEEDS: tuple[Needs, ...] = get_args(Needs)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A contact in every way that the rule can tell apart."""

    contact_id: int
    standing: str | None
    suppressed: bool
    arriving: bool
    paused_until: datetime | None
    declined: bool

    def refusal(self, needs: Needs, now: datetime) -> str | None:
        """What the rule says, written down once more in plain words: the first reason that holds."""
        if self.standing is None and needs != "address":
            return "never joined"
        if self.suppressed:
            return "suppressed"
        if needs == "address":
            return None
        if self.standing == "left":
            return "left"
        if needs == "asked":
            return "already confirmed" if self.standing == "confirmed" else self._on_the_way()
        if self.standing == "pending":
            return "not confirmed"
        if self.arriving:
            return "arriving"
        if self.declined:
            return "declined"
        return "paused" if self.paused_until is not None and self.paused_until > now else None

    def _on_the_way(self) -> str | None:
        return "arriving" if self.arriving else None


@pytest.fixture
def cases(database: Database) -> list[Case]:
    with database.write() as session:
        return list(_every_case(session))


def _every_case(session: Session) -> Iterator[Case]:
    arrival = imports.begin(session, list="interest", fingerprint=b"sheet", now=START)
    ways = product(STANDINGS, (False, True), PAUSES, (False, True), (False, True))
    for number, (standing, suppressed, pause, declined, arriving) in enumerate(ways):
        address = addresses.parse(f"case{number}@example.org", pepper=PEPPER)
        contact = contacts.find_or_add(session, address, now=START)
        if suppressed:
            suppressions.add(session, address.digest, reason="staff", now=START)
        if standing is not None:
            subscription = subscriptions.ask(session, contact_id=contact.id, list="interest", now=START)
            subscription.state, subscription.paused_until = standing, pause
            subscription.arrival_id = arrival.id if arriving else None
        # A topic declined that is not the purpose's never matters.
        topics = {"calls"} | ({"updates"} if declined else set())
        topic_optouts.set_optouts(session, contact_id=contact.id, topics=topics, now=START)
        # A standing on another list never matters.
        subscriptions.ask(session, contact_id=contact.id, list="organizers", now=START)
        yield Case(
            contact_id=contact.id,
            standing=standing,
            suppressed=suppressed,
            paused_until=pause,
            declined=declined,
            arriving=arriving,
        )


def _answers(database: Database, cases: list[Case], needs: Needs, now: datetime) -> dict[int, str | None]:
    """Ask the rule all its three ways; they must agree."""
    purpose = Purpose(needs=needs, list="interest", topic="updates")
    may = permission.is_allowed(purpose, now=now)
    why = permission.refusal_reason(purpose, now=now)
    everybody = select(Contact.id).select_from(permission.join_subscriptions(purpose))
    with database.read() as session:
        allowed = set(session.scalars(everybody.where(may)))
        refusing = session.execute(everybody.add_columns(why).where(why.is_not(None)))
        refused = {row.id: row[1] for row in refusing}
        readers = permission.find_recipients(
            session, [case.contact_id for case in cases], purpose=purpose, now=now
        )
    assert allowed.isdisjoint(refused)
    assert {number for number, reader in readers.items() if reader.refusal is None} == allowed
    assert {number: reader.refusal for number, reader in readers.items() if reader.refusal} == refused
    known = {number: reader.refusal for number, reader in readers.items()}
    return {case.contact_id: known.get(case.contact_id, "never joined") for case in cases}


@given(needs=st.sampled_from(NEEDS), later=st.integers(-2, 2) | st.integers(-(10**13), 10**13))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_who_is_written_to_and_why_somebody_is_not_agree_in_every_case_at_every_moment(
    database: Database, cases: list[Case], needs: Needs, later: int
) -> None:
    now = START + later * INSTANT
    expected = {case.contact_id: case.refusal(needs, now) for case in cases}
    assert _answers(database, cases, needs, now) == expected


@pytest.mark.parametrize(
    ("now", "refusal"), [(START - INSTANT, "paused"), (START, None), (START + INSTANT, None)]
)
def test_a_pause_is_over_in_the_very_instant_it_was_asked_until(
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
    everybody = [ana.id, ben.id, cleo.id]
    with database.read() as session:
        purpose = Purpose(needs="confirmed", list="interest")
        readers = permission.find_recipients(session, everybody, purpose=purpose, now=clock.now())
        assert {number: reader.refusal for number, reader in readers.items()} == {
            ben.id: None,
            cleo.id: "left",
        }
        reader = readers[ben.id]
        assert (reader.email, reader.name, reader.language) == (ben.email, "Ben", "es")
        assert (reader.zone, reader.city) == ("America/Phoenix", "Phoenix")


def test_every_reason_has_a_sentence_and_those_that_end_are_not_lasting(
    database: Database, cases: list[Case]
) -> None:
    reasons = {
        reason for needs in NEEDS for reason in _answers(database, cases, needs, START).values() if reason
    }
    assert reasons == set(SENTENCES)
    assert reasons - PERMANENT_REASONS == {"paused", "not confirmed", "arriving"}


def test_many_readers_are_asked_in_one_statement(database: Database, cases: list[Case]) -> None:
    numbers = [case.contact_id for case in cases]
    purpose = Purpose(needs="confirmed", list="interest")
    with database.read() as session:
        with recorded(database) as for_one:
            permission.find_recipients(session, numbers[:1], purpose=purpose, now=START)
        with recorded(database) as for_all:
            permission.find_recipients(session, numbers, purpose=purpose, now=START)
            permission.find_recipients(session, [], purpose=purpose, now=START)
    assert (len(for_one), len(for_all)) == (1, 2)


def test_a_contact_stands_once_among_the_people_of_a_purpose(database: Database, cases: list[Case]) -> None:
    with database.read() as session:
        for needs in NEEDS:
            people = permission.join_subscriptions(Purpose(needs=needs, list="interest"))
            found = session.scalars(select(Contact.id).select_from(people)).all()
            joined = [case.contact_id for case in cases if case.standing or needs == "address"]
            assert sorted(found) == sorted(joined)
        assert session.scalar(select(Subscription.id).limit(1)) is not None
