import asyncio
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.reasons import Reason
from mailer.smtp.capabilities import RelayLimit
from mailer.smtp.connection import Timeouts, _dot_stuff
from tests.loops import event_loop_policy  # noqa: F401
from tests.peers.doors import ANA, BEN, CLEO, MESSAGE, connection, once, send
from tests.peers.polite import Polite, polite
from tests.peers.rude import DROP, HANG, RESET, USUAL, rude


@pytest.fixture(autouse=True, params=["one command at a time", "pipelining"])
def manner(request, monkeypatch):
    """Whether the peer accepts MAIL, RCPT and DATA at once: every test applies to both ways."""
    if request.param == "pipelining":
        monkeypatch.setitem(USUAL, "EHLO", USUAL["EHLO"].replace("250 ", "250-PIPELINING\r\n250 ", 1))
    return request.param


# Replies of servers


async def test_ana_and_ben_get_the_very_octets_and_cleo_is_refused_by_her_server():
    async with polite(Polite(answers={CLEO: "550 5.1.1 gone"})) as peer:
        client = connection(peer.port)
        assert (await send(client, ANA)).state == "sent"
        refusal = await send(client, CLEO)
        ben = await send(client, BEN)
        await client.close()
    assert (ben.state, ben.code, ben.enhanced_code, ben.reply) == (
        "sent",
        250,
        "2.0.0",
        "2.0.0 Ok: queued as 2",
    )
    assert (refusal.state, refusal.code, refusal.enhanced_code, refusal.blames_sender) == (
        "refused",
        550,
        "5.1.1",
        False,
    )
    assert peer.letters == [(ANA, MESSAGE), (BEN, MESSAGE)]
    assert peer.connections == 1


async def test_4xx_is_deferred_and_5xx_refused_at_rcpt_and_at_the_dot():
    peer = Polite(
        answers={ANA: "450 4.2.1 busy"},
        at_dot={BEN: "451 4.3.0 later", CLEO: "554 5.7.1 looks like spam"},
    )
    async with polite(peer):
        client = connection(peer.port)
        ana, ben, cleo = [await send(client, recipient) for recipient in (ANA, BEN, CLEO)]
        await client.close()
    assert (ana.state, ana.code) == ("deferred", 450)
    assert (ben.state, ben.code) == ("deferred", 451)
    assert (cleo.state, cleo.enhanced_code, cleo.blames_sender) == ("refused", "5.7.1", True)
    assert peer.connections == 1


async def test_a_refusal_of_our_sender_punishes_no_recipient():
    async with polite(Polite(at_mail="550 5.7.1 you are not welcome")) as peer:
        outcome = await once(peer.port)
    assert (outcome.state, outcome.code, outcome.blames_sender) == ("unreachable", 550, True)


async def test_a_message_too_large_at_mail_is_that_message_alone():
    async with polite(Polite(at_mail="552 5.3.4 too big")) as peer:
        assert (await once(peer.port)).state == "unsupported"


async def test_the_server_s_words_are_kept_short_and_without_control_characters():
    words = "550-5.1.1 no \x1b[31msuch\u202e user\r\n550 5.1.1 " + "x" * 600
    async with rude({"RCPT": words}) as peer:
        outcome = await once(peer.port)
    assert outcome.reply.startswith("5.1.1 no [31msuch user 5.1.1 xxx")
    assert len(outcome.reply) == 500
    assert outcome.enhanced_code == "5.1.1"


# Capabilities


async def test_letters_outside_ascii_go_only_where_smtputf8_is_offered():
    async with polite(smtputf8=True) as able, polite() as unable:
        sent = await once(able.port, "señora@neighbor.example")
        unsupported = await once(unable.port, "señora@neighbor.example")
    assert sent.state == "sent"
    assert "SMTPUTF8" in able.options[0]
    assert (unsupported.state, unsupported.code) == ("unsupported", None)
    assert unsupported.limit == RelayLimit(Reason.NO_SMTPUTF8)
    assert unable.options == []


