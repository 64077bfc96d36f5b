"""Answering an invitation: the link in the mail only chooses an answer; the button sends it."""

from sqlalchemy.orm import Session

from lists import merge_redirects
from lists.contacts import Contact
from lists.errors import NotFound
from mailer.events import events
from mailer.events.events import Event
from mailer.sources import invitations
from mailer.templates import local_time
from mailer.web.visit import Page, Visit


def show(visit: Visit) -> Page:
    """Show the call and the three answers, with one chosen: the link's, else the one given before."""
    with visit.service.database.read() as session:
        event, contact = _invitation(session, visit)
        before = invitations.get_answer(session, event_id=event.id, contact_id=contact.id) or ""
    asked = visit.query.get("answer", "")
    chosen = asked if asked in invitations.ANSWERS else before
    return _page(visit.speaking(contact.language), event, contact, answer=chosen)


def post(visit: Visit) -> Page:
    """Keep the answer and say so; without an answer ask for one."""
    chosen = visit.form.get("answer", "")
    with visit.service.database.write() as session:
        event, contact = _invitation(session, visit)
        visit = visit.speaking(contact.language)
        if event.is_over(visit.now):
            return _page(visit, event, contact, status=409)
        if chosen not in invitations.ANSWERS:
            return _page(visit, event, contact, status=422, mistake=visit.words.rsvp.missing)
        invitations.record_answer(
            session, event_id=event.id, contact_id=contact.id, answer=chosen, now=visit.now
        )
    return _page(visit, event, contact, answer=chosen, did=chosen)


def _invitation(session: Session, visit: Visit) -> tuple[Event, Contact]:
    read = visit.service.tokens.read_rsvp(visit.parameters["token"])
    if read is None:
        raise NotFound("This link is not one of ours.")
    event, contact = events.find(session, read[0]), merge_redirects.find_contact(session, read[1])
    if event is None or contact is None:
        raise NotFound("This invitation is gone.")
    return event, contact


def _page(
    visit: Visit,
    event: Event,
    contact: Contact,
    *,
    answer: str = "",
    did: str = "",
    mistake: str = "",
    status: int = 200,
) -> Page:
    """The time is told in the invited person's zone but without naming their city: mails get forwarded."""
    when = local_time.format_for_reader(
        event.starts_at, zone=event.zone, language=visit.language, reader_zone=contact.zone
    )
    closed = ""
    if event.is_over(visit.now):
        closed = "cancelled" if event.status == "cancelled" else "past"
    values = {
        "call": {"title": event.title_in(visit.language), "when": when},
        "answer": answer,
        "did": did,
        "closed": closed,
        "mistakes": {"answer": mistake} if mistake else {},
    }
    return Page(visit=visit, template="rsvp.html", values=values, status=status)
