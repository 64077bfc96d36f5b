"""Post office pages: every mail of the try-out as it looks, and the time machine."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from lists.errors import BadInput, NotFound
from mailer.templates import local_time
from mailer.tryout import postoffice, time_machine
from mailer.tryout.message_reader import ParsedMessage, parse_message
from mailer.tryout.postoffice import CapturedMessage
from mailer.web.access import FRAMED_MAIL_POLICY
from mailer.web.page_request import HandlerResponse, PageRedirect, PageRequest, PageResponse, RawResponse

PATH = "/postoffice"
MESSAGES_PER_PAGE = 50
MAX_JSON_MESSAGES = 10_000  # in messages.json
LEAD_ALLOWANCE = timedelta(hours=1)  # what went by while the clock was moved is missing from its lead
MAX_HOURS = time_machine.MAX_ADVANCE.days * 24
LINK = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]]")
HEAD_TAG = re.compile(r"<head[^>]*>", re.IGNORECASE)
NEW_TAB = '<base target="_blank">'  # links of the framed mail open in a new tab, not inside the frame


class PostOfficePages:
    """The handlers of the post office; `drain` delivers all that is due, or waits until that is done."""

    def __init__(self, drain: Callable[[], object]) -> None:
        self._drain = drain

    def show(self, request: PageRequest) -> HandlerResponse:
        """Show the clock, the time machine and the mails, newest first."""
        return _list_page(request)

    def advance(self, request: PageRequest) -> HandlerResponse:
        """Move the clock by `days` or `hours`, or with `until=next` to the next mail."""
        form, service = request.form, request.service
        machine = service.time_machine(drain=lambda: _discard(self._drain()))
        with service.database.read() as session:
            count_before = postoffice.count_messages(session)
        if form.get("until") == "next":
            outcome: object = machine.advance_to_next()
        else:
            try:
                length = _parse_length(form.get("days", ""), form.get("hours", ""))
            except BadInput:
                sentence = request.words.office.days_bad(limit=time_machine.MAX_ADVANCE.days)
                return _list_page(request, mistakes={"days": sentence}, status=400)
            outcome = machine.advance(length)
        with service.database.read() as session:
            arrivals = postoffice.count_messages(session) - count_before
        return PageRedirect(path=PATH, query={"came": str(max(arrivals, 0)) if outcome else "none"})

    def mail(self, request: PageRequest) -> HandlerResponse:
        """Show one mail: as it looks, as text, its calendar part, headers and source."""
        message = _find_message(request)
        parsed = parse_message(message.raw)
        mail = {
            "id": message.id,
            "subject": message.subject,
            "to": message.to,
            "sender": next((value for name, value in parsed.headers if name.lower() == "from"), ""),
            "when": _format_time(request, message.date),
            "has_html": bool(parsed.html),
            "text": list(_split_links(parsed.text)),
            "calendar": parsed.calendar,
            "attachments": parsed.attachments,
            "headers": "\n".join(f"{name}: {value}" for name, value in parsed.headers),
            "source": parsed.source,
            "damage": parsed.damage,
        }
        return PageResponse(request=request, template="mail.html", values={"mail": mail})

    def html(self, request: PageRequest) -> HandlerResponse:
        """Return the HTML of one mail for the sandboxed frame: no script, no form, nothing fetched."""
        parsed: ParsedMessage = parse_message(_find_message(request).raw)
        html = HEAD_TAG.sub(lambda match: match.group() + NEW_TAB, parsed.html, count=1)
        if html == parsed.html:
            html = NEW_TAB + html
        return RawResponse(
            body=html.encode("utf-8", "replace"),
            kind="text/html; charset=utf-8",
            headers={
                "Content-Security-Policy": FRAMED_MAIL_POLICY,
                "Referrer-Policy": "no-referrer",
            },
        )

    def raw(self, request: PageRequest) -> HandlerResponse:
        """Return one message as it arrived, as a file to save."""
        message = _find_message(request)
        name = f'attachment; filename="message-{message.id}.eml"'
        return RawResponse(body=message.raw, kind="message/rfc822", headers={"Content-Disposition": name})

    def messages(self, request: PageRequest) -> HandlerResponse:
        """Return every mail as JSON, newest first: id, to, subject, date (RFC 3339, UTC), raw (a link)."""
        with request.service.database.read() as session:
            captured = postoffice.list_messages(session, limit=MAX_JSON_MESSAGES)
        values = [
            {
                "id": message.id,
                "to": message.to,
                "subject": message.subject,
                "date": message.date.isoformat().replace("+00:00", "Z"),
                "raw": f"{PATH}/messages/{message.id}/raw",
            }
            for message in reversed(captured)
        ]
        return RawResponse(body=json.dumps(values, ensure_ascii=True).encode(), kind="application/json")


def _list_page(
    request: PageRequest, *, mistakes: dict[str, str] | None = None, status: int = 200
) -> PageResponse:
    before = _parse_number(request.query.get("page", ""))
    with request.service.database.read() as session:
        captured = postoffice.list_messages(session, limit=MESSAGES_PER_PAGE + 1, before=before)
        offset = time_machine.get_offset(session)
    page, has_older = captured[-MESSAGES_PER_PAGE:], len(captured) > MESSAGES_PER_PAGE
    values = {
        "mails": [
            {"id": each.id, "to": each.to, "subject": each.subject, "when": _format_time(request, each.date)}
            for each in reversed(page)
        ],
        "older": page[0].id if has_older else "",
        "newer": before is not None,
        "clock": _format_time(request, request.now),
        "instant": request.now.astimezone(UTC).isoformat(timespec="seconds"),
        "ahead": _format_lead(request, offset),
        "did": _describe_advance(request) if status == 200 else "",
        "mistakes": mistakes or {},
        "days": request.form.get("days", "25")[:10],
    }
    return PageResponse(request=request, template="postoffice.html", values=values, status=status)


def _find_message(request: PageRequest) -> CapturedMessage:
    number = _parse_number(request.parameters["id"])
    if number is None:
        raise NotFound("There is no such mail.")
    with request.service.database.read() as session:
        return postoffice.get_message(session, number)


def _parse_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _parse_length(days: str, hours: str) -> timedelta:
    whole_days, whole_hours = _parse_number(days.strip()), _parse_number(hours.strip())
    if bool(days.strip()) == bool(hours.strip()) or whole_days == whole_hours:
        raise BadInput("Say days, or hours.")
    length = timedelta(hours=min((whole_days or 0) * 24 + (whole_hours or 0), MAX_HOURS + 1))
    if not timedelta(0) < length <= time_machine.MAX_ADVANCE:
        raise BadInput("Too far, or nowhere.")
    return length


def _format_time(request: PageRequest, moment: datetime) -> str:
    zone = request.service.settings.default_zone
    local = moment.astimezone(ZoneInfo(zone))
    day = local_time.format_weekday_date(local.date(), language=request.language)
    clock = local_time.format_time(local, language=request.language)
    return f"{day}, {clock} {local_time.zone_name(zone, language=request.language)}"


def _format_lead(request: PageRequest, offset: timedelta) -> str:
    words = request.words.office
    days = (offset + LEAD_ALLOWANCE).days
    if not days:
        return ""
    return str(words.one_day_ahead if days == 1 else words.days_ahead(count=days))


def _describe_advance(request: PageRequest) -> str:
    words, arrivals = request.words.office, request.query.get("came", "")
    if arrivals == "none":
        return str(words.nothing_next)
    number = _parse_number(arrivals)
    if number is None:
        return ""
    count = {0: words.no_mails, 1: words.one_mail}.get(number) or words.many_mails(count=number)
    return str(words.advanced(count=count))


def _split_links(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the text in pieces, each with whether it is a link."""
    end = 0
    for match in LINK.finditer(text):
        yield text[end : match.start()], False
        yield match.group(), True
        end = match.end()
    yield text[end:], False


def _discard(_result: object) -> None:
    return None
