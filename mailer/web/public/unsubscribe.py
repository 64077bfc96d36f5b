"""Unsubscribe: leaving one list by the link in a mail: a button for people, RFC 8058's POST for programs."""

from lists import merge_redirects
from lists.errors import NotFound
from mailer.web.page_request import PageRequest, PageResponse
from mailer.web.public import added_list, opt_out

PAGE = "/unsubscribe"


def show(request: PageRequest) -> PageResponse:
    """Show the button; nothing changes."""
    contact_id, list_name = _read_token(request)
    with request.service.database.read() as session:
        contact = merge_redirects.find_contact(session, contact_id)
        if contact is None:
            raise NotFound("This link is not one of ours.")
        request = request.with_default_language(contact.language)
        question = added_list.leave_question(session, request, list_name)
    preferences = f"/preferences/{request.service.tokens.sign_preferences(contact.id)}"
    return PageResponse(
        request=request,
        template="unsubscribe.html",
        values={"question": question, "preferences": preferences},
    )


def post(request: PageRequest) -> PageResponse:
    """Leave the list that the link names; the response is the same whether the person was on it or not."""
    contact_id, list_name = _read_token(request)
    with request.service.database.write() as session:
        contact = merge_redirects.find_contact(session, contact_id)
        if contact is None:
            raise NotFound("This link is not one of ours.")
        opt_out.leave(session, contact_id=contact.id, list=list_name, page=PAGE, now=request.now)
        request = request.with_default_language(contact.language)
    return PageResponse(
        request=request, template="left.html", values={"sign_up": added_list.sign_up_path(list_name)}
    )


def _read_token(request: PageRequest) -> tuple[int, str]:
    payload = request.service.tokens.read_unsubscribe(request.parameters["token"])
    if payload is None:
        raise NotFound("This link is not one of ours.")
    return payload
