"""iCalendar: one private invitation as the bytes of a VCALENDAR; the only importer of icalendar.

Times are written in UTC (`Z`), not with TZID and VTIMEZONE. Every entry is one meeting without a recurrence
rule, so a zone would not change its moment, and calendars cannot misread UTC: some take a zone's name for one
of their own, some ignore the VTIMEZONE, and an hour that comes twice in autumn is unambiguous. Each calendar
shows the reader's own time anyway, and the text of the mail names the organizer's. Should a zone's law change
between the sending and the call, the event's moment changes, and that is an update with a higher SEQUENCE
like any other. It also saves 480 octets a message.

Standards: RFC 5545 (format), RFC 5546 (REQUEST), RFC 6868 (parameter values).
"""

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from lists import keyed_hash
from lists.errors import BadInput

PRODID = "-//beloved-mailer//EN"
MAX_TITLE = 200  # characters; calendars show about 60
MAX_NAME = 80
MAX_DESCRIPTION = 4000
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
MAILTO_SAFE = "@!$&'*+-./=_~"  # characters that RFC 6068 allows in a mailto URI and an address may hold


@dataclass(frozen=True, kw_only=True)
class CalendarInvitation:
    """The content of one person's calendar entry; all moments are aware, and are written in UTC.

    `stamp` is the DTSTAMP and belongs to the message, so a resend has the same bytes; `modified` is when the
    event was last changed. `organizer` and `attendee` are (name, address); a name may be "". `url` may be "".
    """

    uid: str
    sequence: int
    stamp: datetime
    modified: datetime
    starts: datetime
    ends: datetime
    title: str
    description: str
    url: str
    organizer: tuple[str, str]
    attendee: tuple[str, str]


def build_uid(event_id: int, contact_id: int, *, secret: bytes, domain: str) -> str:
    """Return the UID of one event for one invitee: the same for ever, and impossible to guess.

    It identifies the invitee even where a calendar answers from another address or omits the organizer.
    """
    digest = keyed_hash.compute(secret, "invitation", f"{event_id}/{contact_id}")
    return f"{event_id}-{digest.hex()}@{domain}"


def build_request(invitation: CalendarInvitation) -> bytes:
    """Return the VCALENDAR with METHOD:REQUEST: UTF-8, CRLF, folded at 75 octets, the same bytes each time.

    Raises BadInput for a URL that is not http(s) or holds spaces or line breaks, for an address that could
    break out of its URI, for an organizer who is the invitee (Outlook discards such mail), and for a call
    that ends before it starts.
    """
    import icalendar  # here, because it takes 0.1 s to import and only a call needs it

    _check(invitation)
    event = icalendar.Event()
    event.add("uid", _line(invitation.uid, MAX_TITLE))
    event.add("sequence", invitation.sequence)
    event.add("status", "CONFIRMED")
    event.add("dtstamp", _utc(invitation.stamp))
    event.add("last-modified", _utc(invitation.modified))
    event.add("dtstart", _utc(invitation.starts))
    event.add("dtend", _utc(invitation.ends))
    event["summary"] = _TextValue(_line(invitation.title, MAX_TITLE), icalendar.Parameters())
    event["description"] = _TextValue(
        _plain(invitation.description)[:MAX_DESCRIPTION], icalendar.Parameters()
    )
    event.add("organizer", _mailbox(icalendar.vCalAddress, invitation.organizer))
    attendee = _mailbox(icalendar.vCalAddress, invitation.attendee)
    for name, value in (
        ("CUTYPE", "INDIVIDUAL"),
        ("ROLE", "REQ-PARTICIPANT"),
        ("PARTSTAT", "NEEDS-ACTION"),
        ("RSVP", "TRUE"),
    ):
        attendee.params[name] = value
    event.add("attendee", attendee)
    if invitation.url:
        event.add("url", invitation.url)
    event.add("x-microsoft-disallow-counter", "TRUE")
    calendar = icalendar.Calendar()
    calendar.add("version", "2.0")
    calendar.add("prodid", PRODID)
    calendar.add("method", "REQUEST")
    calendar.add_component(event)
    return bytes(calendar.to_ical())


class _TextValue:
    """A TEXT value with its own escapes: icalendar 7.3 turns a backslash before an N into a line break."""

    def __init__(self, text: str, params: Any) -> None:
        self.text = text
        self.params = params

    def to_ical(self) -> bytes:
        escaped = self.text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
        return escaped.replace("\n", "\\n").encode()


def _check(invitation: CalendarInvitation) -> None:
    organizer, attendee = invitation.organizer[1], invitation.attendee[1]
    if organizer.casefold() == attendee.casefold():
        raise BadInput("The organizer's address cannot be invited: calendars put such a mail aside.")
    for address in (organizer, attendee):
        if (
            address.count("@") != 1
            or not _has_no_blanks(address)
            or any(character in address for character in '<>",;')
        ):
            raise BadInput("An address in the invitation is not one bare email address.")
    if invitation.url:
        check_url(invitation.url)
    if invitation.ends <= invitation.starts:
        raise BadInput("The call ends before it starts. Please give it at least one minute.")
    if invitation.sequence < 0:
        raise BadInput("The sequence number of a call cannot be below zero.")


def check_url(url: str) -> None:
    """Raise BadInput unless this is one http or https address that is valid in a calendar and in a mail."""
    try:
        parts = urlsplit(url)
        is_web_address = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_web_address = False
    if not is_web_address:
        raise BadInput("The link to join must begin with https:// or http:// and name a site.")
    if not _has_no_blanks(url) or any(character in url for character in '<>"\\^`{|}'):
        raise BadInput("The link to join holds a space, a line break or another character no link can have.")


def _has_no_blanks(text: str) -> bool:
    return all(character.isprintable() and not character.isspace() for character in text)


def _utc(moment: datetime) -> datetime:
    assert moment.tzinfo is not None, "a floating time would mean another moment in each calendar"
    return moment.astimezone(UTC).replace(microsecond=0)


def _mailbox(address_type: Any, mailbox: tuple[str, str]) -> Any:
    name, address = mailbox
    value = address_type("mailto:" + quote(address, safe=MAILTO_SAFE))
    # A quotation mark cannot stand in a parameter, and few calendars know the escape of RFC 6868 for it.
    value.params["CN"] = _line(name, MAX_NAME).replace('"', "'") or address
    return value


def _line(text: str, limit: int) -> str:
    return " ".join(_plain(text).split())[:limit].rstrip()


def _plain(text: str) -> str:
    """Return the text with plain line breaks and without characters that a calendar must not contain."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    text = "".join(
        "\N{REPLACEMENT CHARACTER}" if "\ud800" <= character <= "\udfff" else character for character in text
    )
    return "".join(
        character
        for character in text
        if character == "\n" or (unicodedata.category(character) != "Cc" and character not in BIDI_CONTROLS)
    )
