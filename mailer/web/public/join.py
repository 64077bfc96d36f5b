"""Joining the interest list: a form with one needed field, and an answer that tells nobody who is known."""

from mailer.confirmations import Asked
from mailer.web import sheet
from mailer.web.public import signups
from mailer.web.public.signups import Reading
from mailer.web.visit import Page, Visit

TEMPLATE = "join.html"
FIELDS = ("email", "name", "zip", "language", "discreet", "via")


def show(visit: Visit) -> Page:
    """Show the empty form."""
    page = Reading(visit=visit, names=FIELDS)
    page.written["language"] = visit.language
    page.written["via"] = sheet.known(visit.query.get("via", ""))
    return signups.form(page, TEMPLATE, looked_at=False)


def post(visit: Visit) -> Page:
    """Read the form; put the mail that answers it into the outbox."""
    reading = Reading(visit=visit, names=FIELDS)
    if "mend" in visit.form:
        return signups.mended(reading, TEMPLATE)
    address, place, language = reading.address(), reading.place(needed=False), reading.language()
    name, via = reading.line("name"), sheet.known(reading.written["via"])
    if address is None or reading.mistakes:
        return signups.form(reading, TEMPLATE, status=422)
    if visit.hasty:
        return signups.answer(reading)
    if visit.overdue:
        return signups.form(reading, TEMPLATE, again=True)
    asked = Asked(
        address=address,
        list="interest",
        language=language,
        wording=str(visit.words.join.consent),
        page=f"{visit.path}?via={via}" if via else visit.path,
        name=name,
        place=place,
        discreet=bool(reading.written["discreet"]),
        mailbox=signups.mailbox(visit, address),
    )
    with visit.service.database.write() as session:
        if signups.braked(session, visit):
            return signups.too_many(visit)
        visit.service.confirmations.ask(session, asked, now=visit.now)
    return signups.answer(reading)
