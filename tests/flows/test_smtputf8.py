"""An address beyond ASCII and relays that cannot, or can, send to it (RFC 6531): no address is suppressed."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from lists import subscriptions
from mailer.delivery.delivery import Delivery
from mailer.reasons import Reason
from mailer.service import Service
from mailer.smtp import capabilities
from mailer.smtp.capabilities import Capabilities
from mailer.smtp.relay_settings import Relay
from mailer.sources import staff_digest
from tests import people
from tests.clocks import StoppedClock
from tests.peers.polite import Polite, polite
from tests.people import Person
from tests.relays import broadcast, rows, states

BEGOÑA = "begoña@vecinos.example.org"


def begoña(service: Service) -> Person:
    with service.database.write() as session:
        return people.add(
            session,
            name="Begoña",
            email=BEGOÑA,
            language="es",
            zip="85003",
            list="interest",
            now=service.clock.now(),
        )


async def deliver(service: Service, *peers: Polite, weights: Sequence[int] = (1, 1)) -> Delivery:
    """Deliver what is due by these servers."""
    relays = [
        Relay(host="127.0.0.1", port=peer.port, tls="none", weight=weight)
        for peer, weight in zip(peers, weights, strict=False)
    ]
    with service.delivery(relays) as delivery:
        async with asyncio.timeout(20):
            await delivery.run(until_empty=True)
    return delivery


def list_waiting(service: Service) -> list[str]:
    with service.database.read() as session:
        return [item.name for item in staff_digest.list_items(session, now=service.clock.now())]


async def test_nobody_is_blamed_where_our_server_cannot_and_it_leaves_once_it_can(
    service: Service, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    begoña(service)
    broadcast(service)
    async with polite() as peer:
        await deliver(service, peer)
        assert states(service) == {"sent": 1, "held": 1}
        (held_row,) = [row for row in rows(service) if row.state == "held"]
        assert (held_row.reason, held_row.tries) == (Reason.NO_SMTPUTF8, 0)
        assert list_waiting(service) == ["servers"]
        release = service.jobs.get("release-held")
        assert release.run() == 0  # the server answered a moment ago
        peer.smtputf8 = True
        clock.advance(minutes=16)
        assert release.run() == 1  # one message tests whether it can by now
        await deliver(service, peer)
    assert states(service) == {"sent": 2}
    assert sorted(recipient for recipient, _ in peer.letters) == sorted([ben.email, BEGOÑA])
    assert list_waiting(service) == []


async def test_all_that_waited_leaves_with_the_first_answer_that_says_so(
    service: Service, clock: StoppedClock, ben: Person
) -> None:
    begoña(service)
    broadcast(service)
    broadcast(service)
    async with polite() as peer:
        await deliver(service, peer)
        clock.advance(minutes=1)  # one at a time to each: the second may have waited for the first
        await deliver(service, peer)
        assert states(service) == {"sent": 2, "held": 2}
        peer.smtputf8 = True
        broadcast(service)  # Ben's makes a new connection
        await deliver(service, peer)
        await deliver(service, peer)
    assert states(service) == {"sent": 6}


async def test_of_two_servers_the_one_that_can_gets_it_though_it_only_stands_by(
    service: Service, ben: Person, cleo: Person
) -> None:
    begoña(service)
    for _ in range(5):
        broadcast(service)
    async with polite() as unable, polite(smtputf8=True) as able:
        await deliver(service, unable, able, weights=(1, 0))
    assert states(service) == {"sent": 10}
    assert {recipient for recipient, _ in able.letters} == {BEGOÑA}
    assert {recipient for recipient, _ in unable.letters} == {ben.email}


async def test_a_message_larger_than_a_server_takes_waits_for_another(
    service: Service, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    broadcast(service)
    async with polite(size=500) as small, polite() as large:
        await deliver(service, small)
        (held_row,) = rows(service)
        assert (held_row.state, held_row.reason, held_row.detail) == (
            "held",
            Reason.RELAY_SIZE_LIMIT,
            "500",
        )
        clock.advance(minutes=16)
        assert service.jobs.get("release-held").run() == 1
        await deliver(service, small, large)
    assert [(row.state, row.reason) for row in rows(service)] == [("sent", "")]
    assert small.letters == []


async def test_what_a_server_refuses_as_too_large_is_nobody_s_refusal(
    service: Service, ben: Person, cleo: Person
) -> None:
    broadcast(service)
    async with polite(Polite(at_dot={ben.email: "552 5.3.4 message too big"})) as peer:
        await deliver(service, peer)
    (held_row,) = rows(service)
    assert (held_row.state, held_row.reason, held_row.detail) == (
        "held",
        Reason.SERVER_SIZE_LIMIT,
        "552 5.3.4 message too big",
    )


async def test_who_left_meanwhile_gets_nothing(service: Service, clock: StoppedClock) -> None:
    person = begoña(service)
    broadcast(service)
    async with polite() as peer:
        await deliver(service, peer)
        with service.database.write() as session:
            subscriptions.leave(session, contact_id=person.id, now=clock.now())
        service.jobs.get("release-held").run()
        peer.smtputf8 = True
        await deliver(service, peer)
    assert states(service) == {"cancelled": 1}
    assert peer.letters == []


def test_what_servers_said_is_known_to_other_processes(service: Service, clock: StoppedClock) -> None:
    able = Capabilities(smtputf8=True, eightbit=True, size=0)
    unable = Capabilities(smtputf8=False, eightbit=True, size=1_000)
    with service.database.write() as session:
        assert capabilities.can_carry_smtputf8(session, ["a:25"])  # not known yet
        assert capabilities.record(session, "a:25", unable, now=clock.now())
        assert not capabilities.record(session, "a:25", unable, now=clock.now() + timedelta(minutes=1))
        assert not capabilities.can_carry_smtputf8(session, ["a:25"])
        assert capabilities.can_carry_smtputf8(session, ["a:25", "b:25"])
        capabilities.record(session, "b:25", able, now=clock.now())
        assert capabilities.read_all(session) == {"a:25": unable, "b:25": able}
