"""Events: a call is created with a time, a zone and a list that exist."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from lists.audit import AuditEntry
from lists.db import Database
from lists.errors import BadInput, Conflict, MailerError, NotFound
from mailer.events import events
from mailer.events.events import Event, parse_start
from tests.clocks import StoppedClock

NEW_YORK = "America/New_York"
DECEMBER: dict[str, Any] = {
    "title": {"en": "December call", "es": "Llamada de diciembre"},
    "starts": "2026-12-08 20:00",
    "zone": NEW_YORK,
    "minutes": 60,
    "join_url": "https://meet.example.org/december",
    "audience": "organizers",
    "actor": "staff",
}


def create_event(database: Database, clock: StoppedClock, **changes: Any) -> Event:
    with database.write() as session:
        return events.create(session, **{**DECEMBER, **changes}, now=clock.now())


def test_a_call_at_eight_eastern_is_kept_as_a_moment(database: Database, clock: StoppedClock) -> None:
    event = create_event(database, clock)
    with database.read() as session:
        stored = events.get(session, event.id)
    assert stored.starts_at == datetime(2026, 12, 9, 1, 0, tzinfo=UTC)
    assert stored.ends_at == datetime(2026, 12, 9, 2, 0, tzinfo=UTC)
    assert (stored.sequence, stored.status, stored.invited_at, stored.created_at) == (
        0,
        "planned",
        None,
        clock.now(),
    )
    assert (stored.title_in("es"), stored.title_in("fr"), stored.description_in("en")) == (
        "Llamada de diciembre", "December call", "",
    )  # fmt: skip


def test_a_title_in_one_language_serves_both(database: Database, clock: StoppedClock) -> None:
    event = create_event(database, clock, title={"es": "Llamada"}, description={"en": "With an attorney."})
    assert (event.title_in("en"), event.description_in("es")) == ("Llamada", "With an attorney.")


def test_planning_and_inviting_are_written_down(database: Database, clock: StoppedClock) -> None:
    event = create_event(database, clock)
    with database.write() as session:
        for _ in range(2):
            events.open_invitations(session, event.id, domain="example.org", now=clock.now(), actor="staff")
    with database.read() as session:
        entries = session.execute(select(AuditEntry.action, AuditEntry.subject)).all()
    assert [tuple(entry) for entry in entries] == [
        ("event create", f"event {event.id}"),
        ("event invite", f"event {event.id}"),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"zone": "America/NewYork"}, "Did you mean America/New_York?"),
        ({"zone": "Phoenix"}, "Did you mean America/Phoenix?"),
        ({"zone": ""}, "no time zone called"),
        ({"zone": "../../etc/passwd"}, "no time zone called"),
        ({"starts": "tomorrow at eight"}, "like 2026-12-08 20:00"),
        ({"starts": "2026-02-30 20:00"}, "like 2026-12-08 20:00"),
        ({"starts": "2026-12-08"}, "like 2026-12-08 20:00"),
        ({"starts": "2026-12-08 20:00+05:00"}, "like 2026-12-08 20:00"),
        ({"starts": "9999-12-31 23:59"}, "is not a time|check the year"),
        ({"starts": "2026-10-20 10:59"}, "in the past"),
        ({"starts": "2062-12-08 20:00"}, "check the year"),
        ({"starts": "2027-03-14 02:30"}, "does not exist in .* 01:30 or 2027-03-14 03:30"),
        ({"starts": "2026-11-01 01:30"}, "comes twice in America/New_York"),
        ({"minutes": 0}, "takes 5 to 720 minutes"),
        ({"minutes": -60}, "takes 5 to 720 minutes"),
        ({"minutes": 721}, "takes 5 to 720 minutes"),
        ({"join_url": ""}, "must begin with https://"),
        ({"join_url": "meet.example.org"}, "must begin with https://"),
        ({"join_url": "javascript:alert(1)"}, "must begin with https://"),
        ({"join_url": "https://meet.example.org/\r\nATTENDEE:mailto:x@y.example"}, "line break"),
        ({"join_url": "https://meet.example.org/" + "x" * 1000}, "longer than"),
        ({"audience": "everyone"}, "The lists are: interest, organizers."),
        ({"title": {}}, "needs a title"),
        ({"title": {"en": "  "}}, "needs a title"),
        ({"title": {"en": "a\r\nBcc: x"}}, "line break"),
        ({"title": {"en": "x" * 121}}, "longer than 120"),
        ({"title": {"fr": "Appel"}}, "no language called"),
        ({"description": {"en": "x" * 2001}}, "longer than 2000"),
        ({"description": {"en": "a\0b"}}, "hidden character"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_a_sentence(
    sqlite_url: str, clock: StoppedClock, change: dict[str, Any], words: str
) -> None:
    database = Database(sqlite_url)
    with pytest.raises((BadInput, NotFound), match=words):
        create_event(database, clock, **change)
    with database.read() as session:
        assert events.list_all(session) == []
    database.dispose()


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-10-31 20:00", "2026-11-01 00:00"),  # the day before the clocks go back
        ("2026-11-01 20:00", "2026-11-02 01:00"),  # the day they go back
        ("2027-03-13 20:00", "2027-03-14 01:00"),  # the day before they go forward
        ("2027-03-14 20:00", "2027-03-15 00:00"),  # the day they go forward
        ("2028-02-29 20:00", "2028-03-01 01:00"),
        ("2026-11-01T02:00", "2026-11-01 07:00"),
    ],
)
def test_eight_in_the_evening_is_found_through_both_changes_of_the_clocks(local: str, utc: str) -> None:
    assert parse_start(local, zone=NEW_YORK) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


def test_a_zone_without_changes_has_every_hour_once() -> None:
    assert parse_start("2026-11-01 01:30", zone="America/Phoenix").hour == 8


@given(st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)), st.sampled_from([NEW_YORK, "Europe/London"]))  # noqa: DTZ001
def test_every_minute_is_one_moment_or_a_sentence(local: datetime, zone: str) -> None:
    text = local.strftime("%Y-%m-%d %H:%M")
    try:
        moment = parse_start(text, zone=zone)
    except BadInput:
        return
    assert moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") == text


@given(st.text(max_size=30), st.sampled_from([NEW_YORK, "UTC"]) | st.text(max_size=30))
def test_any_text_is_a_moment_or_a_sentence(local: str, zone: str) -> None:
    try:
        parse_start(local, zone=zone)
    except MailerError as error:
        assert str(error).endswith((".", "?"))


def test_the_next_call_comes_first_and_one_that_is_over_does_not(
    database: Database, clock: StoppedClock
) -> None:
    later = create_event(database, clock)
    sooner = create_event(database, clock, starts="2026-11-10 20:00", audience="interest")
    clock.set(sooner.starts_at + timedelta(minutes=30))
    with database.read() as session:
        assert [event.id for event in events.list_upcoming(session, now=clock.now())] == [sooner.id, later.id]
        organizer_events = events.list_upcoming(session, now=clock.now(), audience="organizers")
        assert [event.id for event in organizer_events] == [later.id]
        assert [event.id for event in events.list_all(session)] == [later.id, sooner.id]
    clock.set(sooner.ends_at)
    with database.read() as session:
        assert [event.id for event in events.list_upcoming(session, now=clock.now())] == [later.id]


def test_nobody_is_invited_to_a_call_that_is_over_cancelled_or_unknown(
    database: Database, clock: StoppedClock
) -> None:
    event = create_event(database, clock)
    with database.write() as session, pytest.raises(NotFound):
        events.open_invitations(session, 999, domain="example.org", now=clock.now(), actor="staff")
    with database.write() as session:
        events.get(session, event.id).status = "cancelled"
    with database.write() as session, pytest.raises(Conflict, match="cancelled"):
        events.open_invitations(session, event.id, domain="example.org", now=clock.now(), actor="staff")
    with database.write() as session:
        events.get(session, event.id).status = "planned"
    with database.write() as session, pytest.raises(Conflict, match="is over"):
        events.open_invitations(session, event.id, domain="example.org", now=event.ends_at, actor="staff")
