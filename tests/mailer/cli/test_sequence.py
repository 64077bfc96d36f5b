"""`mailer sequence` prints when each step is sent, and how many people are at each."""

import pytest

from lists import subscriptions
from mailer.service import Service
from tests import commands
from tests.commands import Mailer
from tests.people import Person


@pytest.fixture
def mailer(service: Service, ana: Person, ben: Person, cleo: Person) -> Mailer:
    service.jobs.tick()
    return commands.mailer(service)


def test_each_sequence_counts_those_underway(mailer: Mailer) -> None:
    report = {row["name"]: row for row in mailer("sequence", "list", "--json").json}
    assert (report["welcome"]["list"], report["welcome"]["underway"]) == ("interest", 1)
    assert (report["organizer"]["list"], report["organizer"]["underway"]) == ("organizers", 1)
    assert "welcome" in mailer("sequence", "list").out


def test_a_sequence_shows_its_steps_and_where_ben_stands(service: Service, mailer: Mailer) -> None:
    report = mailer("sequence", "show", "welcome", "--json").json
    steps = report["steps"]
    assert [step["name"] for step in steps] == ["toolkit", "powerpoint", "detainers", "partners", "map"]
    assert steps[0]["sending"] + steps[0]["waiting"] == 1
    service.deliver_until_empty()
    steps = mailer("sequence", "show", "welcome", "--json").json["steps"]
    assert sum(step["waiting"] for step in steps) == 1
    printed = mailer("sequence", "show", "welcome").out
    assert steps[0]["subject"] in printed and "at once" in printed and "08:00 to 20:00" in printed


def test_cleo_is_nowhere_and_ben_who_leaves_is_counted_as_left(
    service: Service, mailer: Mailer, ben: Person
) -> None:
    assert mailer("sequence", "show", "welcome", "--json").json["left"] == 0
    service.deliver_until_empty()
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=service.clock.now())
    service.jobs.tick()
    assert mailer("sequence", "show", "welcome", "--json").json["left"] == 1


def test_an_unknown_sequence_is_told_with_the_known_ones(mailer: Mailer) -> None:
    result = mailer("sequence", "show", "farewell")
    assert (result.status, "organizer, welcome" in result.refusal) == (2, True)
