"""Invitations: each contact of a call's audience is invited once, privately, in their language and time."""

from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import icalendar
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lists import subscriptions
from lists.db import Database
from lists.errors import BadInput, Conflict, NotFound
from lists.identity import erasure
from mailer.compose.composer import ReadyMessage
from mailer.events import events
from mailer.events.events import Event
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow, Result
from mailer.reasons import Reason
from mailer.settings.loading import Settings
from mailer.sources import invitations
from mailer.sources.invitations import REST_BETWEEN_PASSES, Rsvp, record_answer
from tests import people
from tests.calls import FROM, Calls, opened, read
from tests.clocks import StoppedClock
from tests.people import Person


@pytest.fixture
def calls(settings: Settings, database: Database, clock: StoppedClock) -> Calls:
    return opened(settings, database, clock)


def organize(session: Session, person: Person, *, now: datetime) -> None:
    """Subscribe a person to the organizer list, too."""
    subscription = subscriptions.ask(session, contact_id=person.id, list="organizers", now=now)
    subscriptions.confirm(session, subscription_id=subscription.id, round=subscription.round, now=now)


@pytest.fixture
def everyone(database: Database, clock: StoppedClock, ana: Person, ben: Person, cleo: Person) -> None:
    """Ana, Ben and Cleo are organizers, and Cleo has left."""
    with database.write() as session:
        for person in (ben, cleo):
            organize(session, person, now=clock.now())
        subscriptions.leave(session, contact_id=cleo.id, now=clock.now())


def text(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def entry(message: EmailMessage) -> Any:
    """Return the calendar entry, the same in the inline part and in the attachment."""
    parts = [
        part.get_payload(decode=True)
        for part in message.walk()
        if part.get_content_type() in ("text/calendar", "application/ics")
    ]
    assert len(parts) == 2 and parts[0] == parts[1]
    calendar = icalendar.Calendar.from_ical(parts[0])
    assert calendar["METHOD"] == "REQUEST"
    (event,) = calendar.walk("VEVENT")
    return event


def test_each_organizer_is_invited_in_their_language_and_time(
    calls: Calls, everyone: None, ana: Person, ben: Person, cleo: Person
) -> None:
    event = calls.plan()
    messages = calls.letters()
    assert sorted(messages) == [ana.email, ben.email]
    to_ana, to_ben = text(messages[ana.email]), text(messages[ben.email])
    assert messages[ana.email]["Subject"].endswith("December call")
    assert messages[ben.email]["Subject"].endswith("Llamada de diciembre")
    assert "Tuesday, December 8, 8:00 pm Eastern" in to_ana
    assert "your time" not in to_ana
    assert "martes 8 de diciembre, 8:00 p. m. hora del Este, 6:00 p. m. su hora en Phoenix" in to_ben
    for choice in ("yes", "maybe", "no"):
        assert calls.composer.links.rsvp_url(event.id, ben.id, answer=choice) in to_ben
    assert "https://meet.example.org/december" in to_ana
    assert "https://meet.example.org/december" in to_ben


def test_the_calendar_entry_is_private(calls: Calls, everyone: None, ana: Person, ben: Person) -> None:
    calls.plan()
    messages = calls.letters()
    for person, other in ((ana, ben), (ben, ana)):
        calendar_entry = entry(messages[person.email])
        assert calendar_entry["ATTENDEE"] == f"mailto:{person.email}"
        assert calendar_entry["ATTENDEE"].params["PARTSTAT"] == "NEEDS-ACTION"
        assert calendar_entry["ORGANIZER"] == f"mailto:{FROM[1]}"
        assert messages[person.email]["From"].addresses[0].addr_spec == FROM[1]
        assert other.email not in messages[person.email].as_string()
    spanish = entry(messages[ben.email])
    assert spanish["SUMMARY"] == "Llamada de diciembre"
    assert spanish["DESCRIPTION"].startswith("Con una abogada.\n\nmartes 8 de diciembre")
    assert spanish["DESCRIPTION"].endswith("Para entrar: https://meet.example.org/december")
    assert entry(messages[ana.email])["UID"] != spanish["UID"]


def test_a_change_of_the_clocks_before_the_call_is_told(calls: Calls, everyone: None, ben: Person) -> None:
    calls.plan(starts="2026-11-10 20:00")
    body = " ".join(text(calls.letters()[ben.email]).split())
    assert "los relojes se atrasan una hora el domingo 1 de noviembre" in body
    assert "en Phoenix los relojes no cambian" in body


def test_nobody_is_invited_before_staff_say_so_or_twice(calls: Calls, everyone: None) -> None:
    event = calls.plan(invite=False)
    assert (calls.fill(), calls.next_due()) == (0, None)
    for _ in range(2):
        with calls.database.write() as session:
            calls.source.invite(session, event.id, now=calls.clock.now(), actor="staff")
    assert calls.next_due() == calls.clock.now()
    assert [calls.fill(), calls.fill()] == [2, 0]
    assert calls.next_due() is None


def test_whoever_joins_later_is_invited_too_until_the_call_is_over(calls: Calls, ana: Person) -> None:
    event = calls.plan()
    assert calls.fill() == 1
    calls.clock.advance(days=3)
    dora = calls.add("Dora")
    assert calls.next_due() == calls.clock.now()
    assert calls.fill() == 1
    assert calls.invited() == [ana.id, dora.id]
    calls.clock.set(event.ends_at)
    calls.add("Eli")
    assert (calls.fill(), calls.next_due()) == (0, None)


def test_a_pause_is_waited_for(calls: Calls, ana: Person) -> None:
    calls.plan()
    until = calls.clock.now() + timedelta(days=10)
    with calls.database.write() as session:
        subscriptions.pause(session, contact_id=ana.id, until=until)
    assert (calls.fill(), calls.next_due()) == (0, until)
    calls.clock.set(until + timedelta(seconds=1))
    assert calls.fill() == 1


def test_leaving_after_being_put_into_the_outbox_stops_the_invitation(
    calls: Calls, everyone: None, ana: Person, ben: Person
) -> None:
    calls.plan()
    calls.fill()
    with calls.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=calls.clock.now())
    outcomes = {outcome.entry.contact_id: outcome for outcome in calls.compose()}
    assert isinstance(outcomes[ana.id], ReadyMessage)
    result = outcomes[ben.id]
    assert isinstance(result, Result)
    assert (result.state, result.reason) == ("cancelled", "left")


