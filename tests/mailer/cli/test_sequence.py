"""`mailer sequence` tells what leaves when, and where people stand."""

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
    told = {row["name"]: row for row in mailer("sequence", "list", "--json").json}
    assert (told["welcome"]["list"], told["welcome"]["underway"]) == ("interest", 1)
    assert (told["organizer"]["list"], told["organizer"]["underway"]) == ("organizers", 1)
    assert "welcome" in mailer("sequence", "list").out


def test_a_sequence_shows_its_steps_and_where_ben_stands(service: Service, mailer: Mailer) -> None:
    told = mailer("sequence", "show", "welcome", "--json").json
    steps = told["steps"]
    assert [step["name"] for step in steps] == ["toolkit", "powerpoint", "detainers", "partners", "map"]
    assert steps[0]["sending"] + steps[0]["waiting"] == 1
    service.deliver_until_empty()
    steps = mailer("sequence", "show", "welcome", "--json").json["steps"]
    assert sum(step["waiting"] for step in steps) == 1
    said = mailer("sequence", "show", "welcome").out
    assert steps[0]["subject"] in said and "at once" in said and "08:00 to 20:00" in said


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
    ran = mailer("sequence", "show", "farewell")
    assert (ran.status, "organizer, welcome" in ran.refusal) == (2, True)
