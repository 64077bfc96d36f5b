"""Leaving one list by the link in a mail: a button for people, RFC 8058's POST for mail programs."""

from lists import merge_redirects
from lists.errors import NotFound
from mailer.web.public import added_list, leaving
from mailer.web.visit import Page, Visit

PAGE = "/unsubscribe"


def show(visit: Visit) -> Page:
    """Show the button; nothing changes."""
    contact_id, list_name = _token(visit)
    with visit.service.database.read() as session:
        contact = merge_redirects.find_contact(session, contact_id)
        if contact is None:
            raise NotFound("This link is not one of ours.")
        visit = visit.speaking(contact.language)
        question = added_list.leave_question(session, visit, list_name)
    preferences = f"/preferences/{visit.service.tokens.preferences(contact.id)}"
    return Page(
        visit=visit,
        template="unsubscribe.html",
        values={"question": question, "preferences": preferences},
    )


def post(visit: Visit) -> Page:
    """Leave the list the link names; the same answer whether one was on it or not."""
    contact_id, list_name = _token(visit)
    with visit.service.database.write() as session:
        contact = merge_redirects.find_contact(session, contact_id)
        if contact is None:
            raise NotFound("This link is not one of ours.")
        leaving.leave(session, contact_id=contact.id, list=list_name, page=PAGE, now=visit.now)
        visit = visit.speaking(contact.language)
    return Page(visit=visit, template="left.html", values={"sign_up": added_list.page(list_name)})


def _token(visit: Visit) -> tuple[int, str]:
    read = visit.service.tokens.read_unsubscribe(visit.parameters["token"])
    if read is None:
        raise NotFound("This link is not one of ours.")
    return read
