"""MIME: independent parsers read every message, and no value becomes a header of its own."""

import email
import email.policy
import re
from datetime import UTC, datetime, timedelta, timezone
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lists.errors import BadInput
from mailer.compose import mime
from mailer.compose.mime import MimeMessage

NOON = datetime(2026, 12, 8, 12, 0, 5, tzinfo=timezone(timedelta(hours=-5)))
CALENDAR = b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nSUMMARY:Reuni\xc3\xb3n\r\nEND:VCALENDAR\r\n"
LEAVE = "https://campaign.example.org/unsubscribe/" + "abc-DEF_123." * 4 + "?a=1,2"
GREETINGS = [
    "Hello, neighbor", "¿Cómo está, señora Ñandú?", "Grüß Gott, Jörg", "Žluťoučký kůň",
    "Łódź żółw", "Ça va, Zoë", "Þórður ætlar", "Γειά σου Ελένη", "Привет, Юрий",
    "Здравей, Ќирил", "Сәлем, Қазақ", "שלום חנה", "مرحبا أحمد", "سلام، گلی", "ہیلو پاکستان",
    "नमस्ते अना", "হ্যালো বাংলা", "ਸਤ ਸ੍ਰੀ ਅਕਾਲ", "નમસ્તે", "ନମସ୍କାର", "வணக்கம்", "నమస్కారం",
    "ನಮಸ್ಕಾರ", "നമസ്കാരം", "ආයුබෝවන්", "สวัสดีค่ะ", "ສະບາຍດີ", "བཀྲ་ཤིས་བདེ་ལེགས",
    "မင်္ဂလာပါ", "გამარჯობა", "Բարեւ", "ሰላም ልዑል", "ᎣᏏᏲ", "ᐊᐃᓐᖓᐃ", "សួស្តី", "ᠰᠠᠶᠢᠨ",
    "你好，安娜", "你好，安娜（繁體）", "こんにちは、アナさん", "안녕하세요", "ㄋㄧˇㄏㄠˇ",
    "ꦲꦭꦺꦴ", "ᮠᮜᮧ", "𐌷𐌰𐌹𐌻𐍃", "𞤅𞤢𞤤𞤢𞤥", "ߌ ߣߌ ߕߟߋ", "ⴰⵣⵓⵍ", "Ⲛⲟϥⲣⲓ", "ܫܠܡܐ", "ދެންނެވި",
    "ꓧꓰꓡꓡꓳ", "Xin chào, Nguyễn Ánh", "👩🏽‍👩🏽‍👧🏽 🏳️‍🌈 🕊️", "e\u0301 and ﬁ and ½",
]  # fmt: skip


def build_message(**changes: object) -> MimeMessage:
    """Return a message to Ana."""
    values = {
        "message_id": "<17.1@campaign.example.org>",
        "date": NOON,
        "sender": ("Restoring Trust", "campaign@example.org"),
        "to": ("Ana", "ana@stmark.example.org"),
        "subject": "Welcome",
        "text": "Hello Ana\n",
        "html": "<p>Hello Ana</p>\n",
    }
    return MimeMessage(**{**values, **changes})


def build_list_message(**changes: object) -> MimeMessage:
    """Return a message to a list."""
    values = {
        "list_id": ("Interest list", "interest.example.org"),
        "unsubscribe_url": LEAVE,
        "help_url": "https://campaign.example.org/privacy",
        "owner": "people@example.org",
    }
    return build_message(**{**values, **changes})


def parse_legacy(data: bytes) -> Message:
    """Read a message with the older of the two parsers."""
    return email.message_from_bytes(data, policy=email.policy.compat32)


def parse_modern(data: bytes) -> Message:
    """Read a message with the newer of the two parsers."""
    return email.message_from_bytes(data, policy=email.policy.default)


def decode(header: str) -> str:
    """Return a raw header, decoded."""
    return str(make_header(decode_header(re.sub(r"\r?\n", "", header))))


def read_content(part: Message) -> str:
    """Return the decoded content of a text part."""
    return part.get_payload(decode=True).decode().replace("\r\n", "\n")


