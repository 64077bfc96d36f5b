import asyncio
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.smtp import Connection, Outcome, Patience, Relay, _stuffed
from tests.peers.certificates import Authority
from tests.peers.polite import Polite, polite
from tests.peers.rude import DROP, HANG, RESET, rude

ANA, BEN, CLEO = "ana@congregation.example", "ben@neighbor.example", "cleo@left.example"
SENDER = "campaign@lists.example"
LETTER = b"From: campaign@lists.example\r\nSubject: Hello\r\n\r\nDear neighbor,\r\n.\r\n..two\r\n"
HASTE = Patience(connect=2, greeting=0.3, command=0.3, data=0.3, block=0.3, final=0.3, quit=0.2)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority):
    return authority.issue("localhost")


def connection(port, *, patience=HASTE, tls="none", host="127.0.0.1", **more):
    limits = {name: more.pop(name) for name in ("messages", "seconds", "idle") if name in more}
    relay = Relay(host=host, port=port, tls=tls, **more)
    return Connection(relay, helo="mailer.example", patience=patience, **limits)


async def send(door, recipient=BEN, message=LETTER, **more):
    return await door.send(sender=SENDER, recipient=recipient, message=message, **more)


async def once(port, recipient=BEN, message=LETTER, **more):
    door = connection(port, **more)
    try:
        return await send(door, recipient, message)
    finally:
        await door.close()


# What a server answers


async def test_ana_and_ben_get_the_very_octets_and_cleo_is_refused_by_her_server():
    async with polite(Polite(answers={CLEO: "550 5.1.1 gone"})) as peer:
        door = connection(peer.port)
        assert (await send(door, ANA)).state == "sent"
        refused = await send(door, CLEO)
        ben = await send(door, BEN)
        await door.close()
    assert (ben.state, ben.code, ben.enhanced, ben.reply) == ("sent", 250, "2.0.0", "2.0.0 Ok: queued as 2")
    assert (refused.state, refused.code, refused.enhanced, refused.ours) == ("refused", 550, "5.1.1", False)
    assert peer.letters == [(ANA, LETTER), (BEN, LETTER)]
    assert peer.connections == 1


async def test_4xx_is_deferred_and_5xx_refused_at_rcpt_and_at_the_dot():
    peer = Polite(
        answers={ANA: "450 4.2.1 busy"},
        at_dot={BEN: "451 4.3.0 later", CLEO: "554 5.7.1 looks like spam"},
    )
    async with polite(peer):
        door = connection(peer.port)
        ana, ben, cleo = [await send(door, who) for who in (ANA, BEN, CLEO)]
        await door.close()
    assert (ana.state, ana.code) == ("deferred", 450)
    assert (ben.state, ben.code) == ("deferred", 451)
    assert (cleo.state, cleo.enhanced, cleo.ours) == ("refused", "5.7.1", True)
    assert peer.connections == 1


async def test_a_refusal_of_our_sender_punishes_no_recipient():
    async with polite(Polite(at_mail="550 5.7.1 you are not welcome")) as peer:
        outcome = await once(peer.port)
    assert (outcome.state, outcome.code, outcome.ours) == ("unreachable", 550, True)


async def test_a_message_too_large_at_mail_is_that_message_alone():
    async with polite(Polite(at_mail="552 5.3.4 too big")) as peer:
        assert (await once(peer.port)).state == "refused"


async def test_the_server_s_words_are_kept_short_and_without_control_characters():
    words = "550-5.1.1 no \x1b[31msuch\u202e user\r\n550 5.1.1 " + "x" * 600
    async with rude({"RCPT": words}) as peer:
        outcome = await once(peer.port)
    assert outcome.reply.startswith("5.1.1 no [31msuch user 5.1.1 xxx")
    assert len(outcome.reply) == 500
    assert outcome.enhanced == "5.1.1"


# What may be sent where


async def test_letters_outside_ascii_go_only_where_smtputf8_is_offered():
    async with polite(smtputf8=True) as able, polite() as unable:
        sent = await once(able.port, "señora@neighbor.example")
        refused = await once(unable.port, "señora@neighbor.example")
    assert sent.state == "sent"
    assert "SMTPUTF8" in able.options[0]
    assert (refused.state, refused.code) == ("refused", None)
    assert "outside ASCII" in refused.reply
    assert unable.options == []


