"""The try-out's mail is read, and its clock moved, by commands."""

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
    printed = mailer("postoffice", "show", mail["id"]).out
    assert mail["subject"] in printed and "Ben" in printed
    report = mailer("postoffice", "show", mail["id"], "--json").json
    assert report["text"] and "<" in report["html"] and "To:" in report["source"]
    assert "List-Unsubscribe" in mailer("postoffice", "show", mail["id"], "--source").out
    assert "no message 99" in mailer("postoffice", "show", 99).refusal


def test_25_days_bring_ben_the_whole_sequence_and_cleo_nothing(
    service: Service, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    before = service.clock.now()
    result = mailer("postoffice", "advance", "--days", 25)
    assert result.status == 0
    assert "mails came on the way" in result.out
    assert service.clock.now() == before + timedelta(days=25)
    mails = mailer("postoffice", "list", "--json").json
    assert len(mails) > 3
    assert {mail["to"] for mail in mails} == {ben.email}
    assert len({mail["date"] for mail in mails}) == len(mails)


def test_the_clock_goes_to_the_next_mail_until_there_is_none(mailer: Mailer, ben: Person) -> None:
    counts = []
    while mailer("postoffice", "advance", "--next", "--json").json["moved"]:
        counts.append(len(mailer("postoffice", "list", "--json").json))
    assert counts == sorted(counts) and counts[-1] == 5
    assert "stays where it is" in mailer("postoffice", "advance", "--next").out


def test_how_far_is_said_once(mailer: Mailer) -> None:
    for words in ([], ["--days", 1, "--next"], ["--days", 1, "--hours", 1]):
        result = mailer("postoffice", "advance", *words)
        assert (result.status, result.refusal.startswith("Say how far to go")) == (2, True)
    assert mailer("postoffice", "advance", "--hours", 0).status == 2
    assert mailer("postoffice", "advance", "--days", 401).status == 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite allows one deliverer
def test_a_running_server_delivers_and_is_waited_for(
    service: Service, mailer: Mailer, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    post_office = PostOffice(service.database, service.clock, home=service.settings.home)
    post_office.start()
    is_ended = threading.Event()

    def child() -> None:
        while not is_ended.wait(0.05):
            service.deliver_until_empty()

    delivery = threading.Thread(target=child)
    delivery.start()
    try:
        assert mailer("postoffice", "advance", "--days", 25).status == 0
    finally:
        is_ended.set()
        delivery.join()
        post_office.stop()
    assert len(mailer("postoffice", "list", "--json").json) == 5


def test_in_earnest_there_is_no_post_office(settings: Settings, service: Service) -> None:
    earnest = build(settings.model_copy(update={"smtp_url": SecretStr("smtp://127.0.0.1:25?tls=none")}))
    for words in (["list"], ["show", "1"], ["advance", "--days", "1"]):
        result = commands.mailer(earnest)("postoffice", *words)
        assert (result.status, result.refusal.startswith("A mail server is set")) == (2, True)
    earnest.close()
