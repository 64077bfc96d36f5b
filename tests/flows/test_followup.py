"""The welcome of three people in three zones, across a change of the clock, by local time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from lists import directory, subscriptions
from lists.contacts import Contact
from lists.directory import Application
from lists.identity import erasure
from mailer.compose.editions import Edition
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from mailer.sources.journeys import Journey
from tests import people
from tests.clocks import StoppedClock
from tests.people import Person
from tests.relays import World, deliver

ZONES = {"10027": "America/New_York", "85003": "America/Phoenix", "90012": "America/Los_Angeles"}


@dataclass
class Story:
    """Actions of people at local times, one after another."""

    service: Service
    world: World
    clock: StoppedClock

    def until(self, text: str, zip: str = "10027") -> None:
        """Let time pass until a local moment, such as "2027-03-04 12:00"."""
        moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(ZONES[zip])).astimezone(UTC)
        machine = self.service.time_machine(drain=lambda: deliver(self.service, self.world))
        machine.advance(moment - self.clock.now())

    def joins(self, name: str, zip: str, *, language: str = "en") -> Person:
        with self.service.database.write() as session:
            return people.add(
                session,
                name=name,
                email=f"{name.lower()}@neighbors.example.org",
                language=language,
                zip=zip,
                list="interest",
                now=self.clock.now(),
            )

    def mails(self, person: Person, *, state: str = "sent") -> list[tuple[str, str]]:
        """Return the step and the local time of each mail that was sent, and check that it really arrived."""
        with self.service.database.read() as session:
            zone = session.scalar(select(Contact.zone).where(Contact.id == person.id)) or "America/New_York"
            rows = session.execute(
                select(Edition.name, OutboxRow.sent_at)
                .join(OutboxRow, OutboxRow.edition_id == Edition.id)
                .where(OutboxRow.contact_id == person.id, OutboxRow.state == state)
                .order_by(OutboxRow.sent_at)
            ).all()
        assert self.world.arrived.count(person.email) == len(rows)
        return [
            (name, sent_at.astimezone(ZoneInfo(zone)).strftime("%a %m-%d %H:%M"))
            for name, sent_at in rows
            if sent_at is not None
        ]

    def steps(self, person: Person) -> list[str]:
        return [name.removeprefix("welcome/") for name, _ in self.mails(person)]

    def journey(self, person: Person) -> tuple[str, str] | None:
        with self.service.database.read() as session:
            row = session.execute(
                select(Journey.state, Journey.step).where(Journey.contact_id == person.id)
            ).one_or_none()
        return None if row is None else (row.state, row.step)

    def act(self, what: Callable[..., object], person: Person, **how: object) -> None:
        """Do something with one person's subscription, now."""
        with self.service.database.write() as session:
            what(session, contact_id=person.id, **how)


@pytest.fixture
def story(service: Service, world: World, clock: StoppedClock) -> Story:
    clock.set(datetime(2027, 3, 4, 17, 0, tzinfo=UTC))
    return Story(service, world, clock)


# New York joins on Wednesday the 10th at 11:15, Phoenix on Thursday the 4th at 22:30, Los Angeles on Friday
# the 12th at 14:00. The clock changes on Sunday the 14th, but not in Phoenix.
BY_HAND = {
    "Nora": [
        ("welcome/toolkit", "Wed 03-10 11:15"),
        ("welcome/powerpoint", "Mon 03-15 10:00"),  # three days later is a Saturday
        ("welcome/detainers", "Mon 03-22 10:00"),
        ("welcome/partners", "Thu 03-25 10:00"),
        ("welcome/map", "Thu 04-01 10:00"),
    ],
    "Ben": [
        ("welcome/toolkit", "Fri 03-05 08:00"),  # the night is over
        ("welcome/powerpoint", "Mon 03-08 10:00"),
        ("welcome/detainers", "Mon 03-15 10:00"),
        ("welcome/partners", "Thu 03-18 10:00"),
        ("welcome/map", "Thu 03-25 10:00"),
    ],
    "Lou": [
        ("welcome/toolkit", "Fri 03-12 14:00"),
        ("welcome/powerpoint", "Mon 03-15 14:00"),  # the same hour, three days of 71 hours later
        ("welcome/detainers", "Mon 03-22 14:00"),
        ("welcome/partners", "Thu 03-25 14:00"),
        ("welcome/map", "Thu 04-01 14:00"),
    ],
}