async def test_8_bit_text_goes_only_where_8bitmime_is_offered():
    async with polite() as able, rude() as unable:
        sent = await once(able.port, message="Subject: á\r\n\r\né\r\n".encode())
        refused = await once(unable.port, message="Subject: á\r\n\r\né\r\n".encode())
    assert sent.state == "sent"
    assert "BODY=8BITMIME" in able.options[0]
    assert refused.state == "refused"
    assert not any(line.startswith("MAIL") for line in unable.heard)


async def test_a_message_larger_than_the_server_s_limit_is_not_sent():
    async with polite(size=1000) as peer:
        refused = await once(peer.port, message=LETTER * 100)
        sent = await once(peer.port)
    assert (refused.state, sent.state) == ("refused", "sent")
    assert peer.options == [[f"SIZE={len(LETTER) + 2}"]]


@pytest.mark.parametrize("limit", ["0", "", "many", "9" * 5000])
async def test_a_strange_size_limit_does_no_harm(limit):
    async with rude({"EHLO": f"250-rude\r\n250 SIZE {limit}"}) as peer:
        assert (await once(peer.port)).state == "sent"


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "<", ">", " ", "\ud800", "@", "\x7f"])
async def test_an_address_with_a_dangerous_character_never_reaches_the_wire(bad):
    async with rude() as peer:
        door = connection(peer.port)
        for recipient in (f"ana{bad}RCPT TO:<cleo@left.example>@x.example", f"ana@x.example{bad}"):
            assert (await send(door, recipient)).state == "refused"
        outcome = await door.send(sender=f"ca{bad}mp@lists.example", recipient=ANA, message=LETTER)
        assert outcome.state == "refused"
        assert peer.connections == 0


SMUGGLING = [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n.\r\n", b"\n.\r"]


@pytest.mark.parametrize("form", SMUGGLING)
async def test_no_form_of_the_final_dot_smuggles_a_second_message(form):
    second = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<cleo@left.example>\r\nDATA\r\nSubject: 2\r\n\r\nevil"
    async with rude() as peer:
        outcome = await once(peer.port, message=LETTER + b"end" + form + second + form)
    assert outcome.state == "sent"
    assert len(peer.letters) == 1
    assert [line.partition(" ")[0] for line in peer.heard] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


@given(st.binary() | st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a"])).map(b"".join))
def test_what_goes_over_the_wire_can_be_undone_and_holds_no_final_dot(message):
    wire = _stuffed(message)
    assert wire.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire)
    ends = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    back = re.sub(rb"(?m)^\.\.", b".", wire)
    assert back == (ends if ends.endswith(b"\r\n") else ends + b"\r\n")


# Where a connection is lost


@pytest.mark.parametrize("way", [DROP, RESET, HANG, "nonsense", "999 what", "421 4.3.2 going down"])
@pytest.mark.parametrize("moment", ["greeting", "EHLO", "MAIL"])
async def test_trouble_before_the_recipient_is_named_is_the_relay_s(moment, way):
    async with rude({moment: way, "HELO": way}) as peer:
        assert (await once(peer.port)).state == "unreachable"


@pytest.mark.parametrize("way", [DROP, RESET, HANG, "nonsense", "999 what", "421 4.3.2 going down"])
@pytest.mark.parametrize("moment", ["RCPT", "DATA"])
async def test_a_connection_lost_before_the_text_is_deferred(moment, way):
    async with rude({moment: way}) as peer:
        outcome = await once(peer.port)
    assert outcome.state == "deferred"
    assert peer.letters == []


@pytest.mark.parametrize("way", [DROP, RESET, HANG])
async def test_a_connection_lost_within_a_long_text_is_deferred(way):
    async with rude({"body": way, "EHLO": "250 rude.example"}) as peer:
        outcome = await once(peer.port, message=LETTER + b"x" * 20_000_000)
    assert outcome.state == "deferred"
    assert "Before the final dot" in outcome.reply
    assert peer.letters == []


@pytest.mark.parametrize("way", [DROP, RESET, HANG, "nonsense", "354 go on", "999 what"])
async def test_a_connection_lost_after_the_final_dot_is_unknown(way):
    async with rude({"dot": way}) as peer:
        outcome = await once(peer.port)
    assert outcome.state == "unknown"
    assert "After the final dot" in outcome.reply
    assert len(peer.letters) == 1


async def test_after_an_unknown_the_next_message_gets_a_new_connection():
    async with rude(first={"dot": DROP}) as peer:
        door = connection(peer.port)
        assert (await send(door, ANA)).state == "unknown"
        assert (await send(door, BEN)).state == "sent"
        await door.close()
    assert peer.connections == 2


async def test_a_server_one_answer_ahead_of_itself_is_found_out_before_the_text():
    async with rude(first={"dot": "250 taken\r\n250 twice"}) as peer:
        door = connection(peer.port)
        first = await send(door, ANA)
        second = await send(door, BEN)
        third = await send(door, BEN)
        await door.close()
    assert (first.state, second.state, third.state) == ("sent", "deferred", "sent")
    assert len(peer.letters) == 2


@pytest.mark.parametrize("way", [DROP, RESET, HANG, "421 4.4.2 idle too long"])
async def test_an_old_connection_that_died_meanwhile_is_replaced_without_a_word(way):
    async with rude(then={"MAIL": way}) as peer:
        door = connection(peer.port)
        assert (await send(door, ANA)).state == "sent"
        assert (await send(door, BEN)).state == "sent"
        await door.close()
    assert len(peer.letters) == peer.connections == 2


async def test_nothing_listens_there():
    async with rude() as peer:
        port = peer.port
    await asyncio.sleep(0.05)
    outcome = await once(port)
    assert outcome.state == "unreachable"
    assert outcome.reply
    assert (await once(port, host="no-such-host.invalid")).state == "unreachable"


async def test_a_deadline_that_has_passed_writes_no_final_dot():
    async with rude() as peer:
        door = connection(peer.port)
        loop = asyncio.get_running_loop()
        assert (await send(door, ANA, deadline=loop.time() - 1)).state == "deferred"
        assert (await send(door, ANA, deadline=loop.time() + 60)).state == "sent"
        await door.close()
    assert len(peer.letters) == 1


async def test_a_cancelled_message_writes_no_final_dot():
    async with rude({"RCPT": HANG}) as peer:
        door = connection(peer.port, patience=Patience())
        task = asyncio.ensure_future(send(door, ANA))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)
    assert peer.letters == []


