"""Opening a connection to a relay: TLS, names, logins, and passwords that must stay secret."""

import logging

import pytest

from mailer.smtp.connection import Outcome, Relay
from tests.loops import event_loop_policy  # noqa: F401
from tests.peers.certificates import Authority
from tests.peers.doors import once
from tests.peers.polite import Polite, polite
from tests.peers.rude import rude


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority):
    return authority.issue("localhost")


def trusted(peer, authority, **options):
    return {"host": "localhost", "ca_file": str(authority.certificate), "tls": "verified", **options}


async def test_a_verified_relay_proves_its_name(authority, certificate):
    async with polite(certificate=certificate) as peer:
        assert (await once(peer.port, **trusted(peer, authority))).state == "sent"
        wrong_name = await once(peer.port, **trusted(peer, authority, host="127.0.0.1"))
        system_trust = await once(peer.port, host="localhost", tls="verified")
    for outcome in (wrong_name, system_trust):
        assert outcome.state == "unreachable"
        assert "certificate" in outcome.reply
    assert len(peer.letters) == 1


async def test_implicit_tls_proves_its_name_too(authority, certificate):
    async with polite(certificate=certificate, implicit=True) as peer:
        assert (await once(peer.port, **trusted(peer, authority, tls="implicit"))).state == "sent"
        untrusted = await once(peer.port, host="localhost", tls="implicit")
    assert untrusted.state == "unreachable"
    assert "certificate" in untrusted.reply.lower()


async def test_opportunistic_takes_what_is_offered_and_required_insists(certificate):
    async with polite(certificate=certificate) as able, polite() as unable:
        for tls in ("opportunistic", "required"):
            assert (await once(able.port, tls=tls)).state == "sent"
        assert (await once(unable.port, tls="opportunistic")).state == "sent"
        for tls in ("required", "verified"):
            outcome = await once(unable.port, tls=tls)
            assert outcome.state == "unreachable"
            assert "STARTTLS" in outcome.reply


async def test_a_login_is_tried_once_and_its_failure_is_the_relay_s(authority, certificate):
    async with polite(Polite(password="open sesame"), certificate=certificate) as peer:
        settings = trusted(peer, authority, username="campaign")
        assert (await once(peer.port, **settings, password="open sesame")).state == "sent"
        outcome = await once(peer.port, **settings, password="wrong")
    assert (outcome.state, outcome.code, outcome.enhanced_code) == ("unreachable", 535, "5.7.8")
    assert peer.logins == [True, False]


async def test_a_password_is_not_sent_in_the_clear_to_another_machine(monkeypatch):
    monkeypatch.setattr(Relay, "loopback", False)
    async with rude({"EHLO": "250-rude.example\r\n250 AUTH PLAIN"}) as peer:
        outcome = await once(peer.port, tls="opportunistic", username="ana", password="secret")
    assert outcome.state == "unreachable"
    assert not any(line.startswith("AUTH") for line in peer.heard)


async def test_a_server_that_repeats_our_password_does_not_get_it_into_the_record(caplog):
    caplog.set_level(logging.DEBUG)
    async with rude(
        {
            "EHLO": "250-rude.example\r\n250 AUTH PLAIN",
            "AUTH": "535 5.7.8 no: AUTH PLAIN AGFuYQBzZXNhbWU= sesame c2VzYW1l",
        }
    ) as peer:
        outcome = await once(peer.port, username="ana", password="sesame")
    assert outcome.reply == "5.7.8 no: AUTH PLAIN … … …"
    assert "sesame" not in caplog.text


async def test_a_server_without_login_is_named():
    async with rude() as peer:
        outcome = await once(peer.port, username="ana", password="secret")
    assert outcome == Outcome(state="unreachable", reply="The relay offers no login that this service knows.")
