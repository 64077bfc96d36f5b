"""Signing up as an organizer: the address is confirmed by mail first, then staff look."""

from lists.contacts import DETAIL_LENGTH
from lists.directory import OFFER_LENGTH, Application
from mailer.sources.confirmations import SignupRequest
from mailer.web.public import signups
from mailer.web.public.signups import Reading
from mailer.web.visit import Page, Visit

TEMPLATE = "organize.html"
FIELDS = ("email", "name", "organization", "tradition", "role", "zip", "offer", "language", "discreet")


def show(visit: Visit) -> Page:
    """Show the empty form."""
    page = Reading(visit=visit, names=FIELDS)
    page.written["language"] = visit.language
    return signups.form(page, TEMPLATE, looked_at=False)


def post(visit: Visit) -> Page:
    """Read the form; put the mail that answers it into the outbox and keep the application until then."""
    reading = Reading(visit=visit, names=FIELDS)
    if "mend" in visit.form:
        return signups.mended(reading, TEMPLATE)
    address = reading.address()
    application = _application(reading)
    language = reading.language()
    if address is None or application is None or reading.mistakes:
        return signups.form(reading, TEMPLATE, status=422)
    if visit.hasty:
        return signups.answer(reading)
    if visit.overdue:
        return signups.form(reading, TEMPLATE, again=True)
    asked = SignupRequest(
        address=address,
        list="organizers",
        language=language,
        wording=str(visit.words.organize.consent),
        page=visit.path,
        name=application.name,
        discreet=bool(reading.written["discreet"]),
        mailbox=signups.mailbox(visit, address),
    )
    with visit.service.database.write() as session:
        if signups.braked(session, visit):
            return signups.too_many(visit)
        visit.service.confirmations.record_signup(session, asked, now=visit.now, application=application)
    return signups.answer(reading)


def _application(reading: Reading) -> Application | None:
    name = reading.line("name")
    organization = reading.line("organization", limit=DETAIL_LENGTH)
    if not organization:
        reading.mistakes["organization"] = reading.visit.words.organize.organization_missing
    tradition = reading.line("tradition", limit=DETAIL_LENGTH)
    role = reading.line("role", limit=DETAIL_LENGTH)
    place = reading.place(needed=True)
    offer = reading.line("offer", limit=OFFER_LENGTH, several=True)
    if place is None:
        return None
    return Application(
        organization=organization, name=name, tradition=tradition, role=role, zip=place.zip, offer=offer
    )