def check_bytes(data: bytes) -> None:
    """Check the properties of every message."""
    head, _, body = data.partition(b"\r\n\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\x00", data)
    assert data.endswith(b"--\r\n")
    assert max(map(len, body.split(b"\r\n"))) <= 76
    assert all(byte < 128 for byte in body)
    for line in head.split(b"\r\n"):
        assert len(line) <= 998
        assert line.strip()
    for word in re.findall(rb"=\?[^?]*\?[qb]\?[^?]*\?=", head):
        assert len(word) <= 75
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n") if line[:1] not in b" \t"]
    assert len(names) == len(set(names))
    assert {b"from", b"to", b"date", b"subject", b"message-id", b"mime-version"} <= set(names)


def test_a_letter_is_a_text_and_a_page():
    data = mime.encode(build_message(reply_to="people@example.org"))
    check_bytes(data)
    message = parse_modern(data)
    assert message["From"] == "Restoring Trust <campaign@example.org>"
    assert message["To"] == "Ana <ana@stmark.example.org>"
    assert message["Reply-To"] == "people@example.org"
    assert message["Message-ID"] == "<17.1@campaign.example.org>"
    assert message["Date"] == "Tue, 08 Dec 2026 17:00:05 +0000"
    assert parsedate_to_datetime(message["Date"]) == NOON
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["MIME-Version"] == "1.0"
    kinds = ["multipart/alternative", "text/plain", "text/html"]
    assert [part.get_content_type() for part in message.walk()] == kinds
    text, page = message.iter_parts()
    assert read_content(text) == "Hello Ana\n"
    assert read_content(page) == "<p>Hello Ana</p>\n"
    assert not message.defects


def test_the_same_letter_is_the_same_bytes_and_another_has_other_boundaries():
    assert mime.encode(build_message()) == mime.encode(build_message())
    one, two = (
        parse_modern(mime.encode(build_message(message_id=f"<{n}@example.org>"))).get_boundary()
        for n in (1, 2)
    )
    assert one != two


def test_service_mail_has_no_list_headers():
    data = mime.encode(build_message(help_url="https://x.example", owner="a@x.example", automatic=False))
    assert b"List-" not in data
    assert b"Auto-Submitted" not in data


def test_list_mail_says_how_to_leave_in_one_unbroken_address():
    data = mime.encode(build_list_message())
    check_bytes(data)
    message = parse_legacy(data)
    assert message["List-Id"] == "Interest list <interest.example.org>"
    assert message["List-Unsubscribe"].strip() == f"<{LEAVE}>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["List-Help"] == "<https://campaign.example.org/privacy>"
    assert message["List-Owner"] == "<mailto:people@example.org>"
    assert message["List-Post"] == "NO"
    long = "https://e.example/" + "u" * 800
    message = parse_legacy(mime.encode(build_list_message(unsubscribe_url=long)))
    assert message["List-Unsubscribe"] == f"<{long}>"
    spanish = parse_legacy(
        mime.encode(build_list_message(list_id=("Lista de interés", "interest.example.org")))
    )["List-Id"]
    assert decode(spanish) == "Lista de interés <interest.example.org>"


def test_an_invitation_carries_the_calendar_inside_and_attached():
    data = mime.encode(build_message(calendar=CALENDAR))
    check_bytes(data)
    message = parse_modern(data)
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/calendar",
        "application/ics",
    ]
    parts = list(message.walk())
    inline, attached = parts[4], parts[5]
    assert inline.get_param("method") == "REQUEST"
    assert inline.get_param("charset") == "utf-8"
    assert "Content-Disposition" not in inline
    assert attached.get_filename() == "invite.ics"
    assert inline.get_payload(decode=True) == attached.get_payload(decode=True) == CALENDAR
    assert read_content(parts[2]) == "Hello Ana\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"calendar": CALENDAR, "method": "CANCEL"},
        {"calendar": CALENDAR, "method": 'REQUEST; x="'},
        {"calendar": CALENDAR.replace(b"\r\n", b"\n")},
    ],
)
def test_a_calendar_part_that_contradicts_its_method_is_refused(changes):
    with pytest.raises(BadInput, match=r"METHOD|method"):
        mime.encode(build_message(**changes))


