"""A slot is empty, a message is held, staff are notified once and fill it, the message is sent. And Cleo?"""

import asyncio
import quopri
from collections.abc import Iterator

import pytest

from lists.db import Database
from mailer import service as composition
from mailer.outbox import stats
from mailer.service import Service
from mailer.settings.loading import Settings
from mailer.smtp.relay_settings import Relay
from mailer.sources import broadcasts
from mailer.templates import templates
from mailer.templates.templates import Template
from tests import commands
from tests.clocks import StoppedClock
from tests.desk import WITH_LINK
from tests.mailer.test_service import earnest
from tests.peers.polite import polite
from tests.people import Person

STAFF = "office@example.org"


@pytest.fixture
def installation(settings: Settings, database: Database, clock: StoppedClock) -> Iterator[Service]:
    """The service for real mail, with empty slots and an address of staff."""
    instance = composition.build(earnest(settings, staff_address=STAFF), clock=clock)
    yield instance
    instance.close()


def update(service: Service) -> None:
    """Queue an update that leads to the toolkit."""
    now = service.clock.now()
    template = Template(name="update", sources=templates.parse_update(WITH_LINK, path="update.md"))
    with service.database.write() as session:
        edition = service.editions.freeze(session, template, "broadcast", now=now)
        broadcast = broadcasts.create(
            session, subject="Toolkit", audience="interest", edition_id=edition.id, now=now, actor="staff"
        )
        service.broadcasts.fill_batch(session, broadcast, now=now, limit=10)


def states(service: Service) -> dict[tuple[str, str], int]:
    with service.database.read() as session:
        return stats.count_by_kind_and_state(session)


async def test_an_empty_slot_is_told_to_staff_once_and_filling_it_lets_the_letter_go(
    installation: Service, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    mailer = commands.mailer(installation)
    update(installation)
    async with polite() as server:

        async def deliver() -> list[str]:
            before = len(server.letters)
            for job in ("release-held", "fill-notice"):
                installation.jobs.get(job).run()
            with installation.delivery([Relay(host="127.0.0.1", port=server.port, tls="none")]) as delivery:
                async with asyncio.timeout(30):
                    await delivery.run(until_empty=True)
            return [recipient for recipient, _ in server.letters[before:]]

        assert await deliver() == []
        assert states(installation) == {("broadcast", "held"): 1}
        assert await deliver() == [STAFF]
        mail = quopri.decodestring(server.letters[-1][1]).decode()
        assert "One email waits for a resource that nobody has given." in mail
        assert ben.email not in mail and "Ben" not in mail and cleo.email not in mail
        command = mailer("status", "--json").json[0]["command"]
        assert command == "mailer resource list" and command in mail
        clock.advance(days=2)
        assert await deliver() == []
        mailer("resource", "add", "toolkit", "--link", "https://example.org/kit.pdf", "--language", "en")
        assert await deliver() == [ben.email]
        clock.advance(days=9)
        assert await deliver() == []
    assert mailer("status", "--json").json == []
    assert states(installation) == {("broadcast", "sent"): 1, ("notice", "sent"): 1}
