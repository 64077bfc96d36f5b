"""How somebody is written to: language, a pause, leaving. Mails get forwarded, so no name, no address."""

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
from mailer.web.public import added_list, leaving
from mailer.web.visit import Page, Visit

PAGE = "/preferences"
PAUSES = {"pause-30": timedelta(days=30), "pause-90": timedelta(days=90)}


def show(visit: Visit) -> Page:
    """Show what can be chosen."""
    with visit.service.database.read() as session:
        contact = _contact(session, visit)
        return _page(session, visit.speaking(contact.language), contact)


def post(visit: Visit) -> Page:
    """Do the one thing whose button was pressed, and say so."""
    wish = visit.form.get("do", "")
    with visit.service.database.write() as session:
        contact = _contact(session, visit)
        if wish == "language":
            visit = _speak(session, visit, contact)
        elif wish in PAUSES or wish == "resume":
            _pause(session, visit, contact, until=visit.now + PAUSES[wish] if wish in PAUSES else None)
        elif wish == "mine":
            if contact.readdressed_at is not None:
                wish = "mine-later"
            elif not visit.service.confirmations.send_access_link(session, contact.id, now=visit.now):
                wish = "mine-enough"
        elif wish == "leave-all":
            leaving.leave(session, contact_id=contact.id, page=PAGE, now=visit.now)
        elif wish.removeprefix("leave-") in catalog.list_names(session):
            name = wish.removeprefix("leave-")
            leaving.leave(session, contact_id=contact.id, list=name, page=PAGE, now=visit.now)
        else:
            raise BadInput("That is not one of the buttons.")
        session.flush()
        session.expire_all()
        return _page(session, visit.speaking(contact.language), contact, wish=wish)


def _contact(session: Session, visit: Visit) -> Contact:
    contact_id = visit.service.tokens.read_preferences(visit.parameters["token"])
    contact = None if contact_id is None else merge_redirects.find_contact(session, contact_id)
    if contact is None:
        raise NotFound("This link is not one of ours.")
    return contact


def _speak(session: Session, visit: Visit, contact: Contact) -> Visit:
    """Keep the language that was chosen, and go on in it."""
    language = visit.form.get("language", "")
    if language not in LANGUAGES:
        raise BadInput("That is not one of the languages.")
    contacts.amend(session, contact.id, language=language)
    _note(session, visit, contact, "language", language=language)
    return visit.switched(language)


def _pause(session: Session, visit: Visit, contact: Contact, *, until: datetime | None) -> None:
    subs.pause(session, contact_id=contact.id, until=until)
    _note(session, visit, contact, "paused" if until else "resumed")


def _note(session: Session, visit: Visit, contact: Contact, action: str, *, language: str = "") -> None:
    for entry in _standing(session, contact):
        consents.add(
            session,
            contact_id=contact.id,
            list=entry.list,
            action=action,
            page=PAGE,
            language=language,
            now=visit.now,
        )


def _standing(session: Session, contact: Contact) -> Sequence[Subscription]:
    return [entry for entry in subs.list_for_contact(session, contact.id) if entry.state != "left"]


def _page(session: Session, visit: Visit, contact: Contact, *, wish: str = "") -> Page:
    standing = _standing(session, contact)
    ends = [entry.paused_until for entry in standing if entry.paused_until and entry.paused_until > visit.now]
    zone = find_zone(contact.zone) or find_zone(visit.service.settings.default_zone)
    until = local_time.format_day(max(ends).astimezone(zone), language=visit.language) if ends else ""
    said = visit.words.preferences
    did = ""
    if wish in PAUSES:
        did = said.did_pause(date=until)
    elif wish:
        did = said.get(f"did_{wish.replace('-', '_')}") or said.did_leave_added(
            title=added_list.title(session, visit, wish.removeprefix("leave-"))
        )
    values = {
        "language": contact.language,
        "lists": [
            {
                "list": entry.list,
                "title": added_list.title(session, visit, entry.list),
                "pending": entry.state == "pending",
            }
            for entry in standing
        ],
        "can_pause": any(entry.state == "confirmed" for entry in standing),
        "paused_until": until,
        "did": did,
    }
    return Page(visit=visit, template="preferences.html", values=values)
