"""`mailer list` counts people and says who may not be written to."""

import pytest

from lists import subscriptions, suppressions
from mailer.service import Service
from tests import commands
from tests.commands import Mailer
from tests.people import Person


@pytest.fixture
def mailer(service: Service, ana: Person, ben: Person, cleo: Person) -> Mailer:
    return commands.mailer(service)


def test_every_list_is_counted_by_state(mailer: Mailer) -> None:
    assert mailer("list", "--json").json == [
        {"list": "interest", "confirmed": 1, "pending": 0, "left": 1},
        {"list": "organizers", "confirmed": 1, "pending": 0, "left": 0},
    ]
    assert "interest" in mailer("list").out


def test_one_list_tells_who_would_get_an_update_and_why_cleo_would_not(mailer: Mailer) -> None:
    said = mailer("list", "show", "interest").out
    assert "An update sent now would reach 1: 1 in Spanish." in said
    assert "1  would not get it: This contact left the list." in said
    told = mailer("list", "show", "interest", "--json").json
    assert (told["readers"], told["languages"], told["left_out"]) == (1, {"es": 1}, {"left": 1})
    assert "people" not in told


def test_people_are_named_only_when_asked_for(mailer: Mailer, ben: Person, cleo: Person) -> None:
    assert ben.email not in mailer("list", "show", "interest").out
    said = mailer("list", "show", "interest", "--people")
    assert ben.email in said.out and cleo.email in said.out
    told = mailer("list", "show", "interest", "--people", "--limit", "1", "--json").json["people"]
    assert [person["email"] for person in told] == [cleo.email]


def test_the_suppressed_and_the_paused_are_counted_apart(
    service: Service, mailer: Mailer, ana: Person, ben: Person
) -> None:
    with service.database.write() as session:
        suppressions.add(session, ben.address.digest, reason="bounce", now=service.clock.now())
        subscriptions.pause(session, contact_id=ana.id, until=service.clock.now().replace(year=2027))
    assert mailer("list", "show", "interest", "--json").json["left_out"] == {"left": 1, "suppressed": 1}
    assert mailer("list", "show", "organizers", "--json").json["left_out"] == {"paused": 1}


def test_an_unknown_list_is_told_with_the_known_ones(mailer: Mailer) -> None:
    ran = mailer("list", "show", "friends")
    assert (ran.status, ran.refusal) == (
        2,
        "There is no list called “friends”. The lists are: interest, organizers.",
    )
