"""The try-out's mail is read, and its clock moved, by hand."""

import threading
from datetime import timedelta

import pytest
from pydantic import SecretStr

from mailer.service import Service, build
from mailer.settings.loading import Settings
from mailer.tryout.postoffice import PostOffice
from tests import commands
from tests.commands import Mailer
from tests.people import Person


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def test_mails_are_listed_and_shown(mailer: Mailer, ben: Person, cleo: Person) -> None:
    assert mailer("postoffice", "list").out == "No mail has come yet.\n"
    mailer("deliver")
    (mail,) = mailer("postoffice", "list", "--json").json
    assert mail["to"] == ben.email
    said = mailer("postoffice", "show", mail["id"]).out
    assert mail["subject"] in said and "Ben" in said
    told = mailer("postoffice", "show", mail["id"], "--json").json
    assert told["text"] and "<" in told["html"] and "To:" in told["source"]
    assert "List-Unsubscribe" in mailer("postoffice", "show", mail["id"], "--source").out
    assert "no message 99" in mailer("postoffice", "show", 99).refusal


def test_25_days_bring_ben_the_whole_sequence_and_cleo_nothing(
    service: Service, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    before = service.clock.now()
    ran = mailer("postoffice", "advance", "--days", 25)
    assert ran.status == 0
    assert "mails came on the way" in ran.out
    assert service.clock.now() == before + timedelta(days=25)
    mails = mailer("postoffice", "list", "--json").json
    assert len(mails) > 3
    assert {mail["to"] for mail in mails} == {ben.email}
    assert len({mail["date"] for mail in mails}) == len(mails)


def test_the_clock_goes_to_the_next_mail_until_there_is_none(mailer: Mailer, ben: Person) -> None:
    came = []
    while mailer("postoffice", "advance", "--next", "--json").json["moved"]:
        came.append(len(mailer("postoffice", "list", "--json").json))
    assert came == sorted(came) and came[-1] == 5
    assert "stays where it is" in mailer("postoffice", "advance", "--next").out


def test_how_far_is_said_once(mailer: Mailer) -> None:
    for words in ([], ["--days", 1, "--next"], ["--days", 1, "--hours", 1]):
        ran = mailer("postoffice", "advance", *words)
        assert (ran.status, ran.refusal.startswith("Say how far to go")) == (2, True)
    assert mailer("postoffice", "advance", "--hours", 0).status == 2
    assert mailer("postoffice", "advance", "--days", 401).status == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one deliverer, by lock
def test_a_running_server_delivers_and_is_waited_for(
    service: Service, mailer: Mailer, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = PostOffice(service.database, service.clock, home=service.settings.home)
    office.start()
    over = threading.Event()

    def child() -> None:
        while not over.wait(0.05):
            service.deliver_until_empty()

    delivery = threading.Thread(target=child)
    delivery.start()
    try:
        assert mailer("postoffice", "advance", "--days", 25).status == 0
    finally:
        over.set()
        delivery.join()
        office.stop()
    assert len(mailer("postoffice", "list", "--json").json) == 5


def test_in_earnest_there_is_no_post_office(settings: Settings, service: Service) -> None:
    earnest = build(settings.model_copy(update={"smtp_url": SecretStr("smtp://127.0.0.1:25?tls=none")}))
    for words in (["list"], ["show", "1"], ["advance", "--days", "1"]):
        ran = commands.mailer(earnest)("postoffice", *words)
        assert (ran.status, ran.refusal.startswith("A mail server is set")) == (2, True)
    earnest.close()
