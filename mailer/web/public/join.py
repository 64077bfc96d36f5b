"""Joining the interest list, or one that staff added: a form with one needed field.

The answer tells nobody who is known.
"""

from dataclasses import dataclass

from lists.errors import NotFound
from mailer.sources.confirmations import SignupRequest
from mailer.web import signup_sheet
from mailer.web.public import added_list, signups
from mailer.web.public.signups import FormInput
from mailer.web.visit import PageRequest, PageResponse

TEMPLATE = "join.html"
FIELDS = ("email", "name", "zip", "language", "discreet", "via")


@dataclass(frozen=True, kw_only=True)
class ListOffer:
    """A list as its page offers it; `consent` is the wording that is kept as evidence."""

    list: str
    title: str
    heading: str
    lead: str
    consent: str
    closed: bool = False


def show(request: PageRequest) -> PageResponse:
    """Show the empty form."""
    offer = _find_offer(request)
    page = FormInput(request=request, names=FIELDS)
    page.values["language"] = request.language
    page.values["via"] = signup_sheet.parse_tag(request.query.get("via", ""))
    if offer.closed:
        return _closed_page(request, offer)
    return signups.show_form(page, TEMPLATE, seen_before=False, page_values={"offer": offer})


def post(request: PageRequest) -> PageResponse:
    """Read the form; put the mail that answers it into the outbox."""
    offer = _find_offer(request)
    if offer.closed:
        return _closed_page(request, offer)
    reading = FormInput(request=request, names=FIELDS)
    if "mend" in request.form:
        return signups.show_corrected(reading, TEMPLATE, page_values={"offer": offer})
    address, place, language = (
        reading.read_address(),
        reading.read_place(needed=False),
        reading.read_language(),
    )
    name, via = reading.read_line("name"), signup_sheet.parse_tag(reading.values["via"])
    if address is None or reading.mistakes:
        return signups.show_form(reading, TEMPLATE, status=422, page_values={"offer": offer})
    if request.is_automated:
        return signups.show_sent(reading)
    if request.is_expired:
        return signups.show_form(reading, TEMPLATE, again=True, page_values={"offer": offer})
    asked = SignupRequest(
        address=address,
        list=offer.list,
        language=language,
        wording=offer.consent,
        page=f"{request.path}?via={via}" if via else request.path,
        name=name,
        place=place,
        discreet=bool(reading.values["discreet"]),
        mailbox=signups.hash_mailbox(request, address),
    )
    with request.service.database.write() as session:
        if signups.is_throttled(session, request):
            return signups.show_throttled(request)
        request.service.confirmations.record_signup(session, asked, now=request.now)
    return signups.show_sent(reading)


def _find_offer(request: PageRequest) -> ListOffer:
    """Return what the page of this address offers; raises NotFound where there is no such list."""
    said, name = request.words.join, request.parameters.get("list")
    if name is None:
        return ListOffer(
            list="interest", title=said.title, heading=said.heading, lead=said.lead, consent=str(said.consent)
        )
    with request.service.database.read() as session:
        words = added_list.describe(session, request, name)
    if words is None:
        raise NotFound("There is no such list.")
    return ListOffer(
        list=name,
        title=words.title,
        heading=words.title,
        lead=words.about,
        consent=f"{said.consent_added.format(title=words.title)} {words.about}",
        closed=words.closed,
    )


def _closed_page(request: PageRequest, offer: ListOffer) -> PageResponse:
    return PageResponse(request=request, template="closed.html", values={"offer": offer}, status=410)
