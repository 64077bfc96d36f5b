"""Staff list the applications, and approve or reject them by number."""

import pytest

from lists import directory, subscriptions
from lists.directory import Application
from mailer.outbox import stats
from mailer.service import Service
from mailer.sources.confirmations import SignupRequest
from tests import commands
from tests.commands import Mailer
from tests.people import Person


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def apply(service: Service, person: Person, *, confirm: bool = True) -> int:
    now = service.clock.now()
    signup = SignupRequest(
        address=person.address, list="organizers", language="en", wording="", page="/organize"
    )
    with service.database.write() as session:
        application = Application(organization="St. Mark", role="pastor", zip="90012", offer="A hall")
        service.confirmations.record_signup(session, signup, now=now, application=application)
        subscription = subscriptions.find(session, contact_id=person.id, list="organizers")
        assert subscription is not None
        if confirm:
            service.confirmations.confirm(
                session, subscription_id=subscription.id, round=subscription.round, page="/confirm", now=now
            )
        return directory.list_applications(session)[-1].id


def test_ben_applies_is_approved_and_is_an_organizer(service: Service, mailer: Mailer, ben: Person) -> None:
    number = apply(service, ben)
    (waiting,) = mailer("organizer", "list", "--json").json
    assert (waiting["id"], waiting["organization"], waiting["email"]) == (number, "St. Mark", ben.email)
    assert "St. Mark" in mailer("organizer", "list").out
    result = mailer("organizer", "approve", number)
    assert result.out == f"St. Mark is approved, and {ben.email} is on the organizer list now.\n"
    assert mailer("organizer", "list").out == "Nobody waits for a decision.\n"
    with service.database.read() as session:
        assert subscriptions.count_by_state(session)["organizers", "confirmed"] == 1


def test_a_rejection_sends_nothing(service: Service, mailer: Mailer, ben: Person) -> None:
    number = apply(service, ben)
    with service.database.read() as session:
        before = stats.count_by_kind_and_state(session)
    assert mailer("organizer", "reject", number, "--json").json["state"] == "rejected"
    service.jobs.tick()
    with service.database.read() as session:
        after = stats.count_by_kind_and_state(session)
        assert subscriptions.count_by_state(session).get(("organizers", "confirmed")) is None
    assert {kind: number for kind, number in after.items() if kind[0] != "sequence"} == before


def test_cleo_who_left_since_is_not_approved(service: Service, mailer: Mailer, cleo: Person) -> None:
    number = apply(service, cleo)
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=cleo.id, now=service.clock.now())
    result = mailer("organizer", "approve", number)
    assert (result.status, "left the organizer list" in result.refusal) == (2, True)
    assert mailer("organizer", "list", "--json").json[0]["state"] == "waiting"


def test_nothing_is_decided_before_the_address_is_confirmed(
    service: Service, mailer: Mailer, ben: Person
) -> None:
    number = apply(service, ben, confirm=False)
    assert "has not confirmed the address yet" in mailer("organizer", "approve", number).refusal
    assert mailer("organizer", "list", "--state", "asked", "--json").json[0]["id"] == number
    assert "no application number 99" in mailer("organizer", "reject", 99).refusal