def test_the_welcome_of_three_people_is_as_the_table_made_by_hand(story: Story, cleo: Person) -> None:
    story.until("2027-03-04 22:30", "85003")
    ben = story.joins("Ben", "85003", language="es")
    story.until("2027-03-10 11:15")
    nora = story.joins("Nora", "10027")
    story.until("2027-03-12 14:00", "90012")
    lou = story.joins("Lou", "90012")
    story.until("2027-05-01 00:00")
    for person in (nora, ben, lou):
        assert story.mails(person) == BY_HAND[person.name]
        assert story.journey(person) == ("done", "map")
    assert story.mails(cleo) == []
    spanish = [mail for mail in story.world.letters if b"ben@neighbors" in mail]
    assert len(spanish) == 5 and all(b'lang=3D"es"' in mail or b'lang="es"' in mail for mail in spanish)


def test_whoever_leaves_in_the_middle_gets_nothing_more(story: Story) -> None:
    nora, ben = story.joins("Nora", "10027"), story.joins("Ben", "85003", language="es")
    story.until("2027-03-09 00:00")
    story.act(subscriptions.leave, nora, now=story.clock.now())
    story.until("2027-05-01 00:00")
    assert story.steps(nora) == ["toolkit", "powerpoint"]
    assert story.journey(nora) == ("left", "detainers")
    assert len(story.steps(ben)) == 5


def test_whoever_leaves_and_joins_again_goes_on_where_it_stopped_and_gets_nothing_twice(story: Story) -> None:
    nora = story.joins("Nora", "10027")
    story.until("2027-03-09 00:00")
    story.act(subscriptions.leave, nora, now=story.clock.now())
    story.until("2027-04-02 09:00")
    assert story.journey(nora) == ("left", "detainers")
    story.joins("Nora", "10027")
    story.until("2027-06-01 00:00")
    assert story.mails(nora) == [
        ("welcome/toolkit", "Thu 03-04 12:00"),
        ("welcome/powerpoint", "Mon 03-08 10:00"),
        ("welcome/detainers", "Mon 04-05 10:00"),  # the second of April is a Friday
        ("welcome/partners", "Thu 04-08 10:00"),
        ("welcome/map", "Thu 04-15 10:00"),
    ]


def test_a_step_that_was_stopped_by_leaving_leaves_when_they_join_again(story: Story) -> None:
    nora = story.joins("Nora", "10027")
    story.service.jobs.tick()  # the toolkit waits in the outbox
    story.act(subscriptions.leave, nora, now=story.clock.now())
    deliver(story.service, story.world)
    assert story.journey(nora) == ("left", "toolkit")
    story.until("2027-03-09 12:00")
    story.joins("Nora", "10027")
    story.until("2027-03-10 12:00")
    assert story.mails(nora) == [("welcome/toolkit", "Tue 03-09 12:00")]


def test_whoever_pauses_gets_nothing_until_it_is_over_and_then_goes_on_without_a_burst(story: Story) -> None:
    nora = story.joins("Nora", "10027")
    story.until("2027-03-09 00:00")
    until = story.clock.now() + timedelta(days=30)
    story.act(subscriptions.pause, nora, until=until)
    story.until("2027-04-07 12:00")
    assert story.journey(nora) == ("paused", "detainers")
    story.until("2027-06-01 00:00")
    assert story.mails(nora) == [
        ("welcome/toolkit", "Thu 03-04 12:00"),
        ("welcome/powerpoint", "Mon 03-08 10:00"),
        ("welcome/detainers", "Thu 04-08 10:00"),  # the pause ends at one in the morning
        ("welcome/partners", "Mon 04-12 10:00"),
        ("welcome/map", "Mon 04-19 10:00"),
    ]