def test_a_resend_is_the_same_message_to_the_byte(calls: Calls, ana: Person) -> None:
    calls.plan()
    calls.fill()
    (first,) = calls.compose()
    assert isinstance(first, ReadyMessage)
    calls.clock.advance(hours=5)
    with calls.database.write() as session:
        outbox.give_back(session, [first.entry])
    (second,) = calls.compose()
    assert isinstance(second, ReadyMessage)
    assert second.message == first.message


def test_a_change_of_the_call_is_told_with_the_same_uid_and_replaces_what_waits(
    calls: Calls, ana: Person
) -> None:
    event = calls.plan()
    calls.fill()
    (first,) = calls.compose()
    assert isinstance(first, ReadyMessage)
    with calls.database.write() as session:
        outbox.give_back(session, [first.entry])
        stored = events.get(session, event.id)
        stored.sequence, stored.starts_at = 1, stored.starts_at + timedelta(hours=1)
    assert calls.fill() == 1
    old, new = calls.compose()
    assert isinstance(old, Result) and isinstance(new, ReadyMessage)
    assert (old.state, old.reason) == ("cancelled", Reason.NEWER_INVITATION)
    before, after = entry(read(first.message)), entry(read(new.message))
    assert before["UID"] == after["UID"]
    assert (before["SEQUENCE"], after["SEQUENCE"]) == (0, 1)
    assert after["DTSTART"].dt - before["DTSTART"].dt == timedelta(hours=1)


def test_nothing_leaves_for_a_call_that_is_over(calls: Calls, ana: Person) -> None:
    event = calls.plan()
    calls.fill()
    calls.clock.set(event.ends_at)
    assert calls.compose() == []


def test_nothing_leaves_for_a_call_that_is_cancelled(calls: Calls, ana: Person) -> None:
    event = calls.plan()
    calls.fill()
    with calls.database.write() as session:
        events.get(session, event.id).status = "cancelled"
    (result,) = calls.compose()
    assert isinstance(result, Result)
    assert (result.state, result.reason) == ("cancelled", Reason.CALL_OVER)


def test_an_invitation_never_waits_in_the_outbox_beyond_the_call(calls: Calls, ana: Person) -> None:
    event = calls.plan(starts="2026-10-20 12:00")
    calls.fill()
    with calls.database.read() as session:
        assert session.scalar(select(OutboxRow.expires_at)) == event.ends_at


def test_the_organizer_does_not_invite_herself(calls: Calls, ana: Person) -> None:
    with calls.database.write() as session:
        people.add(
            session, name="Calls", email="Calls@Campaign.example.org", language="en", zip="10027",
            list="organizers", now=calls.clock.now(),
        )  # fmt: skip
    event = calls.plan()
    assert calls.count_invitees(event).exclusions == {Reason.OWN_ADDRESS: 1}
    assert list(calls.letters()) == [ana.email]


def test_a_dry_run_counts_everyone_and_changes_nothing(
    calls: Calls, everyone: None, ana: Person, ben: Person
) -> None:
    event = calls.plan(invite=False)
    calls.add("Dora")
    with calls.database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=calls.clock.now() + timedelta(days=2))
    before = calls.count_invitees(event)
    assert (before.languages, before.exclusions) == ({"en": 2}, {"left": 1, "paused": 1})
    assert before.total == 2
    assert calls.invited() == []
    with calls.database.write() as session:
        calls.source.invite(session, event.id, now=calls.clock.now(), actor="staff")
    calls.fill()
    after = calls.count_invitees(event)
    assert (after.languages, after.exclusions) == ({}, {Reason.ALREADY_INVITED: 2, "left": 1, "paused": 1})


