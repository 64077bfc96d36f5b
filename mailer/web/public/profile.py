"""What is known of somebody and may be changed, behind a link that was just mailed to their address."""

from sqlalchemy.orm import Session

from lists import addresses, consents, contacts, topic_optouts
from lists import subscriptions as subs
from lists.contacts import Contact
from lists.errors import BadInput, NotFound
from lists.topic_optouts import TOPICS
from mailer.people import erasure
from mailer.sources import journeys
from mailer.web.public.signups import FormInput
from mailer.web.visit import PageRequest, PageResponse

TEMPLATE = "mine.html"
FIELDS = ("name", "zip", "language", "discreet", "version")


def find_contact(session: Session, request: PageRequest) -> Contact:
    """Return whom the link of this visit was mailed to; raises NotFound once its hour is over."""
    contact_id = request.service.tokens.read_profile(request.parameters["token"], now=request.now)
    contact = None if contact_id is None else session.get(Contact, contact_id)
    if contact is None:
        raise NotFound("This link is not one of ours, or its hour is over.")
    return contact


def show(request: PageRequest) -> PageResponse:
    """Show what is known, with what can be changed."""
    with request.service.database.read() as session:
        contact = find_contact(session, request)
        return _page(session, request.with_default_language(contact.language), contact)


def post(request: PageRequest) -> PageResponse:
    """Save the form, or forget this person; forgetting is asked about once more."""
    wish = request.form.get("do", "")
    with request.service.database.write() as session:
        contact = find_contact(session, request)
        request = request.with_default_language(contact.language)
        if wish == "save":
            return _save(session, request, contact)
        if wish == "forget":
            return PageResponse(request=request, template="forget.html", values={"email": contact.email})
        if wish == "forget-surely":
            address = addresses.parse(contact.email, pepper=request.service.keys.pepper)
            erasure.erase_person(session, address, now=request.now, actor="the person")
            return PageResponse(request=request, template="forgotten.html")
    raise BadInput("That is not one of the buttons.")


def _save(session: Session, request: PageRequest, contact: Contact) -> PageResponse:
    reading = FormInput(request=request, names=FIELDS)
    name, place, language = (
        reading.read_line("name"),
        reading.read_place(needed=False),
        reading.read_language(),
    )
    version, spoken = reading.values["version"], contact.language
    if reading.mistakes or not version.isdecimal():
        return _page(session, request, contact, form=reading)
    contacts.amend(
        session,
        contact.id,
        version=int(version),
        name=name,
        language=language,
        discreet=bool(reading.values["discreet"]),
        **contacts.place_columns(place),
    )
    if place is not None and place.zone:
        journeys.change_zone(session, contact.id, zone=place.zone)
    _save_topics(session, request, contact)
    session.expire_all()
    shown = request if language == spoken else request.with_language(language)
    return _page(session, shown, contact, did=True)


def _save_topics(session: Session, request: PageRequest, contact: Contact) -> None:
    """Keep which kinds of mail are wanted; what is wanted again goes on where it stopped."""
    declined = {topic for topic in TOPICS if not request.form.get(f"topic-{topic}")}
    if declined == topic_optouts.list_for_contact(session, contact.id):
        return
    wanted_again = topic_optouts.set_optouts(session, contact_id=contact.id, topics=declined, now=request.now)
    if wanted_again:
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
    """Show the form as it stands, or as it was just written with what must be mended."""
    known = {"name": contact.name, "zip": contact.zip, "language": contact.language}
    known |= {"discreet": "yes" if contact.discreet else "", "version": str(contact.version)}
    declined = topic_optouts.list_for_contact(session, contact.id)
    wanted = [topic for topic in TOPICS if topic not in declined]
    if form is not None:
        wanted = [topic for topic in TOPICS if request.form.get(f"topic-{topic}")]
    values = {
        "email": contact.email,
        "written": form.values if form else known,
        "mistakes": form.mistakes if form else {},
        "topics": [{"name": topic, "wanted": topic in wanted} for topic in TOPICS],
        "did": did,
    }
    return PageResponse(request=request, template=TEMPLATE, values=values, status=422 if form else 200)