def test_whoever_ends_the_pause_early_goes_on_at_the_next_open_hour(story: Story) -> None:
    nora = story.joins("Nora", "10027")
    story.until("2027-03-09 00:00")
    story.act(subscriptions.pause, nora, until=story.clock.now() + timedelta(days=90))
    story.until("2027-03-16 20:00")
    story.act(subscriptions.pause, nora, until=None)
    story.until("2027-03-17 12:00")
    assert story.mails(nora)[-1] == ("welcome/detainers", "Wed 03-17 10:00")


def test_whoever_becomes_an_organizer_gets_no_more_welcome_but_the_organizers_letters(story: Story) -> None:
    nora = story.joins("Nora", "10027")
    story.until("2027-03-09 00:00")
    with story.service.database.write() as session:
        subscription = subscriptions.ask(
            session, contact_id=nora.id, list="organizers", now=story.clock.now()
        )
        subscriptions.confirm(
            session, subscription_id=subscription.id, round=subscription.round, now=story.clock.now()
        )
    story.until("2027-06-01 00:00")
    assert [name for name, _ in story.mails(nora)] == [
        "welcome/toolkit",
        "welcome/powerpoint",
        "organizer/hello",
        "organizer/first-call",
    ]


def test_whoever_has_applied_is_not_asked_to_apply(story: Story) -> None:
    nora = story.joins("Nora", "10027")
    story.until("2027-03-09 00:00")
    story.act(
        lambda session, **how: directory.add_application(
            session, Application(organization="St. Mark").clean(), **how
        ),
        nora,
        now=story.clock.now(),
    )
    story.until("2027-06-01 00:00")
    assert story.steps(nora) == ["toolkit", "powerpoint", "detainers", "partners"]
    assert story.journey(nora) == ("done", "map")


def test_whoever_is_forgotten_gets_nothing_more_and_leaves_no_trace(story: Story) -> None:
    nora, ben = story.joins("Nora", "10027"), story.joins("Ben", "85003")
    story.until("2027-03-09 00:00")
    with story.service.database.write() as session:
        erasure.erase_person(session, nora.address, now=story.clock.now(), actor="test")
    story.until("2027-06-01 00:00")
    assert story.world.arrived.count(nora.email) == 2
    assert story.journey(nora) is None
    assert len(story.steps(ben)) == 5


def test_a_service_that_stood_still_for_a_week_sends_no_burst(story: Story) -> None:
    nora = story.joins("Nora", "10027")
    story.until("2027-03-09 00:00")
    story.clock.advance(days=30)  # nobody ticks: the machine is off
    story.until("2027-04-09 12:00")
    assert story.steps(nora) == ["toolkit", "powerpoint", "detainers"]
    story.until("2027-06-01 00:00")
    assert story.mails(nora) == [
        ("welcome/toolkit", "Thu 03-04 12:00"),
        ("welcome/powerpoint", "Mon 03-08 10:00"),
        ("welcome/detainers", "Thu 04-08 10:00"),
        ("welcome/partners", "Mon 04-12 10:00"),
        ("welcome/map", "Mon 04-19 10:00"),
    ]


def test_a_mail_that_waited_through_a_week_without_power_is_given_up_and_the_next_comes_later(
    story: Story,
) -> None:
    nora = story.joins("Nora", "10027")
    story.service.jobs.tick()  # the toolkit waits in the outbox, and the machine stops
    story.clock.advance(days=7)
    story.until("2027-03-20 00:00")
    assert story.mails(nora) == [("welcome/powerpoint", "Mon 03-15 10:00")]
    assert story.journey(nora) == ("waiting", "detainers")


def test_a_clock_set_back_sends_nothing_again_and_nothing_early(story: Story) -> None:
    nora = story.joins("Nora", "10027")
    story.until("2027-03-09 00:00")
    story.clock.set(story.clock.real() - timedelta(hours=40))
    for _ in range(3):
        story.service.jobs.tick()
        deliver(story.service, story.world)
    assert story.steps(nora) == ["toolkit", "powerpoint"]
