"""SMTP connections to a real Postfix: verified STARTTLS, a login, a mailbox read back."""

import pytest

from mailer.smtp.connection import Relay, SmtpConnection
from tests.peers.certificates import Authority
from tests.peers.postfix import as_sent, postfix

ANA, BEN, CLEO = "ana@congregation.example", "ben@neighbor.example", "cleo@left.example"
SENDER = "campaign@lists.example"
HEAD = (
    b"From: Restoring Trust <campaign@lists.example>\r\nTo: ana@congregation.example\r\n"
    b"Date: Tue, 01 Dec 2026 20:00:00 +0000\r\nMessage-ID: <1@lists.example>\r\nSubject: Hello\r\n"
)
MESSAGES = [
    HEAD + b"\r\nDear neighbor,\r\n.\r\n..\r\n.hidden\r\nend\r\n",
    HEAD + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\n" + "Querida señora 🕊\r\n".encode() * 500,
    HEAD + b"\r\n" + b"x" * 998 + b"\r\n\r\n\r\n" + b" \t \r\n",
]


@pytest.fixture(scope="module")
def server():
    with postfix(ANA, BEN) as running:
        yield running


async def send(url, recipient, *messages):
    connection = SmtpConnection(Relay.parse(url), helo="mailer.lists.example")
    outcomes = [
        await connection.send(sender=SENDER, recipient=recipient, message=message) for message in messages
    ]
    await connection.close()
    return outcomes if len(outcomes) > 1 else outcomes[0]


async def test_ana_s_mailbox_holds_the_very_octets_that_left_over_verified_starttls(server):
    outcomes = await send(server.url(), ANA, *MESSAGES)
    assert [outcome.state for outcome in outcomes] == ["sent"] * 3, outcomes
    assert all("queued as" in outcome.reply for outcome in outcomes)
    stored = server.wait_for(ANA, messages=3)
    assert sorted(map(as_sent, stored)) == sorted(MESSAGES)
    for added in (
        b"from mailer.lists.example",
        b"using TLSv1",
        b"Authenticated sender: campaign@lists.example",
    ):
        assert all(added in each for each in stored)


async def test_implicit_tls_reaches_ben_as_well(server):
    assert (await send(server.url(scheme="smtps"), BEN, MESSAGES[0])).state == "sent"
    assert as_sent(server.wait_for(BEN)[0]) == MESSAGES[0]


async def test_cleo_is_unknown_there_and_refused_by_name(server):
    outcome = await send(server.url(), CLEO, MESSAGES[0])
    assert (outcome.state, outcome.code, outcome.enhanced_code, outcome.blames_sender) == (
        "refused",
        550,
        "5.1.1",
        False,
    )
    assert CLEO in outcome.reply
    assert server.mailbox(CLEO) == []


async def test_a_server_with_another_authority_s_certificate_is_unreachable(server, tmp_path):
    stranger = Authority(tmp_path / "stranger", name="Somebody Else")
    for scheme in ("smtp", "smtps"):
        url = server.url(scheme=scheme).replace(str(server.authority.certificate), str(stranger.certificate))
        outcome = await send(url, ANA, MESSAGES[0])
        assert outcome.state == "unreachable"
        assert "certificate" in outcome.reply.lower()
        assert "sesame" not in outcome.reply


async def test_a_wrong_password_is_the_relay_s_trouble_and_stays_out_of_the_reply(server):
    outcome = await send(server.url(password="wrong-sesame"), ANA, MESSAGES[0])
    assert (outcome.state, outcome.code, outcome.enhanced_code) == ("unreachable", 535, "5.7.8")
    assert "authentication" in outcome.reply.lower()
    assert "sesame" not in outcome.reply
    assert "sesame" not in server.log()


async def test_without_a_login_nothing_is_taken_and_nobody_is_blamed(server):
    url = f"smtp://localhost:{server.port}?tls=required"
    outcome = await send(url, ANA, MESSAGES[0])
    assert (outcome.state, outcome.blames_sender) == ("refused", True)


async def test_too_large_a_letter_is_refused_before_it_is_sent(server):
    outcome = await send(server.url(), ANA, HEAD + b"\r\n" + b"x\r\n" * 400_000)
    assert (outcome.state, outcome.code) == ("unsupported", None)
    assert outcome.limit is not None and outcome.limit.detail == "1,000,000"
