"""Sent mail arrives signed, whatever its source; and the same row is sent as the same bytes."""

import asyncio
import re
from dataclasses import replace

import pytest

from lists.db import Database
from mailer.compose import dkim_keys
from mailer.compose.dkim import Signer
from mailer.events import events
from mailer.outbox import due_rows
from mailer.outbox.outbox import Result
from mailer.service import Service, build
from mailer.settings.loading import Settings
from mailer.smtp.connection import SmtpConnection
from mailer.smtp.relay_settings import Relay
from tests.bench.installation import broadcast
from tests.clocks import StoppedClock
from tests.dkim import dns, verified
from tests.peers.polite import Polite, polite
from tests.people import Person

DOMAIN = "lists.example"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database suffices: signing does not use it."""
    return sqlite_url


@pytest.fixture
def signing(settings: Settings, clock: StoppedClock) -> Service:
    """A service for real mail with an rsa and an ed25519 key; its relay is passed to `run`."""
    key_folder = dkim_keys.folder(settings.home)
    for kind in dkim_keys.KINDS:
        dkim_keys.generate(key_folder, domain=DOMAIN, name=f"{kind}-1", kind=kind)
    changes = {
        "from_address": f"campaign@{DOMAIN}",
        "reply_to": f"office@{DOMAIN}",
        "sending_domains": (DOMAIN,),
    }
    return build(settings.model_copy(update=changes), clock=clock)


async def run(service: Service, peer: Polite) -> None:
    with service.delivery([Relay(host="127.0.0.1", port=peer.port, tls="none")]) as delivery:
        await delivery.run(until_empty=True)


def plan(service: Service, database: Database, clock: StoppedClock) -> None:
    """Queue an update for the interest list and a call for the organizers."""
    broadcast(service, paragraphs=1)
    with database.write() as session:
        call = events.create(
            session, title={"en": "December call", "es": "Llamada"}, description={"en": "With an attorney."},
            starts="2026-12-08 20:00", zone="America/New_York", minutes=60, audience="organizers",
            join_url="https://meet.example.org/december", actor="staff", now=clock.now(),
        )  # fmt: skip
        service.invitations.invite(session, call.id, now=clock.now(), actor="staff")
    service.jobs.tick()


async def test_an_update_and_an_invitation_arrive_signed_and_cleo_gets_neither(
    signing: Service, database: Database, clock: StoppedClock, ana: Person, ben: Person, cleo: Person
) -> None:
    await asyncio.to_thread(plan, signing, database, clock)
    async with polite() as peer:
        await run(signing, peer)
    arrived = dict(peer.letters)
    assert ana.email in arrived and ben.email in arrived and cleo.email not in arrived
    assert any(b"text/calendar" in octets for to, octets in peer.letters if to == ana.email)
    assert any(b"List-Unsubscribe-Post:" in octets for to, octets in peer.letters if to == ben.email)
    resolver = dns(signing.composer.signer.keys)
    for _, octets in peer.letters:
        assert verified(octets, resolver) == [True, True]
        assert (
            verified(octets.replace(b"\r\nList-", b"\r\nX-List-"), resolver)
            == [b"\r\nList-" not in octets] * 2
        )
    signing.close()


async def test_the_same_row_leaves_as_the_same_bytes_after_a_refusal_for_now(
    signing: Service, database: Database, clock: StoppedClock, ben: Person
) -> None:
    await asyncio.to_thread(plan, signing, database, clock)
    first: list[bytes] = []

    class Busy(Polite):
        async def handle_DATA(self, server, session, envelope):  # noqa: N802
            if not first:
                first.append(envelope.original_content)
                return "451 4.3.0 later"
            return await super().handle_DATA(server, session, envelope)

    async with polite(Busy()) as peer:
        await run(signing, peer)
        clock.advance(hours=1)
        await run(signing, peer)
    message_id = re.search(rb"\r\nMessage-ID:\s+(\S+)", first[0])
    repeated = [octets for _, octets in peer.letters if message_id and message_id[1] in octets]
    assert repeated == first
    signing.close()


async def test_dots_and_empty_lines_survive_the_way(signing: Service, clock: StoppedClock) -> None:
    keys = signing.composer.signer.keys
    message = f"From: campaign@{DOMAIN}\r\nTo: ana@stmark.example.org\r\nSubject: .\r\n\r\n".encode()
    message += b".\r\n..\r\n.x\r\n\r\n \r\nx \t y\r\n\r\n\r\n"
    signed = Signer(keys=keys).sign(message, at=clock.now())
    async with polite() as peer:
        connection = SmtpConnection(Relay(host="127.0.0.1", port=peer.port, tls="none"), helo=DOMAIN)
        to = "ana@stmark.example.org"
        outcome = await connection.send(sender=f"campaign@{DOMAIN}", recipient=to, message=signed)
        await connection.close()
    assert outcome.state == "sent"
    assert verified(peer.letters[0][1], dns(keys)) == [True, True]


def test_what_cannot_be_signed_is_kept_and_told(
    signing: Service, database: Database, clock: StoppedClock, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(signing, database, clock)
    monkeypatch.setattr("mailer.compose.mime.encode", lambda message: b"From: x\n\nno CRLF")
    with database.write() as session:
        rows = due_rows.claim(session, worker="w", limit=5, now=clock.now(), lease_until=clock.now())
    with database.read() as session:
        results = signing.composer.compose(session, rows, now=clock.now())
    assert results and all(isinstance(result, Result) for result in results)
    assert all(result.state == "held" and "cannot be signed" in result.detail for result in results)
    signing.close()


def test_messages_signed_in_parts_keep_their_order(
    signing: Service, database: Database, clock: StoppedClock, ana: Person, ben: Person
) -> None:
    plan(signing, database, clock)
    with database.write() as session:
        rows = due_rows.claim(session, worker="w", limit=5, now=clock.now(), lease_until=clock.now())
    parts: list[int] = []

    def spread(sign, several):
        parts.extend(map(len, several))
        return [sign(part) for part in several]

    with database.read() as session:
        results = replace(signing.composer, parallel_map=spread).compose(session, rows, now=clock.now())
    assert [result.entry.id for result in results] == [row.id for row in rows]
    assert len(parts) == 2 and sum(parts) == len(rows) > 1
    signing.close()