async def test_8_bit_text_goes_only_where_8bitmime_is_offered():
    async with polite() as able, rude() as unable:
        sent = await once(able.port, message="Subject: á\r\n\r\né\r\n".encode())
        unsupported = await once(unable.port, message="Subject: á\r\n\r\né\r\n".encode())
    assert sent.state == "sent"
    assert "BODY=8BITMIME" in able.options[0]
    assert unsupported.state == "unsupported"
    assert not any(line.startswith("MAIL") for line in unable.heard)


async def test_a_message_larger_than_the_server_s_limit_is_not_sent():
    async with polite(size=1000) as peer:
        unsupported = await once(peer.port, message=MESSAGE * 100)
        sent = await once(peer.port)
    assert (unsupported.state, sent.state) == ("unsupported", "sent")
    assert peer.options == [[f"SIZE={len(MESSAGE) + 2}"]]


@pytest.mark.parametrize("limit", ["0", "", "many", "9" * 5000])
async def test_a_strange_size_limit_does_no_harm(limit):
    async with rude({"EHLO": f"250-rude\r\n250 SIZE {limit}"}) as peer:
        assert (await once(peer.port)).state == "sent"


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "<", ">", " ", "\ud800", "@", "\x7f"])
async def test_an_address_with_a_dangerous_character_never_reaches_the_wire(bad):
    async with rude() as peer:
        client = connection(peer.port)
        for recipient in (f"ana{bad}RCPT TO:<cleo@left.example>@x.example", f"ana@x.example{bad}"):
            assert (await send(client, recipient)).state == "unsupported"
        outcome = await client.send(sender=f"ca{bad}mp@lists.example", recipient=ANA, message=MESSAGE)
        assert outcome.state == "unsupported"
        assert peer.connections == 0


