"""Profile: a person's data that they may change, behind a link that was just mailed to their address."""

import re

from sqlalchemy.orm import Session

from lists import addresses, consents, contacts, topic_optouts
from lists import subscriptions as subs
from lists.contacts import Contact
from lists.errors import BadInput, NotFound
from lists.topic_optouts import TOPICS
from mailer.people import erasure
from mailer.sources import journeys
from mailer.web.page_request import PageRequest, PageResponse
from mailer.web.public.signups import FormInput

TEMPLATE = "profile.html"
VERSION = re.compile(r"[0-9]{1,9}")
FIELDS = ("name", "zip", "language", "discreet", "version")


def find_contact(session: Session, request: PageRequest) -> Contact:
    """Return the contact that the link of this request was mailed to; raises NotFound once it has expired."""
    contact_id = request.service.tokens.read_profile(request.parameters["token"], now=request.now)
    contact = None if contact_id is None else session.get(Contact, contact_id)
    if contact is None:
        raise NotFound("This link is not one of ours, or its hour is over.")
    return contact


def show(request: PageRequest) -> PageResponse:
    """Show the data, with the form to change it."""
    with request.service.database.read() as session:
        contact = find_contact(session, request)
        return _page(session, request.with_default_language(contact.language), contact)


def post(request: PageRequest) -> PageResponse:
    """Save the form, or erase this person; erasing needs a second confirmation."""
    action = request.form.get("do", "")
    with request.service.database.write() as session:
        contact = find_contact(session, request)
        request = request.with_default_language(contact.language)
        if action == "save":
            return _save(session, request, contact)
        if action == "forget":
            return PageResponse(request=request, template="forget.html", values={"email": contact.email})
        if action == "forget-surely":
            address = addresses.parse(contact.email, pepper=request.service.keys.pepper)
            erasure.erase_person(session, address, now=request.now, actor="the person")
            return PageResponse(request=request, template="forgotten.html")
    raise BadInput("That is not one of the buttons.")


def _save(session: Session, request: PageRequest, contact: Contact) -> PageResponse:
    form = FormInput(request=request, names=FIELDS)
    name, place, language = (
        form.read_line("name"),
        form.read_place(needed=False),
        form.read_language(),
    )
    version, previous_language = form.values["version"], contact.language
    if form.mistakes or not VERSION.fullmatch(version):
        return _page(session, request, contact, form=form)
    contacts.amend(
        session,
        contact.id,
        version=int(version),
        name=name,
        language=language,
        discreet=bool(form.values["discreet"]),
        **contacts.place_columns(place),
    )
    if place is not None and place.zone:
        journeys.change_zone(session, contact.id, zone=place.zone)
    _save_topics(session, request, contact)
    session.expire_all()
    page_request = request if language == previous_language else request.with_language(language)
    return _page(session, page_request, contact, did=True)


def _save_topics(session: Session, request: PageRequest, contact: Contact) -> None:
    """Store which kinds of mail are declined; kinds that are accepted again continue where they stopped."""
    declined = {topic for topic in TOPICS if not request.form.get(f"topic-{topic}")}
    if declined == topic_optouts.list_for_contact(session, contact.id):
        return
    resumed_topics = topic_optouts.set_optouts(
        session, contact_id=contact.id, topics=declined, now=request.now
    )
    if resumed_topics:
        subs.queue_contact(session, contact_id=contact.id)
    for entry in subs.list_for_contact(session, contact.id):
        if entry.state != "left":
            consents.add(
                session,
                contact_id=contact.id,
                list=entry.list,
                action="topics",
                wording=", ".join(topic for topic in TOPICS if topic not in declined),
                page="/mine",
                now=request.now,
            )


def _page(
    session: Session,
    request: PageRequest,
    contact: Contact,
    *,
    form: FormInput | None = None,
    did: bool = False,
) -> PageResponse:
    """Show the form with the stored values, or as it was just sent with the mistakes to correct."""
    stored_values = {"name": contact.name, "zip": contact.zip, "language": contact.language}
    stored_values |= {"discreet": "yes" if contact.discreet else "", "version": str(contact.version)}
    declined = topic_optouts.list_for_contact(session, contact.id)
    chosen_topics = [topic for topic in TOPICS if topic not in declined]
    if form is not None:
        chosen_topics = [topic for topic in TOPICS if request.form.get(f"topic-{topic}")]
    values = {
        "email": contact.email,
        "form_values": form.values if form else stored_values,
        "mistakes": form.mistakes if form else {},
        "topics": [{"name": topic, "wanted": topic in chosen_topics} for topic in TOPICS],
        "did": did,
    }
    return PageResponse(request=request, template=TEMPLATE, values=values, status=422 if form else 200)
