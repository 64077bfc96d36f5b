"""`mailer relay`: the relays as staff see them, and how staff pause and resume them."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from lists.clock import Clock
from mailer.coordination import suspensions
from mailer.service import Service, build
from mailer.settings.loading import Settings
from tests import commands
from tests.commands import Mailer
from tests.people import Person
from tests.relays import REFUSED, World, broadcast, deliver, make_pool

URL = "smtp://ann:secret@a.example.org:2525?rate=600/hour smtp://b.example.org?weight=0&connections=4"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def earnest(settings: Settings, service: Service, clock: Clock) -> Iterator[Service]:
    """The same service with two mail servers."""
    instance = build(settings.model_copy(update={"smtp_url": SecretStr(URL)}), clock=clock)
    yield instance
    instance.close()


@pytest.fixture
def mailer(earnest: Service) -> Mailer:
    return commands.mailer(earnest)


def test_each_mail_server_is_shown_with_what_it_took_and_without_its_password(
    service: Service, mailer: Mailer, world: World, ben: Person
) -> None:
    broadcast(service)
    deliver(service, world, pools=[make_pool(world, name="a.example.org:2525")])
    shown = mailer("relay", "list").out
    assert "a.example.org:2525" in shown and "600/hour" in shown and "4 connections" in shown
    assert "secret" not in shown
    first, second = mailer("relay", "list", "--json").json["relays"]
    assert (first["name"], first["sent"], first["sent_last_hour"]) == ("a.example.org:2525", 1, 1)
    assert (second["name"], second["sent"], second["state"]) == ("b.example.org:587", 0, "takes mail")


def test_staff_pause_a_mail_server_or_a_domain_and_resume_it(service: Service, mailer: Mailer) -> None:
    for name, scope in (("b.example.org:587", "relay/b.example.org:587"), ("Gmail.com", "domain/gmail.com")):
        assert mailer("relay", "pause", name).status == 0
        with service.database.read() as session:
            assert suspensions.read_all(session)[scope].try_at is None
        assert "staff paused it" in mailer("relay", "list").out
        assert "Paused: " in mailer("outbox", "stats").out
        assert mailer("relay", "resume", name).status == 0
        result = mailer("relay", "resume", name)
        assert (result.status, "is not paused" in result.refusal) == (2, True)
    for name in ("c.example.org:25", "gmial"):
        result = mailer("relay", "pause", name)
        assert result.status == 2
        assert f"no mail server called {name}, and it is not a domain, such as gmail.com." in result.refusal


def test_stats_tell_what_each_mail_server_answered(
    service: Service, mailer: Mailer, world: World, ben: Person
) -> None:
    broadcast(service)
    world.answer = lambda recipient: REFUSED
    deliver(service, world, pools=[make_pool(world, name="a.example.org:2525")])
    (row,) = mailer("outbox", "stats", "--json").json["relays"]
    assert (row["relay"], row["sent"], row["refused"]) == ("a.example.org:2525", 0, 1)
