import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailer.tryout.message_reader import PARTS, SUBJECT_CHARACTERS, parse_message, read_subject

INVITATION = "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n"


def invitation():
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"] = "campaign@lists.example", "ana@congregation.example"
    message["Subject"] = "La llamada de mañana, señora"
    message.set_content("Querida Ana,\n\nhasta mañana.\n")
    message.add_alternative("<p>Querida <b>Ana</b></p>", subtype="html")
    message.add_alternative(INVITATION, subtype="calendar", params={"method": "REQUEST"})
    message.add_attachment(INVITATION.encode(), maintype="application", subtype="ics", filename="call.ics")
    return bytes(message)


def test_ana_s_invitation_is_taken_apart():
    parsed = parse_message(invitation())
    assert parsed.text == "Querida Ana,\n\nhasta mañana.\n"
    assert parsed.html.strip() == "<p>Querida <b>Ana</b></p>"
    assert parsed.calendar.startswith("BEGIN:VCALENDAR\nMETHOD:REQUEST")
    assert parsed.method == "REQUEST"
    assert [(a.name, a.type) for a in parsed.attachments] == [("call.ics", "application/ics")]
    assert ("Subject", "La llamada de mañana, señora") in parsed.headers
    assert parsed.source.startswith("From: campaign@lists.example")
    assert parsed.damage == ""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Subject: Hello Ben\r\n\r\nSubject: no", "Hello Ben"),
        (b"From: a\r\nsubject:  =?utf-8?q?Se=C3=B1or?=\r\n =?utf-8?q?a_Ana?=\r\n\r\n", "Señora Ana"),
        (b"Subject: two\r\n\tlines\r\nTo: x\r\n\r\n", "two lines"),
        ("Subject: directa é\r\n\r\n".encode(), "directa é"),
        (b"Subject: \xff\xfe raw\r\n\r\n", "�� raw"),
        (b"Subject: =?utf-9?q?odd?=\r\n\r\n", "=?utf-9?q?odd?="),
        (b"Subject: =?utf-8?b?!!!?=\r\n\r\n", None),
        ("Subject: \u202edesrever \x1b[31m\r\n\r\n".encode(), "desrever [31m"),
        (b"From: a\r\n\r\nSubject: in the text\r\n", ""),
        (b"", ""),
    ],
)
def test_a_subject_is_decoded_or_shown_as_it_stands(raw, expected):
    assert expected is None or read_subject(raw) == expected
    assert read_subject(raw).isprintable()


def test_a_huge_subject_is_cut():
    assert len(read_subject(b"Subject: " + b"x" * 100_000 + b"\r\n\r\n")) == SUBJECT_CHARACTERS


HOSTILE = [
    b"Content-Type: text/plain; charset=no-such-charset\r\n\r\nhello\r\n",
    b"Content-Type: text/plain; charset*=%%\r\n\r\nhello\r\n",
    b"Content-Transfer-Encoding: base64\r\n\r\n!!!\xff\xfe\r\n",
    b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 999 x\r\n\xff\r\n",
    b"From: \xff\xff <@>\r\nTo: =?x?y?z?=\r\nContent-Disposition: attachment; filename*0*=\r\n\r\nx",
    b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\nx\r\n" * 10_000,
    b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(1_000)),
    b"Content-Type: message/rfc822\r\n\r\n" * 1_000,
    b"Content-Type: multipart/mixed\r\n\r\nno boundary",
    b"X: y\r\n" * 10_000 + b"\r\n",
    b"x" * 1_000_000,
    b"Content-Type: text/calendar; method*=\xff\r\n\r\nx",
    b"\0\0\0\r\n\r\n\0",
]


@pytest.mark.parametrize("raw", HOSTILE)
def test_a_hostile_message_is_shown_as_far_as_it_can_be_read(raw):
    parsed = parse_message(raw)
    assert parsed.source or not raw
    assert len(parsed.attachments) <= PARTS
    assert all(name.isprintable() and value.isprintable() for name, value in parsed.headers)


@example(b"!:=??b?//////////////////////////AAA?=")
@given(
    st.binary()
    | st.lists(
        st.sampled_from(
            [
                b"Subject: ",
                b"Content-Type: text/plain; charset=",
                b"Content-Type: multipart/mixed; boundary=a",
                b"Content-Transfer-Encoding: base64",
                b"Content-Disposition: attachment; filename*0*=",
                b"=?utf-8?b?",
                b"?=",
                b"--a",
                b"\r\n",
                b"\r\n\r\n",
                b"\xff",
                b";",
                b'"',
                b"x",
            ]
        )
    ).map(b"".join)
)
def test_nothing_a_message_says_can_raise(raw):
    parse_message(raw)
    assert read_subject(raw).isprintable()