@pytest.mark.parametrize("words", GREETINGS)
def test_every_script_arrives_as_it_was_written(words):
    long = f"{words} " * 9 + words
    for phrase in (words, long[:250].strip()):
        data = mime.encode(
            build_message(subject=long, text=phrase, html=f"<p>{long}</p>", to=(phrase, "ana@example.org"))
        )
        check_bytes(data)
        old, new = parse_legacy(data), parse_modern(data)
        assert decode(old["Subject"]) == new["Subject"] == long
        name, address = getaddresses([re.sub(r"\r\n", "", old["To"])])[0]
        assert " ".join(decode(name).split()) == " ".join(phrase.split())
        assert address == new["To"].addresses[0].addr_spec == "ana@example.org"
        text, page = old.get_payload()
        assert read_content(text) == phrase
        assert read_content(page) == f"<p>{long}</p>"


def test_there_are_fifty_scripts_and_emoji():
    assert len(GREETINGS) >= 50


@pytest.mark.parametrize(
    "name",
    [
        "Ruiz, Ana",
        "ana@evil.example",
        'Ana "the neighbor" Ruiz \\o/',
        "Ruiz, Ana (St. Mark's) <ana@evil.example>; and others: everybody, " * 3,
        "José, ana@evil.example " * 8,
        "=?utf-8?q?Bcc:_x?=",
        "a" * 200,
        "Ana" * 20,
        "St. Mark's United Methodist Church and Neighborhood Center of Upper Manhattan",
    ],
)
def test_a_name_is_never_a_second_address(name):
    for header in ("to", "sender"):
        data = mime.encode(build_message(**{header: (name, "ana@example.org")}))
        check_bytes(data)
        raw = parse_legacy(data)["To" if header == "to" else "From"].replace("\r\n", "")
        [(display_name, address)] = getaddresses([raw])
        assert address == "ana@example.org"
        assert decode(display_name) == name.strip() or "=?" in name
        addresses = parse_modern(data)["To" if header == "to" else "From"].addresses
        assert [mailbox.addr_spec for mailbox in addresses] == ["ana@example.org"]
        assert all(len(line) <= 78 for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n"))


def test_marks_that_turn_the_writing_do_not_reach_the_name():
    assert (
        parse_modern(mime.encode(build_message(to=("Ana\u202egnp \u2066x", "ana@example.org"))))["To"]
        .addresses[0]
        .display_name
        == "Anagnp x"
    )


@pytest.mark.parametrize("sign", ["\r", "\n", "\r\n", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\ud800"])
@pytest.mark.parametrize(
    "place",
    [
        "subject",
        "to name",
        "to address",
        "sender",
        "reply_to",
        "message_id",
        "unsubscribe",
        "list_id",
        "owner",
    ],
)
def test_a_control_sign_in_a_header_is_refused(sign, place):
    bad = f"x{sign}Bcc: ben@example.org"
    changes = {
        "subject": {"subject": bad},
        "to name": {"to": (bad, "ana@example.org")},
        "to address": {"to": ("", f"ana{sign}@example.org")},
        "sender": {"sender": (bad, "campaign@example.org")},
        "reply_to": {"reply_to": f"a{sign}b@example.org"},
        "message_id": {"message_id": f"<a{sign}b@example.org>"},
        "unsubscribe": {"unsubscribe_url": f"https://e.example/{sign}"},
        "list_id": {"list_id": ("List", f"a{sign}.example.org")},
        "owner": {"owner": f"a{sign}@example.org"},
    }
    with pytest.raises(BadInput):
        mime.encode(build_list_message(**changes[place]))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ana",
        "@example.org",
        "ana@",
        "a b@example.org",
        "<ana@example.org>",
        "ana@example.org>",
        "a,b@example.org",
        "ana@example..org",
        "ana@-x.org",
        'a"b@example.org',
        "ana@exa mple.org",
        "ana@straße.de",
        "a" * 65 + "@example.org",
        "a@" + "b" * 400,
        "ana@exa\u200dmple.org",
        "ana@[127.0.0.1]",
        ".ana@example.org",
        "ana@x;y",
    ],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(BadInput):
        mime.encode(build_message(to=("Ana", address)))


def test_an_address_in_other_letters_goes_as_utf8_with_its_domain_in_plain_letters():
    data = mime.encode(build_message(to=("", "josé@bücher.example")))
    assert "\r\nTo: josé@xn--bcher-kva.example\r\n".encode() in data
    assert b'To: "o\'neil, x"@example.org\r\n' in mime.encode(
        build_message(to=("", '"o\'neil, x"@example.org'))
    )


@pytest.mark.parametrize(
    "url",
    ["javascript:x", "ftp://x", "https://a b", "https://a>,<b", "https://ñ.example", "https://" + "x" * 900],
)
def test_a_bad_address_for_leaving_is_refused(url):
    with pytest.raises(BadInput, match="List-Unsubscribe"):
        mime.encode(build_list_message(unsubscribe_url=url))


def test_a_subject_beyond_measure_is_refused_and_a_line_beyond_measure_is_encoded():
    with pytest.raises(BadInput, match="The subject has 100,000 characters"):
        mime.encode(build_message(subject="x" * 100_000))
    with pytest.raises(BadInput, match="name"):
        mime.encode(build_message(to=("x" * 10_000, "ana@example.org")))
    line = "é" * 500_000 + "." * 500_000
    data = mime.encode(build_message(text=line))
    check_bytes(data)
    assert read_content(parse_legacy(data).get_payload()[0]) == line
    with pytest.raises(BadInput, match="half a character"):
        mime.encode(build_message(text="a\ud800b"))
    with pytest.raises(BadInput, match="longer than"):
        mime.encode(build_message(html="x" * 5_000_001))


def test_no_form_of_the_final_dot_leaves_the_body():
    text = ".\n..\n.\r.\r\n.\r\r\n.\n\n.\r\n" + "x" * 75 + ".\n" + "=" * 25 + ".\n"
    data = mime.encode(build_message(text=text, html=text))
    check_bytes(data)
    assert not re.search(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)", data)
    assert read_content(parse_legacy(data).get_payload()[0]) == text.replace("\r\n", "\n").replace("\r", "\n")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=400), st.booleans())