# How long a connection is kept


async def test_a_connection_is_renewed_after_so_many_messages_or_so_long():
    async with polite() as peer:
        door = connection(peer.port, messages=2)
        for _ in range(5):
            assert (await send(door)).state == "sent"
        await door.close()
        assert peer.connections == 3
        for limit in ({"seconds": 0.05}, {"idle": 0.05}):
            peer.connections = 0
            door = connection(peer.port, **limit)
            await send(door)
            await asyncio.sleep(0.1)
            await send(door)
            await door.close()
            assert peer.connections == 2


async def test_closing_says_quit_and_waits_only_a_little():
    async with rude() as peer:
        await once(peer.port)
        assert peer.heard[-1] == "QUIT"
    async with rude({"QUIT": HANG}) as peer:
        begun = asyncio.get_running_loop().time()
        assert (await once(peer.port)).state == "sent"
        assert asyncio.get_running_loop().time() - begun < 1


async def test_closing_and_aborting_twice_or_before_opening_is_allowed():
    door = connection(1)
    door.abort()
    await door.close()
    await door.close()
    assert not door.dotted


# TLS and login


def trusted(peer, authority, **more):
    return {"host": "localhost", "ca_file": str(authority.certificate), "tls": "verified", **more}


async def test_a_verified_relay_proves_its_name(authority, certificate):
    async with polite(certificate=certificate) as peer:
        assert (await once(peer.port, **trusted(peer, authority))).state == "sent"
        other_name = await once(peer.port, **trusted(peer, authority, host="127.0.0.1"))
        system = await once(peer.port, host="localhost", tls="verified")
    for outcome in (other_name, system):
        assert outcome.state == "unreachable"
        assert "certificate" in outcome.reply
    assert len(peer.letters) == 1


async def test_implicit_tls_proves_its_name_too(authority, certificate):
    async with polite(certificate=certificate, implicit=True) as peer:
        assert (await once(peer.port, **trusted(peer, authority, tls="implicit"))).state == "sent"
        stranger = await once(peer.port, host="localhost", tls="implicit")
    assert stranger.state == "unreachable"
    assert "certificate" in stranger.reply.lower()


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
    assert (outcome.state, outcome.code, outcome.enhanced) == ("unreachable", 535, "5.7.8")
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
