"""Join: sign-up to the interest list, or one that staff added: a form with one required field.

The response does not reveal which addresses are stored.
"""

from dataclasses import dataclass

from lists.errors import NotFound
from mailer.sources.confirmations import SignupRequest
from mailer.web import congregation_slug
from mailer.web.page_request import PageRequest, PageResponse
from mailer.web.public import added_list, signups
from mailer.web.public.signups import FormInput

TEMPLATE = "join.html"
FIELDS = ("email", "name", "zip", "language", "discreet", "via")


@dataclass(frozen=True, kw_only=True)
class ListOffer:
    """A list as its page offers it; `consent` is the wording that is stored as evidence."""

    list: str
    title: str
    heading: str
    lead: str
    consent: str
    closed: bool = False


def show(request: PageRequest) -> PageResponse:
    """Show the empty form."""
    offer = _find_offer(request)
    form = FormInput(request=request, names=FIELDS)
    form.values["language"] = request.language
    form.values["via"] = congregation_slug.parse(request.query.get("via", ""))
    if offer.closed:
        return _closed_page(request, offer)
    return signups.show_form(form, TEMPLATE, seen_before=False, page_values={"offer": offer})


def post(request: PageRequest) -> PageResponse:
    """Read the form; queue the mail that answers it."""
    offer = _find_offer(request)
    if offer.closed:
        return _closed_page(request, offer)
    form = FormInput(request=request, names=FIELDS)
    if "mend" in request.form:
        return signups.show_corrected(form, TEMPLATE, page_values={"offer": offer})
    address, place, language = (
        form.read_address(),
        form.read_place(needed=False),
        form.read_language(),
    )
    name, via = form.read_line("name"), congregation_slug.parse(form.values["via"])
    if address is None or form.mistakes:
        return signups.show_form(form, TEMPLATE, status=422, page_values={"offer": offer})
    if request.is_automated:
        return signups.show_sent(form)
    if request.is_expired:
        return signups.show_form(form, TEMPLATE, is_expired=True, page_values={"offer": offer})
    signup = SignupRequest(
        address=address,
        list=offer.list,
        language=language,
        wording=offer.consent,
        page=f"{request.path}?via={via}" if via else request.path,
        name=name,
        place=place,
        discreet=bool(form.values["discreet"]),
        mailbox=signups.hash_mailbox(request, address),
    )
    with request.service.database.write() as session:
        if signups.is_throttled(session, request):
            return signups.show_throttled(request)
        request.service.confirmations.record_signup(session, signup, now=request.now)
    return signups.show_sent(form)


def _find_offer(request: PageRequest) -> ListOffer:
    """Return the list that the page of this address offers; raises NotFound where there is no such list."""
    join_words, name = request.words.join, request.parameters.get("list")
    if name is None:
        return ListOffer(
            list="interest",
            title=join_words.title,
            heading=join_words.heading,
            lead=join_words.lead,
            consent=str(join_words.consent),
        )
    with request.service.database.read() as session:
        description = added_list.describe(session, request, name)
    if description is None:
        raise NotFound("There is no such list.")
    return ListOffer(
        list=name,
        title=description.title,
        heading=description.title,
        lead=description.about,
        consent=f"{join_words.consent_added.format(title=description.title)} {description.about}",
        closed=description.closed,
    )


def _closed_page(request: PageRequest, offer: ListOffer) -> PageResponse:
    return PageResponse(request=request, template="closed.html", values={"offer": offer}, status=410)
