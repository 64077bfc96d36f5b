"""Logins by every method, and tokens that a program prints instead of a password."""

import base64
import logging

import pytest

from lists.errors import BadSettings
from mailer.smtp import oauth_token
from mailer.smtp.connection import SmtpConnection
from mailer.smtp.oauth_token import OAuthTokenProvider
from mailer.smtp.relay_settings import Relay
from tests.peers.doors import HASTE, once, send
from tests.peers.polite import Polite, polite
from tests.peers.rude import rude

TOKEN = "ya29.token-of-the-day"
OFFER = "250-rude.example\r\n250 AUTH XOAUTH2"


@pytest.fixture
def program(tmp_path):
    """A program that counts its runs in a file and runs the lines of the test."""

    def write(lines):
        path = tmp_path / "token"
        path.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\n{lines}\n")
        path.chmod(0o700)
        return str(path)

    return write


def count_runs(tmp_path):
    return len((tmp_path / "runs").read_text().splitlines())


def build_connection(port, command):
    relay = Relay(host="127.0.0.1", port=port, tls="none", username="campaign", token_command=command)
    return SmtpConnection(
        relay, helo="mailer.example", timeouts=HASTE, tokens=OAuthTokenProvider(command), messages=1
    )


async def test_a_token_from_the_program_opens_the_relay_and_is_kept_for_the_next_connection(
    tmp_path, program, caplog
):
    caplog.set_level(logging.DEBUG)
    async with rude({"EHLO": OFFER, "AUTH": "235 2.7.0 welcome"}) as peer:
        connection = build_connection(peer.port, program(f"echo {TOKEN}"))
        assert [(await send(connection)).state for _ in range(3)] == ["sent"] * 3
        await connection.close()
    assert (peer.connections, count_runs(tmp_path)) == (3, 1)
    (login_line, *_) = [line for line in peer.heard if line.startswith("AUTH")]
    assert base64.b64decode(login_line.split()[2]) == f"user=campaign\1auth=Bearer {TOKEN}\1\1".encode()
    assert TOKEN not in caplog.text


async def test_a_token_that_is_refused_is_asked_for_once_more_and_then_it_is_the_relay_s_trouble(
    tmp_path, program
):
    async with rude({"EHLO": OFFER, "AUTH": f"535 5.7.8 {TOKEN} has run out"}) as peer:
        connection = build_connection(peer.port, program(f"echo {TOKEN}"))
        outcome = await send(connection)
        await connection.close()
    assert (outcome.state, outcome.code) == ("unreachable", 535)
    assert TOKEN not in outcome.reply
    assert count_runs(tmp_path) == 2
    assert not any(line.startswith("MAIL") for line in peer.heard)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("exit 3", "status 3"),
        ("true", "gave no token"),
        ("echo one two", "gave no token"),
        ("sleep 5", "in time"),
        ("head -c 10000000 /dev/zero", "gave no token"),
    ],
)
async def test_a_program_that_gives_no_token_is_nobody_s_fault_but_ours(program, monkeypatch, lines, words):
    monkeypatch.setattr(oauth_token, "TIMEOUT_SECONDS", 2.0)
    async with rude({"EHLO": OFFER}) as peer:
        outcome = await send(build_connection(peer.port, program(lines)))
    assert outcome.state == "unreachable"
    assert words in outcome.reply


async def test_a_program_that_is_not_there_is_named_as_such():
    async with rude({"EHLO": OFFER}) as peer:
        outcome = await send(build_connection(peer.port, "/nowhere/token"))
    assert outcome.state == "unreachable" and "cannot be run" in outcome.reply


async def test_tokens_go_only_where_they_are_asked_for(program):
    async with rude({"EHLO": "250-rude.example\r\n250 AUTH PLAIN"}) as peer:
        outcome = await send(build_connection(peer.port, program(f"echo {TOKEN}")))
    assert "does not offer XOAUTH2" in outcome.reply
    assert not any(line.startswith("AUTH") for line in peer.heard)


@pytest.mark.parametrize("method", ["PLAIN", "LOGIN"])
async def test_a_password_is_told_by_each_method_that_the_server_offers(method):
    peer = Polite(password="open sesame")
    async with polite(peer, only=method):
        outcome = await once(peer.port, username="campaign", password="open sesame")
    assert outcome.state == "sent"
    assert peer.logins == [True]


async def test_by_cram_md5_the_password_itself_is_never_told():
    challenge = base64.b64encode(b"<1896.697170952@rude.example>").decode()
    replies = {"EHLO": "250-rude.example\r\n250 AUTH CRAM-MD5", "AUTH": f"334 {challenge}"}
    async with rude(replies) as peer:
        await once(peer.port, username="campaign", password="open sesame")
    assert peer.heard[1] == "AUTH CRAM-MD5"
    assert base64.b64decode(peer.heard[2]).startswith(b"campaign ")
    assert b"sesame" not in base64.b64decode(peer.heard[2])


async def test_where_reports_can_be_asked_for_they_hold_no_text_of_ours():
    async with rude({"EHLO": "250-rude.example\r\n250 DSN"}) as able, rude() as unable:
        assert (await once(able.port)).state == "sent"
        assert (await once(unable.port)).state == "sent"
    assert any(line.startswith("MAIL") and line.endswith("RET=HDRS") for line in able.heard)
    assert any(line.startswith("RCPT") and line.endswith("NOTIFY=FAILURE") for line in able.heard)
    assert not any("RET=" in line or "NOTIFY=" in line for line in unable.heard)


def test_a_token_command_belongs_to_a_user_name_and_to_no_password():
    relay = Relay.parse("smtp://ana%40x.org@mail.example.org?auth=xoauth2&token_command=/usr/bin/it")
    assert (relay.username, relay.token_command) == ("ana@x.org", "/usr/bin/it")
    for url in (
        "smtp://ana:secret@mail.example.org?auth=xoauth2&token_command=/usr/bin/it",
        "smtp://mail.example.org?auth=xoauth2&token_command=/usr/bin/it",
        "smtp://ana@mail.example.org?auth=xoauth2",
        "smtp://ana@mail.example.org?token_command=/usr/bin/it",
        "smtp://ana@mail.example.org?auth=xoauth2&token_command=it",
        "smtp://ana:secret@mail.example.org?auth=plain",
    ):
        with pytest.raises(BadSettings) as caught:
            Relay.parse(url)
        assert "secret" not in str(caught.value)
