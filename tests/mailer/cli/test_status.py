"""`mailer status`: shows at a glance what waits, and what to type."""

import pytest

from lists import suppressions
from mailer import service as composition
from mailer.coordination import suspensions
from mailer.service import Service
from mailer.settings.loading import Settings
from mailer.sources.staff_digest import CHECKS
from tests import commands
from tests.clocks import StoppedClock
from tests.people import Person

PAUSED = {
    "name": "pauses",
    "number": 1,
    "sentence": "Mail to one server or domain is paused.",
    "command": "mailer relay list",
}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


def pause(service: Service) -> None:
    with service.database.write() as session:
        suspensions.begin_by_staff(session, "domain/strict.example", real=service.clock.real())


def test_one_glance_says_what_waits_and_what_to_type(service: Service, ben: Person) -> None:
    mailer = commands.mailer(service)
    assert mailer("status").out.startswith("Nothing waits for you.\n")
    assert mailer("status", "--json").json == []
    pause(service)
    shown = mailer("status").out
    assert "Mail to one server or domain is paused." in shown and "mailer relay list" in shown
    assert ben.email not in shown and "strict.example" not in shown
    assert mailer("status", "--json").json == [PAUSED]


def test_it_says_whether_the_list_is_mailed(
    service: Service, settings: Settings, clock: StoppedClock
) -> None:
    assert "mailed to nobody: “staff_address” is not set." in commands.mailer(service)("status").out
    instance = composition.build(settings.model_copy(update={"staff_address": "a@example.org"}), clock=clock)
    try:
        mailer = commands.mailer(instance)
        assert "mailed to a@example.org, at most once a day." in mailer("status").out
        assert instance.staff_digest.staff is not None
        with instance.database.write() as session:
            suppressions.add(session, instance.staff_digest.staff.digest, reason="bounce", now=clock.now())
        assert "a@example.org must not be written to." in mailer("status").out
    finally:
        instance.close()


@pytest.mark.parametrize("typed", sorted({matter.command for matter in CHECKS}))
def test_what_is_to_be_typed_can_be_typed_as_it_stands(service: Service, typed: str) -> None:
    program, *words = typed.split()
    result = commands.mailer(service)(*words)
    assert (program, result.status, result.refusal) == ("mailer", 0, "")
