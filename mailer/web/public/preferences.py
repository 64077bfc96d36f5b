"""Preferences: language, a pause, leaving. Mails get forwarded, so the page shows no name and no address."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from lists import catalog, consents, contacts, merge_redirects
from lists import subscriptions as subs
from lists.contacts import LANGUAGES, Contact
from lists.errors import BadInput, NotFound
from lists.subscriptions import Subscription
from mailer.templates import local_time
from mailer.templates.local_time import find_zone
from mailer.web.page_request import PageRequest, PageResponse
from mailer.web.public import added_list, opt_out

PAGE = "/preferences"
PAUSE_LENGTHS = {"pause-30": timedelta(days=30), "pause-90": timedelta(days=90)}


def show(request: PageRequest) -> PageResponse:
    """Show the choices."""
    with request.service.database.read() as session:
        contact = _find_contact(session, request)
        return _page(session, request.with_default_language(contact.language), contact)


def post(request: PageRequest) -> PageResponse:
    """Carry out the action of the button that was pressed, and report it."""
    action = request.form.get("do", "")
    with request.service.database.write() as session:
        contact = _find_contact(session, request)
        if action == "language":
            request = _change_language(session, request, contact)
        elif action in PAUSE_LENGTHS or action == "resume":
            _pause(
                session,
                request,
                contact,
                until=request.now + PAUSE_LENGTHS[action] if action in PAUSE_LENGTHS else None,
            )
        elif action == "mine":
            if contact.readdressed_at is not None:
                action = "mine-later"
            elif not request.service.confirmations.send_access_link(session, contact.id, now=request.now):
                action = "mine-enough"
        elif action == "leave-all":
            opt_out.leave(session, contact_id=contact.id, page=PAGE, now=request.now)
        elif action.removeprefix("leave-") in catalog.list_names(session):
            name = action.removeprefix("leave-")
            opt_out.leave(session, contact_id=contact.id, list=name, page=PAGE, now=request.now)
        else:
            raise BadInput("That is not one of the buttons.")
        session.flush()
        session.expire_all()
        return _page(session, request.with_default_language(contact.language), contact, action=action)


def _find_contact(session: Session, request: PageRequest) -> Contact:
    contact_id = request.service.tokens.read_preferences(request.parameters["token"])
    contact = None if contact_id is None else merge_redirects.find_contact(session, contact_id)
    if contact is None:
        raise NotFound("This link is not one of ours.")
    return contact


def _change_language(session: Session, request: PageRequest, contact: Contact) -> PageRequest:
    """Store the chosen language, and continue in it."""
    language = request.form.get("language", "")
    if language not in LANGUAGES:
        raise BadInput("That is not one of the languages.")
    contacts.amend(session, contact.id, language=language)
    _add_consents(session, request, contact, "language", language=language)
    return request.with_language(language)


def _pause(session: Session, request: PageRequest, contact: Contact, *, until: datetime | None) -> None:
    subs.pause(session, contact_id=contact.id, until=until)
    _add_consents(session, request, contact, "paused" if until else "resumed")


def _add_consents(
    session: Session, request: PageRequest, contact: Contact, action: str, *, language: str = ""
) -> None:
    for entry in _list_active_subscriptions(session, contact):
        consents.add(
            session,
            contact_id=contact.id,
            list=entry.list,
            action=action,
            page=PAGE,
            language=language,
            now=request.now,
        )


def _list_active_subscriptions(session: Session, contact: Contact) -> Sequence[Subscription]:
    return [entry for entry in subs.list_for_contact(session, contact.id) if entry.state != "left"]


def _page(session: Session, request: PageRequest, contact: Contact, *, action: str = "") -> PageResponse:
    entries = _list_active_subscriptions(session, contact)
    ends = [
        entry.paused_until for entry in entries if entry.paused_until and entry.paused_until > request.now
    ]
    zone = find_zone(contact.zone) or find_zone(request.service.settings.default_zone)
    until = local_time.format_day(max(ends).astimezone(zone), language=request.language) if ends else ""
    words = request.words.preferences
    did = ""
    if action in PAUSE_LENGTHS:
        did = words.did_pause(date=until)
    elif action:
        did = words.get(f"did_{action.replace('-', '_')}") or words.did_leave_added(
            title=added_list.find_title(session, request, action.removeprefix("leave-"))
        )
    values = {
        "language": contact.language,
        "lists": [
            {
                "list": entry.list,
                "title": added_list.find_title(session, request, entry.list),
                "pending": entry.state == "pending",
            }
            for entry in entries
        ],
        "can_pause": any(entry.state == "confirmed" for entry in entries),
        "paused_until": until,
        "did": did,
    }
    return PageResponse(request=request, template="preferences.html", values=values)
