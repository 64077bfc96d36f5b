"""RSVP: the answer to an invitation; the link in the mail only selects an answer, the button sends it."""

from sqlalchemy.orm import Session

from lists import merge_redirects
from lists.contacts import Contact
from lists.errors import NotFound
from mailer.events import events
from mailer.events.events import Event
from mailer.sources import invitations
from mailer.templates import local_time
from mailer.web.page_request import PageRequest, PageResponse


def show(request: PageRequest) -> PageResponse:
    """Show the call and the three answers, with one selected: the link's, else the one given before."""
    with request.service.database.read() as session:
        event, contact = _find_invitation(session, request)
        previous = invitations.get_answer(session, event_id=event.id, contact_id=contact.id) or ""
    parameter = request.query.get("answer", "")
    chosen = parameter if parameter in invitations.ANSWERS else previous
    return _page(request.with_default_language(contact.language), event, contact, answer=chosen)


def post(request: PageRequest) -> PageResponse:
    """Store the answer and show it; without an answer ask for one."""
    chosen = request.form.get("answer", "")
    with request.service.database.write() as session:
        event, contact = _find_invitation(session, request)
        request = request.with_default_language(contact.language)
        if event.is_over(request.now):
            return _page(request, event, contact, status=409)
        if chosen not in invitations.ANSWERS:
            return _page(request, event, contact, status=422, mistake=request.words.rsvp.missing)
        invitations.record_answer(
            session, event_id=event.id, contact_id=contact.id, answer=chosen, now=request.now
        )
    return _page(request, event, contact, answer=chosen, did=chosen)


def _find_invitation(session: Session, request: PageRequest) -> tuple[Event, Contact]:
    ids = request.service.tokens.read_rsvp(request.parameters["token"])
    if ids is None:
        raise NotFound("This link is not one of ours.")
    event, contact = events.find(session, ids[0]), merge_redirects.find_contact(session, ids[1])
    if event is None or contact is None:
        raise NotFound("This invitation is gone.")
    return event, contact


def _page(
    request: PageRequest,
    event: Event,
    contact: Contact,
    *,
    answer: str = "",
    did: str = "",
    mistake: str = "",
    status: int = 200,
) -> PageResponse:
    """Show the time in the invited person's zone but without naming their city: mails get forwarded."""
    when = local_time.format_for_reader(
        event.starts_at, zone=event.zone, language=request.language, reader_zone=contact.zone
    )
    closed = ""
    if event.is_over(request.now):
        closed = "cancelled" if event.status == "cancelled" else "past"
    values = {
        "call": {"title": event.title_in(request.language), "when": when},
        "answer": answer,
        "did": did,
        "closed": closed,
        "mistakes": {"answer": mistake} if mistake else {},
    }
    return PageResponse(request=request, template="rsvp.html", values=values, status=status)