def test_a_long_audience_is_walked_through_in_batches_and_then_rested_from(calls: Calls) -> None:
    invited = [calls.add(name).id for name in ("Ana", "Dora", "Eli", "Fay", "Gus")]
    calls.plan()
    assert [calls.fill(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert sorted(calls.invited()) == sorted(invited)
    calls.add("Hal")
    assert (calls.fill(limit=2), calls.next_due()) == (0, None)
    calls.clock.advance(minutes=REST_BETWEEN_PASSES / timedelta(minutes=1))
    assert calls.next_due() == calls.clock.now()
    assert sum(calls.fill(limit=2) for _ in range(4)) == 1
    assert len(set(calls.invited())) == 6


def test_two_calls_are_invited_to_side_by_side(calls: Calls, ana: Person, ben: Person) -> None:
    calls.plan()
    calls.plan(audience="interest", title={"en": "A first look"})
    assert sorted(calls.letters()) == [ana.email, ben.email]


def test_a_call_that_finds_little_room_goes_on_at_the_next_tick(calls: Calls) -> None:
    for name in ("Ana", "Dora", "Eli", "Fay"):
        calls.add(name)
    calls.plan(starts="2026-11-10 20:00")
    calls.plan()
    assert [calls.fill(limit=6) for _ in range(3)] == [6, 2, 0]
    gus = calls.add("Gus")
    assert calls.fill(limit=6) == 2
    assert calls.invited()[-2:] == [gus.id, gus.id]


def reply(calls: Calls, event: Event, person: Person, word: str) -> None:
    with calls.database.write() as session:
        record_answer(session, event_id=event.id, contact_id=person.id, answer=word, now=calls.clock.now())


def count_answers(calls: Calls, event: Event) -> dict[str, int]:
    with calls.database.read() as session:
        return invitations.count_answers(session, event.id)


def test_the_latest_answer_counts_and_the_same_answer_twice_is_one(
    calls: Calls, everyone: None, ana: Person, ben: Person
) -> None:
    event = calls.plan()
    reply(calls, event, ana, "yes")
    reply(calls, event, ana, "yes")
    reply(calls, event, ben, "maybe")
    assert count_answers(calls, event) == {"yes": 1, "maybe": 1, "no": 0}
    calls.clock.advance(hours=1)
    reply(calls, event, ana, "no")
    assert count_answers(calls, event) == {"yes": 0, "maybe": 1, "no": 1}
    calls.clock.advance(minutes=-30)
    reply(calls, event, ana, "yes")  # an older answer that arrives late
    with calls.database.read() as session:
        assert invitations.get_answer(session, event_id=event.id, contact_id=ana.id) == "no"
        assert session.scalar(select(func.count()).select_from(Rsvp)) == 2


def test_an_answer_after_the_call_is_refused_in_the_readers_language(
    calls: Calls, everyone: None, ana: Person, ben: Person
) -> None:
    event = calls.plan()
    reply(calls, event, ana, "yes")
    calls.clock.set(event.ends_at)
    with pytest.raises(Conflict, match="This call is over"):
        reply(calls, event, ana, "no")
    with pytest.raises(Conflict, match="Esta llamada ya pasó"):
        reply(calls, event, ben, "no")
    assert count_answers(calls, event) == {"yes": 1, "maybe": 0, "no": 0}


def test_an_answer_to_a_cancelled_call_is_refused(calls: Calls, ana: Person) -> None:
    event = calls.plan()
    with calls.database.write() as session:
        events.get(session, event.id).status = "cancelled"
    with pytest.raises(Conflict, match="was cancelled"):
        reply(calls, event, ana, "yes")


def test_an_answer_is_one_of_three_words_to_a_call_that_is_there(calls: Calls, ana: Person) -> None:
    event = calls.plan()
    with pytest.raises(BadInput, match="yes, maybe or no"):
        reply(calls, event, ana, "perhaps")
    with calls.database.write() as session, pytest.raises(NotFound):
        record_answer(session, event_id=999, contact_id=ana.id, answer="yes", now=calls.clock.now())


def test_forgetting_somebody_forgets_their_answer(calls: Calls, cleo: Person) -> None:
    event = calls.plan(audience="interest")
    reply(calls, event, cleo, "yes")
    with calls.database.write() as session:
        erasure.erase_person(session, cleo.address, now=calls.clock.now(), actor="staff")
    assert count_answers(calls, event) == {"yes": 0, "maybe": 0, "no": 0}
    with pytest.raises(NotFound, match="no longer here"):
        reply(calls, event, cleo, "no")
