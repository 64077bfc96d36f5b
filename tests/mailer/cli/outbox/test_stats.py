"""`mailer outbox stats` prints the progress, `mailer outbox show` the history of one message."""

from datetime import timedelta

import pytest
from sqlalchemy import text, update

from lists import subscriptions
from mailer.cli import output
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from tests import commands
from tests.clocks import StoppedClock
from tests.commands import Mailer
from tests.people import Person
from tests.relays import (
    DOWN,
    LATER,
    LOST,
    REFUSED,
    SENT,
    World,
    broadcast,
    confirmation,
    crowd,
    deliver,
    rows,
)


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def list_history(mailer: Mailer, number: int) -> list[str]:
    history: list[dict[str, str]] = mailer("outbox", "show", number, "--json").json["history"]
    return [each["what"] for each in history]


def test_stats_tell_what_waits_what_left_and_when_it_will_be_done(
    service: Service, mailer: Mailer, clock: StoppedClock, ana: Person, ben: Person, cleo: Person
) -> None:
    crowd(service, 9)
    broadcast(service)
    confirmation(service, ben)
    clock.advance(minutes=3)
    report = mailer("outbox", "stats", "--json").json
    assert (report["due"], report["later"], report["oldest_waiting_seconds"]) == (11, 0, 180)
    assert (report["left_last_minute"], report["left_last_hour"], report["finish"]) == (0, 0, None)
    assert report["states"]["queued"] == 11
    shown = mailer("outbox", "stats").out
    assert "unknown, because nothing has left within the last minute" in shown
    assert "due for 3 minutes" in shown
    assert shown.splitlines()[3].split() == ["all", "11"]


def test_stats_estimate_the_finish_from_the_present_pace(
    service: Service, mailer: Mailer, clock: StoppedClock, ben: Person, world: World
) -> None:
    crowd(service, 4)
    broadcast(service)
    deliver(service, world)
    assert "nothing waits" in mailer("outbox", "stats").out
    confirmation(service, ben)
    clock.advance(seconds=30)
    report = mailer("outbox", "stats", "--json").json
    assert (report["left_last_minute"], report["due"]) == (5, 1)
    assert report["finish"] is not None
    assert "5 in the last minute, 5 in the last hour" in mailer("outbox", "stats").out
    assert ", in 12 seconds" in mailer("outbox", "stats").out


def test_stats_say_that_nothing_is_due_while_something_is_due_later(
    service: Service, mailer: Mailer, clock: StoppedClock, ben: Person
) -> None:
    confirmation(service, ben)
    with service.database.write() as session:
        later = {"due_at": clock.now() + timedelta(days=1)}
        session.execute(update(OutboxRow).values(later).execution_options(synchronize_session=False))
    shown = mailer("outbox", "stats").out
    assert "nothing is due now" in shown and "nothing waits" not in shown


def test_a_message_that_had_to_be_tried_tells_each_answer_in_the_servers_words(
    service: Service, mailer: Mailer, clock: StoppedClock, ben: Person, world: World
) -> None:
    confirmation(service, ben)
    (row,) = rows(service)
    assert list_history(mailer, row.id) == [
        "It was put into the outbox.",
        "It is due and waits for delivery.",
    ]
    for answer in (DOWN, LATER):
        world.answer = lambda _, answer=answer: answer  # type: ignore[misc]
        deliver(service, world)
        clock.advance(minutes=1)
    assert list_history(mailer, row.id)[-3:] == [
        "The mail server could not be reached. It said: connection refused",
        "The server asked us to try again later. It said: 451 4.3.0 later",
        "It will be tried again. Their server asked us to try again later.",
    ]
    clock.advance(minutes=10)
    world.answer = lambda _: SENT
    deliver(service, world)
    assert (
        list_history(mailer, row.id)[-1]
        == "It was handed to the mail server, which took it. It said: 250 2.0.0 ok"
    )
    shown = mailer("outbox", "show", row.id).out
    assert "451 4.3.0 later" in shown and "What happened" in shown


def test_a_refusal_and_a_doubt_are_told_as_what_they_are(
    service: Service, mailer: Mailer, clock: StoppedClock, ana: Person, ben: Person, world: World
) -> None:
    broadcast(service)
    world.answer = lambda _: REFUSED
    deliver(service, world)
    broadcast(service, audience="organizers")
    world.answer = lambda _: LOST
    deliver(service, world)
    ben_row, ana_row = rows(service)
    assert list_history(mailer, ben_row.id)[1:] == [
        "The server refused it. It said: 550 5.1.1 gone",
        "It could not be sent, and nobody tries again. Their server refused it."
        " Its reply is with the attempts.",
    ]
    assert list_history(mailer, ana_row.id)[-1].startswith("Nobody can say whether it arrived. ")


def test_what_was_held_and_what_will_never_leave_say_why(
    service: Service, mailer: Mailer, clock: StoppedClock, ben: Person, world: World
) -> None:
    broadcast(service)
    (row,) = rows(service)
    with service.database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=clock.now() + timedelta(days=20))
    deliver(service, world)
    assert list_history(mailer, row.id)[-1].startswith(
        "It is held, and leaves when the reason is over. This person asked for a break."
    )
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    service.jobs.tick()
    assert list_history(mailer, row.id)[-1].startswith("It will not leave any more. ")


def test_what_was_given_up_and_what_is_on_its_way_are_told(
    service: Service, mailer: Mailer, clock: StoppedClock, ben: Person
) -> None:
    confirmation(service, ben)
    (row,) = rows(service)
    with service.database.write() as session:
        session.execute(text("UPDATE outbox SET state = 'sending', attempt = 1"))
    assert list_history(mailer, row.id)[1:] == ["A worker is handing it over."]
    with service.database.write() as session:
        session.execute(text("UPDATE outbox SET state = 'queued', attempt = 2"))
    assert list_history(mailer, row.id)[1] == "A worker took it up 2 times and gave it back without sending."
    clock.advance(days=3)
    service.jobs.tick()
    assert list_history(mailer, row.id)[-1] == "It was given up. It was too late to send it."


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_servers_words_cannot_steer_the_terminal(
    service: Service, mailer: Mailer, ben: Person, world: World
) -> None:
    confirmation(service, ben)
    (row,) = rows(service)
    world.answer = lambda _: type(REFUSED)(state="refused", code=550, reply="\x1b]0;owned\x07no")
    deliver(service, world)
    assert "\x1b" not in mailer("outbox", "show", row.id).out
    assert "\x1b" not in mailer("outbox", "show", row.id, "--json").out


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(0), "less than a second"),
        (timedelta(seconds=1), "1 second"),
        (timedelta(minutes=2, seconds=5), "2 minutes 5 seconds"),
        (timedelta(hours=1, seconds=5), "1 hour"),
        (timedelta(days=2, hours=3, minutes=9), "2 days 3 hours"),
        (timedelta(seconds=-5), "less than a second"),
    ],
)
def test_a_length_of_time_is_said_in_its_two_largest_units(length: timedelta, words: str) -> None:
    assert output.format_duration(length) == words
