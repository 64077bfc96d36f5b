"""Service: the parts that one process builds, and the relays that it may connect to."""

import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from lists.db import Database
from lists.errors import Conflict
from mailer import service as composition
from mailer.policy import POLICY
from mailer.service import Service
from mailer.settings.loading import Settings
from mailer.tryout import time_machine
from mailer.tryout.postoffice import PostOffice
from tests import commands
from tests.clocks import StoppedClock
from tests.people import Person
from tests.relays import broadcast

both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, and PostgreSQL too where a test is marked `both`: the outbox's own tests run on each."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def earnest(settings: Settings, **more: Any) -> Settings:
    """Return settings with a real mail server, on the same folder and database."""
    return Settings(
        home=settings.home,
        database_url=settings.database_url,
        smtp_url=SecretStr("smtp://ann:secret-word@relay.example.org:2525?tls=verified"),
        public_url="https://mail.example.org",
        from_address="campaign@example.org",
        sending_domains=("example.org",),
        postal_address="1 Main Street",
        **more,
    )


def test_every_kind_of_message_has_its_source(service: Service) -> None:
    assert set(service.sources) == set(POLICY)
    assert {name for source in service.sources.values() for name in source.kinds} == set(POLICY)


def test_two_processes_on_one_machine_have_two_names(service: Service, settings: Settings) -> None:
    other = composition.build(settings)
    assert other.name != service.name
    assert len(service.name) <= 40
    other.close()


def test_a_try_out_delivers_to_the_post_office_that_runs_or_to_one_of_its_own(
    service: Service, ben: Person
) -> None:
    post_office = PostOffice(service.database, service.clock, home=service.settings.home)
    port = post_office.start()
    with service.relays() as (relay,):
        assert (relay.host, relay.port, relay.tls) == ("127.0.0.1", port, "none")
    post_office.stop()
    with service.relays() as (relay,):
        assert relay.host == "127.0.0.1"
    assert not (service.settings.home / "postoffice.json").exists()


def test_a_real_mail_server_is_the_one_in_the_settings(
    settings: Settings, database: Database, clock: StoppedClock
) -> None:
    service = composition.build(earnest(settings), clock=clock)
    with service.relays() as (relay,):
        assert (relay.host, relay.port, relay.tls) == ("relay.example.org", 2525, "verified")
    assert "secret-word" not in repr(service)
    service.close()


def test_no_real_mail_leaves_from_a_database_whose_clock_was_moved(
    service: Service, settings: Settings, ben: Person, clock: StoppedClock
) -> None:
    broadcast(service)
    with service.database.write() as session:
        time_machine.move_clock_to(session, clock.real() + timedelta(days=1), real=clock.real())
    real = composition.build(earnest(settings))
    with pytest.raises(Conflict, match="Start with a new data folder"):
        real.deliver_until_empty()
    real.close()


@both
def test_delivering_by_hand_says_how_many_left(service: Service, ben: Person, cleo: Person) -> None:
    broadcast(service)
    delivery = service.deliver_until_empty()
    assert (delivery.sent, delivery.trouble) == (1, "")
    assert service.deliver_until_empty().sent == 0


def test_who_serves_is_told_of_a_broken_template_and_nothing_begins(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "templates" / "email"
    shutil.copytree(composition.EMAIL_TEMPLATES, folder)
    template_path = folder / "welcome" / "toolkit" / "es.md"
    template_path.write_text(template_path.read_text("utf-8") + "\n{{ secret.__class__ }}\n", "utf-8")
    monkeypatch.setattr(composition, "EMAIL_TEMPLATES", folder)
    monkeypatch.setenv("MAILER_HOME", str(tmp_path / "data"))
    refusal = commands.mailer(service)("serve").refusal
    assert re.search(r"welcome/toolkit/es\.md, line \d+", refusal)