SMUGGLING = [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n.\r\n", b"\n.\r"]


@pytest.mark.parametrize("form", SMUGGLING)
async def test_no_form_of_the_final_dot_smuggles_a_second_message(form):
    second = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<cleo@left.example>\r\nDATA\r\nSubject: 2\r\n\r\nevil"
    async with rude() as peer:
        outcome = await once(peer.port, message=MESSAGE + b"end" + form + second + form)
    assert outcome.state == "sent"
    assert len(peer.letters) == 1
    assert [line.partition(" ")[0] for line in peer.heard] == ["EHLO", "NOOP", "MAIL", "RCPT", "DATA", "QUIT"]


@given(st.binary() | st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a"])).map(b"".join))
def test_what_goes_over_the_wire_can_be_undone_and_holds_no_final_dot(message):
    wire = _dot_stuff(message)
    assert wire.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire)
    expected = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    text = re.sub(rb"(?m)^\.\.", b".", wire)
    assert text == (expected if expected.endswith(b"\r\n") else expected + b"\r\n")


# Lost connections


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
        outcome = await once(peer.port, message=MESSAGE + b"x" * 20_000_000)
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
        client = connection(peer.port)
        assert (await send(client, ANA)).state == "unknown"
        assert (await send(client, BEN)).state == "sent"
        await client.close()
    assert peer.connections == 2


async def test_a_server_one_answer_ahead_of_itself_is_found_out_before_the_next_message():
    async with rude(first={"dot": "250 taken\r\n250 twice"}) as peer:
        client = connection(peer.port)
        first = await send(client, ANA)
        second = await send(client, BEN)
        await client.close()
    assert (first.state, second.state) == ("sent", "sent")
    assert len(peer.letters) == peer.connections == 2


@pytest.mark.parametrize(
    ("moments", "states"),
    [
        ({"RCPT": "550 5.1.1 gone"}, "refused refused"),  # it accepts DATA without a recipient
        ({"RCPT": "450 4.2.1 busy", "DATA": "503 5.5.1 no recipients"}, "deferred deferred"),
        ({"MAIL": "552 5.3.4 too big", "RCPT": "503 no", "DATA": "503 no"}, "unsupported unsupported"),
        ({"MAIL": "552 5.3.4 too big"}, "unsupported unsupported"),
        ({"DATA": "452 4.3.1 full"}, "deferred deferred"),
    ],
)
async def test_commands_sent_together_are_each_believed_by_their_own_answer(manner, moments, states):
    async with rude(moments) as peer:
        client = connection(peer.port)
        outcomes = [await send(client, ANA), await send(client, BEN)]
        await client.close()
    assert " ".join(outcome.state for outcome in outcomes) == states
    assert outcomes[0].code == int(next(iter(moments.values()))[:3])
    assert all(message == b".\r\n" for message in peer.letters)  # no text without a recipient
    is_reopened = "MAIL" in moments and "DATA" not in moments and manner == "pipelining"
    assert peer.connections == (2 if is_reopened else 1)


async def test_a_server_one_answer_ahead_of_itself_from_the_start_gets_no_message():
    async with rude({"NOOP": "250 yes\r\n250 yes"}) as peer:
        outcome = await once(peer.port)
    assert outcome.state == "unreachable"
    assert "more than it was asked" in outcome.reply
    assert peer.letters == []


@pytest.mark.parametrize("way", [DROP, RESET, HANG, "421 4.4.2 idle too long"])
async def test_an_old_connection_that_died_meanwhile_is_replaced_without_a_word(way):
    async with rude(then={"MAIL": way}) as peer:
        client = connection(peer.port)
        assert (await send(client, ANA)).state == "sent"
        assert (await send(client, BEN)).state == "sent"
        await client.close()
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
        client = connection(peer.port)
        loop = asyncio.get_running_loop()
        assert (await send(client, ANA, deadline=lambda: loop.time() - 1)).state == "deferred"
        assert (await send(client, ANA, deadline=lambda: loop.time() + 60)).state == "sent"
        await client.close()
    assert len(peer.letters) == 1


async def test_the_deadline_is_asked_when_the_dot_is_written_and_not_when_the_message_begins():
    async with rude() as peer:
        client = connection(peer.port)
        commands = []

        def deadline():
            commands[:] = peer.heard
            return math.inf

        assert (await send(client, ANA, deadline=deadline)).state == "sent"
        await client.close()
    assert commands[-1] == "DATA"


async def test_a_message_that_may_not_begin_once_the_connection_is_ready_is_never_named():
    async with rude() as peer:
        client = connection(peer.port)
        assert await send(client, ANA, may_begin=lambda: False) is None
        assert (await send(client, BEN)).state == "sent"
        await client.close()
    assert peer.connections == 1
    assert [line.partition(" ")[0] for line in peer.heard] == ["EHLO", "NOOP", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_a_cancelled_message_writes_no_final_dot():
    async with rude({"RCPT": HANG}) as peer:
        client = connection(peer.port, timeouts=Timeouts())
        task = asyncio.ensure_future(send(client, ANA))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)
    assert peer.letters == []


# How long a connection is reused


async def test_a_connection_is_renewed_after_so_many_messages_or_so_long():
    async with polite() as peer:
        client = connection(peer.port, messages=2)
        for _ in range(5):
            assert (await send(client)).state == "sent"
        await client.close()
        assert peer.connections == 3
        for limit in ({"seconds": 0.05}, {"idle": 0.05}):
            peer.connections = 0
            client = connection(peer.port, **limit)
            await send(client)
            await asyncio.sleep(0.1)
            await send(client)
            await client.close()
            assert peer.connections == 2


async def test_closing_says_quit_and_waits_only_a_little():
    async with rude() as peer:
        await once(peer.port)
        assert peer.heard[-1] == "QUIT"
    async with rude({"QUIT": HANG}) as peer:
        start = asyncio.get_running_loop().time()
        assert (await once(peer.port)).state == "sent"
        assert asyncio.get_running_loop().time() - start < 1


async def test_closing_and_aborting_twice_or_before_opening_is_allowed():
    client = connection(1)
    client.abort()
    await client.close()
    await client.close()
    assert not client.dot_written
