"""Joining the interest list, or one that staff added: a form with one needed field.

The answer tells nobody who is known.
"""

from dataclasses import dataclass

from lists.errors import NotFound
from mailer.sources.confirmations import SignupRequest
from mailer.web import signup_sheet
from mailer.web.public import added_list, signups
from mailer.web.public.signups import Reading
from mailer.web.visit import Page, Visit

TEMPLATE = "join.html"
FIELDS = ("email", "name", "zip", "language", "discreet", "via")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A list as its page offers it; `consent` is the wording that is kept as evidence."""

    list: str
    title: str
    heading: str
    lead: str
    consent: str
    closed: bool = False


def show(visit: Visit) -> Page:
    """Show the empty form."""
    offer = _offer(visit)
    page = Reading(visit=visit, names=FIELDS)
    page.written["language"] = visit.language
    page.written["via"] = signup_sheet.known(visit.query.get("via", ""))
    if offer.closed:
        return _closed(visit, offer)
    return signups.form(page, TEMPLATE, looked_at=False, own={"offer": offer})


def post(visit: Visit) -> Page:
    """Read the form; put the mail that answers it into the outbox."""
    offer = _offer(visit)
    if offer.closed:
        return _closed(visit, offer)
    reading = Reading(visit=visit, names=FIELDS)
    if "mend" in visit.form:
        return signups.mended(reading, TEMPLATE, own={"offer": offer})
    address, place, language = reading.address(), reading.place(needed=False), reading.language()
    name, via = reading.line("name"), signup_sheet.known(reading.written["via"])
    if address is None or reading.mistakes:
        return signups.form(reading, TEMPLATE, status=422, own={"offer": offer})
    if visit.hasty:
        return signups.answer(reading)
    if visit.overdue:
        return signups.form(reading, TEMPLATE, again=True, own={"offer": offer})
    asked = SignupRequest(
        address=address,
        list=offer.list,
        language=language,
        wording=offer.consent,
        page=f"{visit.path}?via={via}" if via else visit.path,
        name=name,
        place=place,
        discreet=bool(reading.written["discreet"]),
        mailbox=signups.mailbox(visit, address),
    )
    with visit.service.database.write() as session:
        if signups.braked(session, visit):
            return signups.too_many(visit)
        visit.service.confirmations.record_signup(session, asked, now=visit.now)
    return signups.answer(reading)


def _offer(visit: Visit) -> Offer:
    """Return what the page of this address offers; raises NotFound where there is no such list."""
    said, name = visit.words.join, visit.parameters.get("list")
    if name is None:
        return Offer(
            list="interest", title=said.title, heading=said.heading, lead=said.lead, consent=str(said.consent)
        )
    with visit.service.database.read() as session:
        words = added_list.words(session, visit, name)
    if words is None:
        raise NotFound("There is no such list.")
    return Offer(
        list=name,
        title=words.title,
        heading=words.title,
        lead=words.about,
        consent=f"{said.consent_added.format(title=words.title)} {words.about}",
        closed=words.closed,
    )


def _closed(visit: Visit, offer: Offer) -> Page:
    return Page(visit=visit, template="closed.html", values={"offer": offer}, status=410)
