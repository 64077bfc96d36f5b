"""Journeys: wait in their own zone until they are due, and a tick reads only waiting ones."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError

from lists.db import Database
from lists.subscriptions import Subscription
from mailer.sources import journeys
from mailer.sources.journeys import STATES, Journey
from tests.clocks import StoppedClock
from tests.people import Person
from tests.races import at_once, on_postgresql

NEW_YORK, PHOENIX = "America/New_York", "America/Phoenix"


def add_journey(
    database: Database,
    person: Person,
    *,
    due_at: datetime,
    zone: str = PHOENIX,
    state: str = "waiting",
    sequence: str = "welcome",
    step: str = "toolkit",
) -> None:
    with database.write() as session:
        session.execute(
            insert(Journey).values(
                contact_id=person.id,
                sequence=sequence,
                step=step,
                zone=zone,
                due_at=due_at,
                state=state,
                started_at=due_at,
            )
        )


def mark_due(database: Database, now: datetime, *, zones: list[str], limit: int = 10) -> int:
    with database.write() as session:
        return journeys.mark_due(
            session, sequence="welcome", step="toolkit", zones=zones, now=now, limit=limit
        )


def states(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(select(Journey.state)))


def test_only_what_waits_is_due_and_in_an_open_zone_is_taken(
    database: Database, clock: StoppedClock, ana: Person, ben: Person
) -> None:
    now = clock.now()
    add_journey(database, ben, due_at=now, zone=PHOENIX)
    add_journey(database, ana, due_at=now + timedelta(seconds=1), zone=NEW_YORK)
    assert mark_due(database, now, zones=[]) == 0
    assert mark_due(database, now, zones=[NEW_YORK]) == 0
    assert mark_due(database, now, zones=[NEW_YORK, PHOENIX]) == 1
    assert mark_due(database, now, zones=[NEW_YORK, PHOENIX]) == 0
    assert states(database) == ["due", "waiting"]


def test_no_more_are_taken_than_the_limit_says(
    database: Database, clock: StoppedClock, ana: Person, ben: Person, cleo: Person
) -> None:
    for person in (ana, ben, cleo):
        add_journey(database, person, due_at=clock.now())
    assert mark_due(database, clock.now(), zones=[PHOENIX], limit=2) == 2
    assert mark_due(database, clock.now(), zones=[PHOENIX], limit=2) == 1


@on_postgresql
def test_two_that_take_at_once_share_and_neither_waits_for_the_other(
    database: Database, clock: StoppedClock, ana: Person, ben: Person, cleo: Person
) -> None:
    for person in (ana, ben, cleo):
        add_journey(database, person, due_at=clock.now())

    def work(session: object) -> int:
        return journeys.mark_due(
            session,  # type: ignore[arg-type]
            sequence="welcome",
            step="toolkit",
            zones=[PHOENIX],
            now=clock.now(),
            limit=10,
        )

    assert sum(at_once(database, work, work)) == 3


def test_one_contact_has_one_journey_in_a_sequence_and_no_state_but_those_known(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    add_journey(database, ben, due_at=clock.now())
    add_journey(database, ben, due_at=clock.now(), sequence="organizer")
    with pytest.raises(IntegrityError):
        add_journey(database, ben, due_at=clock.now())
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(update(Journey).values(state="lost"))
    assert "waiting" in STATES


def test_the_zones_are_those_in_which_somebody_waits(
    database: Database, clock: StoppedClock, ana: Person, ben: Person, cleo: Person
) -> None:
    add_journey(database, ana, due_at=clock.now(), zone=NEW_YORK)
    add_journey(database, ben, due_at=clock.now(), zone=PHOENIX)
    add_journey(database, cleo, due_at=clock.now(), zone="America/Los_Angeles", state="left")
    with database.read() as session:
        assert journeys.list_waiting_zones(session) == [NEW_YORK, PHOENIX]
        assert [(row.zone, row[3]) for row in journeys.list_earliest_due(session)] == [
            (NEW_YORK, clock.now()),
            (PHOENIX, clock.now()),
        ]
        assert journeys.count_by_step(session, "welcome") == {
            ("toolkit", "waiting"): 2,
            ("toolkit", "left"): 1,
        }


def test_nobody_waits_in_no_zone(database: Database) -> None:
    with database.read() as session:
        assert journeys.list_waiting_zones(session) == []
        assert journeys.list_earliest_due(session) == []


def test_a_pause_ends_to_the_microsecond_and_a_past_one_holds_nobody_back(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    add_journey(database, ben, due_at=clock.now(), state="paused")
    until = clock.now() + timedelta(days=1)
    with database.write() as session:
        session.execute(update(Subscription).values(paused_until=until))
    with database.write() as session:
        assert journeys.find_next_pause_end(session, now=clock.now()) == until
        journeys.end_pauses(session, now=until - timedelta(microseconds=1))
    assert states(database) == ["paused"]
    with database.write() as session:
        assert journeys.find_next_pause_end(session, now=until) is None
        journeys.end_pauses(session, now=until)
    assert states(database) == ["waiting"]


def test_a_tick_looks_only_at_the_index_of_those_who_wait(sqlite_url: str, clock: StoppedClock) -> None:
    database = Database(sqlite_url)
    with database.read() as session:
        plan = session.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT id FROM journeys"
                " WHERE state = 'waiting' AND zone IN ('a', 'b') AND due_at <= 1"
            )
        ).all()
    database.dispose()
    assert "ix_journeys_waiting (zone=? AND due_at<?)" in str(plan)
