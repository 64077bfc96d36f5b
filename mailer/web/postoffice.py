"""The post office to look at: every mail of the try-out as it looks, and the time machine beside it."""

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
from mailer.web.visit import Answer, Elsewhere, File, Page, Visit

PAGE = "/postoffice"
MAILS_A_PAGE = 50
MAILS_TOLD = 10_000  # in messages.json
MOST_HOURS = time_machine.MAX_ADVANCE.days * 24
LINK = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]]")
HEAD = re.compile(r"<head[^>]*>", re.IGNORECASE)
NEW_TAB = '<base target="_blank">'  # links of the framed mail open beside it, not inside the frame


class Office:
    """The handlers of the post office; `drain` does, or waits for, the delivery of all that is due."""

    def __init__(self, drain: Callable[[], object]) -> None:
        self._drain = drain

    def show(self, visit: Visit) -> Answer:
        """Show the clock, the time machine and the mails, newest first."""
        return _list(visit)

    def advance(self, visit: Visit) -> Answer:
        """Move the clock by `days` or `hours`, or with `until=next` to the next mail."""
        form, service = visit.form, visit.service
        machine = service.time_machine(drain=lambda: _nothing(self._drain()))
        with service.database.read() as session:
            before = postoffice.count_messages(session)
        if form.get("until") == "next":
            moved: object = machine.advance_to_next()
        else:
            try:
                length = _length(form.get("days", ""), form.get("hours", ""))
            except BadInput:
                sentence = visit.words.office.days_bad(limit=time_machine.MAX_ADVANCE.days)
                return _list(visit, mistakes={"days": sentence}, status=400)
            moved = machine.advance(length)
        with service.database.read() as session:
            came = postoffice.count_messages(session) - before
        return Elsewhere(path=PAGE, query={"came": str(max(came, 0)) if moved else "none"})

    def mail(self, visit: Visit) -> Answer:
        """Show one mail: as it looks, as text, its calendar part, headers and source."""
        message = _message(visit)
        held = parse_message(message.raw)
        mail = {
            "id": message.id,
            "subject": message.subject,
            "to": message.to,
            "sender": next((value for name, value in held.headers if name.lower() == "from"), ""),
            "when": _when(visit, message.date),
            "has_html": bool(held.html),
            "text": list(_linked(held.text)),
            "calendar": held.calendar,
            "method": held.method,
            "attachments": held.attachments,
            "headers": "\n".join(f"{name}: {value}" for name, value in held.headers),
            "source": held.source,
            "damage": held.damage,
        }
        return Page(visit=visit, template="mail.html", values={"mail": mail})

    def html(self, visit: Visit) -> Answer:
        """Give the HTML of one mail for the sandboxed frame: no script, no form, nothing fetched."""
        held: ParsedMessage = parse_message(_message(visit).raw)
        html = HEAD.sub(lambda head: head.group() + NEW_TAB, held.html, count=1)
        if html == held.html:
            html = NEW_TAB + html
        return File(
            body=html.encode("utf-8", "replace"),
            kind="text/html; charset=utf-8",
            headers={
                "Content-Security-Policy": FRAMED_MAIL_POLICY,
                "Referrer-Policy": "no-referrer",
            },
        )

    def raw(self, visit: Visit) -> Answer:
        """Give one message as it arrived, to keep as a file."""
        message = _message(visit)
        name = f'attachment; filename="message-{message.id}.eml"'
        return File(body=message.raw, kind="message/rfc822", headers={"Content-Disposition": name})

    def messages(self, visit: Visit) -> Answer:
        """Tell every mail as JSON, newest first: id, to, subject, date (RFC 3339, UTC), raw (a link)."""
        with visit.service.database.read() as session:
            found = postoffice.list_messages(session, limit=MAILS_TOLD)
        told = [
            {
                "id": message.id,
                "to": message.to,
                "subject": message.subject,
                "date": message.date.isoformat().replace("+00:00", "Z"),
                "raw": f"{PAGE}/messages/{message.id}/raw",
            }
            for message in reversed(found)
        ]
        return File(body=json.dumps(told, ensure_ascii=True).encode(), kind="application/json")


def _list(visit: Visit, *, mistakes: dict[str, str] | None = None, status: int = 200) -> Page:
    before = _number(visit.query.get("page", ""))
    with visit.service.database.read() as session:
        found = postoffice.list_messages(session, limit=MAILS_A_PAGE + 1, before=before)
        ahead = time_machine.get_offset(session)
    mails, more = found[-MAILS_A_PAGE:], len(found) > MAILS_A_PAGE
    values = {
        "mails": [
            {"id": each.id, "to": each.to, "subject": each.subject, "when": _when(visit, each.date)}
            for each in reversed(mails)
        ],
        "older": mails[0].id if more else "",
        "newer": before is not None,
        "clock": _when(visit, visit.now),
        "instant": visit.now.astimezone(UTC).isoformat(timespec="seconds"),
        "ahead": _ahead(visit, ahead),
        "did": _did(visit) if status == 200 else "",
        "mistakes": mistakes or {},
        "days": visit.form.get("days", "25")[:10],
    }
    return Page(visit=visit, template="postoffice.html", values=values, status=status)


def _message(visit: Visit) -> CapturedMessage:
    number = _number(visit.parameters["id"])
    if number is None:
        raise NotFound("There is no such mail.")
    with visit.service.database.read() as session:
        return postoffice.get_message(session, number)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _length(days: str, hours: str) -> timedelta:
    whole_days, whole_hours = _number(days.strip()), _number(hours.strip())
    if bool(days.strip()) == bool(hours.strip()) or whole_days == whole_hours:
        raise BadInput("Say days, or hours.")
    length = timedelta(hours=min((whole_days or 0) * 24 + (whole_hours or 0), MOST_HOURS + 1))
    if not timedelta(0) < length <= time_machine.MAX_ADVANCE:
        raise BadInput("Too far, or nowhere.")
    return length


def _when(visit: Visit, moment: datetime) -> str:
    zone = visit.service.settings.default_zone
    local = moment.astimezone(ZoneInfo(zone))
    day = local_time.format_day(local.date(), language=visit.language)
    clock = local_time.format_time(local, language=visit.language)
    return f"{day}, {local.year}, {clock} {local_time.zone_name(zone, language=visit.language)}"


def _ahead(visit: Visit, ahead: timedelta) -> str:
    words = visit.words.office
    if ahead < timedelta(days=1):
        return ""
    return str(words.one_day_ahead if ahead.days == 1 else words.days_ahead(count=ahead.days))


def _did(visit: Visit) -> str:
    words, came = visit.words.office, visit.query.get("came", "")
    if came == "none":
        return str(words.nothing_next)
    number = _number(came)
    if number is None:
        return ""
    count = {0: words.no_mails, 1: words.one_mail}.get(number) or words.many_mails(count=number)
    return str(words.advanced(count=count))


def _linked(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the text in pieces, each with whether it is a link."""
    end = 0
    for found in LINK.finditer(text):
        yield text[end : found.start()], False
        yield found.group(), True
        end = found.end()
    yield text[end:], False


def _nothing(_result: object) -> None:
    return None
