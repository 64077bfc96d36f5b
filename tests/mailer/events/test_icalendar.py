"""iCalendar: the library and an independent strict parser read an invitation the same.

The strict parser below follows RFC 5545 exactly: line breaks, folding, grammar, escapes.
"""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple
from urllib.parse import unquote

import icalendar
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lists.errors import BadInput
from mailer.events.icalendar import CalendarInvitation, build_request, build_uid

SECRET = b"a secret of this test"
ANA = ("Ana Ruiz", "ana@example.org")
CALL = CalendarInvitation(
    uid=build_uid(7, 41, secret=SECRET, domain="example.org"),
    sequence=0,
    stamp=datetime(2026, 11, 20, 15, 30, 12, 345678, tzinfo=UTC),
    modified=datetime(2026, 11, 19, 9, 0, tzinfo=UTC),
    starts=datetime(2026, 12, 9, 1, 0, tzinfo=UTC),
    ends=datetime(2026, 12, 9, 2, 0, tzinfo=UTC),
    title="December call; leaders, partners",
    description="Join here:\nhttps://meet.example.org/call\n\nSee you there.",
    url="https://meet.example.org/call?room=1;2,3",
    organizer=("Restoring Trust", "calls@campaign.example"),
    attendee=ANA,
)


class Line(NamedTuple):
    name: str
    params: dict[str, str]
    value: str


def read(data: bytes) -> list[Line]:
    """Parse strictly: CRLF only, no line over 75 octets, whole characters in each line, known grammar."""
    assert data.endswith(b"\r\n")
    raw = data.split(b"\r\n")[:-1]
    assert all(b"\n" not in line and b"\r" not in line for line in raw)
    assert all(len(line) <= 75 for line in raw)
    unfolded: list[str] = []
    for line in raw:
        text = line.decode("utf-8", errors="strict")
        assert text, "an empty line has no place in a calendar"
        if text[0] in " \t":
            unfolded[-1] += text[1:]
        else:
            unfolded.append(text)
    return [_line(text) for text in unfolded]


PARAM = r';([A-Z0-9-]+)=("[^"\x00-\x08\x0a-\x1f\x7f]*"|[^";:,\x00-\x08\x0a-\x1f\x7f]*)'


def _line(text: str) -> Line:
    match = re.fullmatch(rf"([A-Z0-9-]+)((?:{PARAM})*):(.*)", text)
    assert match is not None, text
    params = {name: value.strip('"') for name, value in re.findall(PARAM, match[2])}
    return Line(match[1], params, match[5])


def unescape(value: str) -> str:
    """Decode the escapes of RFC 5545 3.3.11; fails on any other."""
    assert not re.search(r"(?<!\\)(?:\\\\)*(?:[;,]|\\[^\\;,nN])", value), value
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] in "nN" else match[1], value)


def get_line(lines: list[Line], name: str) -> Line:
    (line,) = [line for line in lines if line.name == name]
    return line


def test_the_strict_reader_finds_every_property_that_calendars_need() -> None:
    lines = read(build_request(CALL))
    assert [line.value for line in lines if line.name == "BEGIN"] == ["VCALENDAR", "VEVENT"]
    assert [line.value for line in lines if line.name == "END"] == ["VEVENT", "VCALENDAR"]
    values = {line.name: line.value for line in lines}
    assert values["VERSION"] == "2.0"
    assert values["METHOD"] == "REQUEST"
    assert values["PRODID"]
    assert values["UID"] == CALL.uid
    assert values["SEQUENCE"] == "0"
    assert values["STATUS"] == "CONFIRMED"
    assert values["DTSTAMP"] == "20261120T153012Z"
    assert values["LAST-MODIFIED"] == "20261119T090000Z"
    assert values["DTSTART"] == "20261209T010000Z"
    assert values["DTEND"] == "20261209T020000Z"
    assert unescape(values["SUMMARY"]) == CALL.title
    assert unescape(values["DESCRIPTION"]) == CALL.description
    assert values["URL"] == CALL.url
    assert values["X-MICROSOFT-DISALLOW-COUNTER"] == "TRUE"
    names = [line.name for line in lines]
    assert len(names) - len(set(names)) == 2  # BEGIN and END come twice, nothing else does


def test_exactly_one_attendee_is_asked_and_the_organizer_is_another() -> None:
    lines = read(build_request(CALL))
    attendee, organizer = get_line(lines, "ATTENDEE"), get_line(lines, "ORGANIZER")
    assert attendee.value == "mailto:ana@example.org"
    assert attendee.params == {
        "CUTYPE": "INDIVIDUAL",
        "ROLE": "REQ-PARTICIPANT",
        "PARTSTAT": "NEEDS-ACTION",
        "RSVP": "TRUE",
        "CN": "Ana Ruiz",
    }
    assert organizer.value == "mailto:calls@campaign.example"
    assert organizer.params == {"CN": "Restoring Trust"}


def test_the_library_reads_the_same() -> None:
    calendar = icalendar.Calendar.from_ical(build_request(CALL))
    (event,) = calendar.walk("VEVENT")
    assert str(calendar["METHOD"]) == "REQUEST"
    assert event["DTSTART"].dt == CALL.starts
    assert event["DTEND"].dt == CALL.ends
    assert str(event["SUMMARY"]) == CALL.title
    assert str(event["DESCRIPTION"]) == CALL.description
    assert event["ATTENDEE"].params["PARTSTAT"] == "NEEDS-ACTION"


