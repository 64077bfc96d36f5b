"""`mailer deliver` sends what is due, and says what waits and why; `mailer outbox` shows each message."""

import fcntl
import os
import socket
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from lists import subscriptions
from mailer.policy import RESOURCES
from mailer.processes.work import LOCK
from mailer.service import Service, build
from mailer.settings.loading import Settings
from mailer.settings.model import ResourceLink, Resources
from mailer.tryout import postoffice
from tests import commands
from tests.clocks import StoppedClock
from tests.commands import Mailer
from tests.people import Person


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


@pytest.fixture
def unreachable(settings: Settings, clock: StoppedClock) -> Iterator[Mailer]:
    """The same service with a mail server that nobody answers for."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = SecretStr(f"smtp://127.0.0.1:{taken.getsockname()[1]}?tls=none")
        link = ResourceLink(en="https://example.org/it")
        resources = Resources(**dict.fromkeys(RESOURCES, link))
        earnest = settings.model_copy(update={"smtp_url": url, "resources": resources})
        built = build(earnest, clock=clock)
        yield commands.mailer(built)
        built.close()


def delivered(service: Service) -> list[str]:
    with service.database.read() as session:
        return [message.to for message in postoffice.list_messages(session, limit=50)]


def test_what_is_due_reaches_ana_and_ben_and_never_cleo(
    service: Service, mailer: Mailer, ana: Person, ben: Person, cleo: Person
) -> None:
    ran = mailer("deliver", "--until-empty")
    assert (ran.status, ran.out.splitlines()[0]) == (0, "2 messages are sent.")
    assert "The next one is due at" not in ran.out
    assert sorted(delivered(service)) == sorted([ana.email, ben.email])
    assert mailer("deliver", "--json").json == {
        "sent": 0,
        "waiting": 0,
        "trouble": "",
        "next_due": None,
        "held": 0,
    }


def test_a_mail_server_that_does_not_answer_loses_nothing(
    service: Service, unreachable: Mailer, mailer: Mailer, ana: Person, cleo: Person
) -> None:
    ran = unreachable("deliver", "--until-empty")
    assert ran.status == 75
    assert "0 messages are sent." in ran.out and "1 message is still waiting." in ran.out
    assert "Nothing more can leave now:" in ran.out
    assert "1  queued: the relay cannot be reached" in mailer("outbox", "stats").out
    assert mailer("deliver").status == 0
    assert delivered(service) == [ana.email]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # only there is one deliverer
def test_a_process_that_delivers_already_is_waited_for(
    service: Service, settings: Settings, mailer: Mailer, ben: Person
) -> None:
    handle = os.open(settings.home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    ran = mailer("deliver")
    os.close(handle)
    assert (ran.status, "none has left for half a minute" in ran.out) == (75, True)
    assert delivered(service) == []
    assert mailer("deliver").status == 0
    assert delivered(service) == [ben.email]


def test_the_outbox_is_listed_and_each_message_tells_its_story(
    mailer: Mailer, ana: Person, ben: Person, cleo: Person
) -> None:
    assert mailer("outbox", "list").out == "There is no such message.\n"
    mailer("deliver")
    listed = mailer("outbox", "list", "--json").json
    assert {message["email"] for message in listed} == {ana.email, ben.email}
    (bens,) = [message for message in listed if message["email"] == ben.email]
    assert (bens["kind"], bens["template"], bens["state"]) == ("sequence", "welcome/toolkit", "sent")
    story = mailer("outbox", "show", bens["id"])
    assert ben.email in story.out and "250" in story.out
    told = mailer("outbox", "show", bens["id"], "--json").json
    assert [attempt["outcome"] for attempt in told["attempts"]] == ["sent"]
    assert len(mailer("outbox", "list", "--limit", 1, "--json").json) == 1
    assert mailer("outbox", "list", "--state", "failed", "--json").json == []
    assert mailer("outbox", "list", "--kind", "broadcast", "--json").json == []
    assert "Only the newest 1" in mailer("outbox", "list", "--limit", 1).out


def test_statistics_count_by_kind_and_state(service: Service, mailer: Mailer, ben: Person) -> None:
    assert mailer("outbox", "stats").out == "The outbox is empty.\n"
    service.jobs.tick()
    assert mailer("outbox", "stats", "--json").json["kinds"][0]["queued"] == 1
    with service.database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=service.clock.now().replace(year=2027))
    mailer("deliver")
    assert "1  held: paused" in mailer("outbox", "stats").out
    assert "1 message is held" in mailer("deliver").out


def test_a_message_that_is_not_there_is_told(mailer: Mailer) -> None:
    ran = mailer("outbox", "show", 99)
    assert (ran.status, ran.refusal.startswith("There is no message number 99.")) == (2, True)
