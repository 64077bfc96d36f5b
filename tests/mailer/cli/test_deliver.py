"""`mailer deliver` sends what is due, and prints what waits and why; `mailer outbox` shows each message."""

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
    """The same service with a relay that does not answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = SecretStr(f"smtp://127.0.0.1:{listener.getsockname()[1]}?tls=none")
        link = ResourceLink(en="https://example.org/it")
        resources = Resources(**dict.fromkeys(RESOURCES, link))
        earnest = settings.model_copy(update={"smtp_url": url, "resources": resources})
        instance = build(earnest, clock=clock)
        yield commands.mailer(instance)
        instance.close()


def list_delivered(service: Service) -> list[str]:
    with service.database.read() as session:
        return [message.to for message in postoffice.list_messages(session, limit=50)]


def test_what_is_due_reaches_ana_and_ben_and_never_cleo(
    service: Service, mailer: Mailer, ana: Person, ben: Person, cleo: Person
) -> None:
    result = mailer("deliver", "--until-empty")
    assert (result.status, result.out.splitlines()[0]) == (0, "2 messages are sent.")
    assert "The next one is due at" not in result.out
    assert sorted(list_delivered(service)) == sorted([ana.email, ben.email])
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
    result = unreachable("deliver", "--until-empty")
    assert result.status == 75
    assert "0 messages are sent." in result.out and "1 message is still waiting." in result.out
    assert "Nothing more can leave now:" in result.out
    assert "1  queued: Our mail server cannot be reached." in mailer("outbox", "stats").out
    assert mailer("deliver").status == 0
    assert list_delivered(service) == [ana.email]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # only there a single process delivers
def test_a_process_that_delivers_already_is_waited_for(
    service: Service, settings: Settings, mailer: Mailer, ben: Person
) -> None:
    handle = os.open(settings.home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    result = mailer("deliver")
    os.close(handle)
    assert (result.status, "none has left for half a minute" in result.out) == (75, True)
    assert list_delivered(service) == []
    assert mailer("deliver").status == 0
    assert list_delivered(service) == [ben.email]


def test_the_outbox_is_listed_and_each_message_tells_its_story(
    mailer: Mailer, ana: Person, ben: Person, cleo: Person
) -> None:
    assert mailer("outbox", "list").out == "There is no such message.\n"
    mailer("deliver")
    listed = mailer("outbox", "list", "--json").json
    assert {message["email"] for message in listed} == {ana.email, ben.email}
    (ben_message,) = [message for message in listed if message["email"] == ben.email]
    assert (ben_message["kind"], ben_message["template"], ben_message["state"]) == (
        "sequence",
        "welcome/toolkit",
        "sent",
    )
    shown = mailer("outbox", "show", ben_message["id"])
    assert ben.email in shown.out and "250" in shown.out
    message_report = mailer("outbox", "show", ben_message["id"], "--json").json
    assert [attempt["outcome"] for attempt in message_report["attempts"]] == ["sent"]
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
    assert "1  held: This person asked for a break." in mailer("outbox", "stats").out
    assert "1 message is held" in mailer("deliver").out


def test_a_message_that_is_not_there_is_told(mailer: Mailer) -> None:
    result = mailer("outbox", "show", 99)
    assert (result.status, result.refusal.startswith("There is no message number 99.")) == (2, True)
