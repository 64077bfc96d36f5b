"""Organize: sign-up as an organizer; the address is confirmed by mail first, then staff review it."""

from lists.contacts import DETAIL_LENGTH
from lists.directory import OFFER_LENGTH, Application
from mailer.sources.confirmations import SignupRequest
from mailer.web.page_request import PageRequest, PageResponse
from mailer.web.public import signups
from mailer.web.public.signups import FormInput

TEMPLATE = "organize.html"
FIELDS = ("email", "name", "organization", "tradition", "role", "zip", "offer", "language", "discreet")


def show(request: PageRequest) -> PageResponse:
    """Show the empty form."""
    form = FormInput(request=request, names=FIELDS)
    form.values["language"] = request.language
    return signups.show_form(form, TEMPLATE, seen_before=False)


def post(request: PageRequest) -> PageResponse:
    """Read the form; queue the mail that answers it and store the application until then."""
    form = FormInput(request=request, names=FIELDS)
    if "mend" in request.form:
        return signups.show_corrected(form, TEMPLATE)
    address = form.read_address()
    application = _read_application(form)
    language = form.read_language()
    if address is None or application is None or form.mistakes:
        return signups.show_form(form, TEMPLATE, status=422)
    if request.is_automated:
        return signups.show_sent(form)
    if request.is_expired:
        return signups.show_form(form, TEMPLATE, is_expired=True)
    signup = SignupRequest(
        address=address,
        list="organizers",
        language=language,
        wording=str(request.words.organize.consent),
        page=request.path,
        name=application.name,
        discreet=bool(form.values["discreet"]),
        mailbox=signups.hash_mailbox(request, address),
    )
    with request.service.database.write() as session:
        if signups.is_throttled(session, request):
            return signups.show_throttled(request)
        request.service.confirmations.record_signup(session, signup, now=request.now, application=application)
    return signups.show_sent(form)


def _read_application(form: FormInput) -> Application | None:
    name = form.read_line("name")
    organization = form.read_line("organization", limit=DETAIL_LENGTH)
    if not organization:
        form.mistakes["organization"] = form.request.words.organize.organization_missing
    tradition = form.read_line("tradition", limit=DETAIL_LENGTH)
    role = form.read_line("role", limit=DETAIL_LENGTH)
    place = form.read_place(needed=True)
    offer = form.read_line("offer", limit=OFFER_LENGTH, several=True)
    if place is None:
        return None
    return Application(
        organization=organization, name=name, tradition=tradition, role=role, zip=place.zip, offer=offer
    )