@example("x" * 75 + " \n" + "y" * 74 + " \t\n \n\t", True)
@example("From me\n.\n-- \n--=_a\n", True)
@example("\x00\x0b\x0c\x1c\x85\u2028", True)
def test_any_body_arrives_as_it_was_written(text, widen):
    text = text * 3 if widen else text
    data = mime.encode(build_message(text=text, html=text))
    check_bytes(data)
    for message in (parse_legacy(data), parse_modern(data)):
        for part in message.get_payload():
            assert read_content(part) == text.replace("\r\n", "\n").replace("\r", "\n")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=300))
@example("a  b" * 30)
@example("=?utf-8?q?x?=")
@example("x" * 80 + " y")
@example("w " * 200)
@example("\u00a0x")
def test_any_subject_arrives_as_it_was_written(subject):
    data = mime.encode(build_message(subject=subject))
    check_bytes(data)
    assert all(len(line) <= 78 for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n"))
    assert decode(parse_legacy(data)["Subject"]) == subject.strip()


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=260), st.sampled_from(["to", "sender"]))
def test_any_name_is_refused_or_is_one_address(name, place):
    try:
        data = mime.encode(build_message(**{place: (name, "ana@example.org")}))
    except BadInput:
        return
    check_bytes(data)
    header = parse_legacy(data)["To" if place == "to" else "From"].replace("\r\n", "")
    [(display_name, address)] = getaddresses([header])
    assert address == "ana@example.org"
    if "=?" not in name:
        assert decode(display_name).split() == re.sub("[\u202a-\u202e\u2066-\u2069]", "", name).split()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 4_000_000_000))
def test_any_moment_is_read_back(seconds):
    moment = datetime.fromtimestamp(seconds, UTC)
    assert parsedate_to_datetime(parse_legacy(mime.encode(build_message(date=moment)))["Date"]) == moment