def test_times_of_any_zone_are_written_in_utc_and_never_float() -> None:
    eastern = timezone(timedelta(hours=-5))
    invitation = replace(CALL, starts=CALL.starts.astimezone(eastern), ends=CALL.ends.astimezone(eastern))
    assert build_request(invitation) == build_request(CALL)
    assert b"TZID" not in build_request(invitation)
    with pytest.raises(AssertionError):
        build_request(replace(CALL, stamp=datetime(2026, 11, 20)))  # noqa: DTZ001


def test_the_same_invitation_is_the_same_bytes() -> None:
    assert build_request(CALL) == build_request(replace(CALL))


def test_a_person_without_a_name_is_shown_by_address() -> None:
    lines = read(build_request(replace(CALL, attendee=("", "ben@example.com"))))
    assert get_line(lines, "ATTENDEE").params["CN"] == "ben@example.com"


def test_a_call_without_a_link_has_no_url() -> None:
    assert b"\nURL" not in build_request(replace(CALL, url=""))


def test_a_backslash_before_an_n_stays_one() -> None:
    lines = read(build_request(replace(CALL, title=r"The folder C:\New, \new; and \\N")))
    assert unescape(get_line(lines, "SUMMARY").value) == r"The folder C:\New, \new; and \\N"


def test_a_name_cannot_add_a_property() -> None:
    name = 'Ben"\r\nATTENDEE:mailto:all@example.org\n;X="'
    lines = read(build_request(replace(CALL, attendee=(name, "ben@example.com"))))
    assert get_line(lines, "ATTENDEE").value == "mailto:ben@example.com"


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/\r\nATTENDEE:mailto:x@y.example", "https://a.example/\n", "https://a.example/\ra",
        "javascript:alert(1)", "ftp://a.example", "meet.example.org/call", "https://", "https://a b.example/",
        "https://[1/", 'https://a.example/"x', "https://a.example/\u202e", "https://a.example/\ud800",
    ],
)  # fmt: skip
def test_a_link_that_could_break_the_calendar_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="link to join"):
        build_request(replace(CALL, url=url))


@pytest.mark.parametrize(
    "address", ["", "ana", "a@b@c.example", "a\r\n@example.org", "a b@example.org", "<a@example.org>"]
)
def test_an_address_that_could_break_the_calendar_is_refused(address: str) -> None:
    with pytest.raises(BadInput):
        build_request(replace(CALL, attendee=("", address)))
    with pytest.raises(BadInput):
        build_request(replace(CALL, organizer=("", address)))


def test_the_organizer_never_invites_herself() -> None:
    with pytest.raises(BadInput, match="cannot be invited"):
        build_request(replace(CALL, attendee=("Calls", "Calls@Campaign.example")))


def test_a_call_ends_after_it_starts() -> None:
    with pytest.raises(BadInput, match="at least one minute"):
        build_request(replace(CALL, ends=CALL.starts))


def test_a_uid_names_one_event_and_one_invitee_for_ever() -> None:
    uids = {build_uid(7, 41, secret=SECRET, domain="example.org") for _ in range(3)}
    assert uids == {CALL.uid}
    assert re.fullmatch(r"7-[0-9a-f]{32}@example\.org", CALL.uid)
    others = {
        build_uid(7, 42, secret=SECRET, domain="example.org"),
        build_uid(8, 41, secret=SECRET, domain="example.org"),
        build_uid(7, 41, secret=b"another", domain="example.org"),
        build_uid(74, 1, secret=SECRET, domain="example.org"),
    }
    assert len(others | uids) == 5


def strip_controls(text: str) -> str:
    """Return a text as a calendar may show it: uniform line breaks, no control characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", "", text)


@given(
    title=st.text(max_size=120).filter(lambda text: not re.search("[\ud800-\udfff]", text)),
    description=st.text(max_size=400).filter(lambda text: not re.search("[\ud800-\udfff]", text)),
    name=st.text(max_size=60),
)
@example(
    title="Llamada de diciembre: ¿qué sigue? 🕊️" * 3, description="é" * 200, name="José 'Pepe' Núñez; ^n, Jr."
)
@example(title="\\" * 90, description=";,\\n" * 90, name='"' * 60)
def test_any_text_survives_folding_and_escaping(title: str, description: str, name: str) -> None:
    data = build_request(
        replace(CALL, title=title, description=description, attendee=(name, "ben@example.com"))
    )
    lines = read(data)
    assert unescape(get_line(lines, "SUMMARY").value) == " ".join(strip_controls(title).split())
    assert unescape(get_line(lines, "DESCRIPTION").value) == strip_controls(description)
    assert get_line(lines, "ATTENDEE").value == "mailto:ben@example.com"
    (event,) = icalendar.Calendar.from_ical(data).walk("VEVENT")
    assert event["UID"] == CALL.uid


@given(st.emails())
def test_any_address_comes_back_from_its_uri(address: str) -> None:
    lines = read(build_request(replace(CALL, attendee=("", address))))
    value = get_line(lines, "ATTENDEE").value
    assert re.fullmatch(r"mailto:[!-~]+", value)
    assert unquote(value.removeprefix("mailto:")) == address
