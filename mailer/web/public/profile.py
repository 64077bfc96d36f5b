"""What is known of somebody and may be changed, behind a link that was just mailed to their address."""

from sqlalchemy.orm import Session

from lists import addresses, consents, contacts, topic_optouts
from lists import subscriptions as subs
from lists.contacts import Contact
from lists.errors import BadInput, NotFound
from lists.topic_optouts import TOPICS
from mailer.people import erasure
from mailer.sources import journeys
from mailer.web.public.signups import Reading
from mailer.web.visit import Page, Visit

TEMPLATE = "mine.html"
FIELDS = ("name", "zip", "language", "discreet", "version")


def bearer(session: Session, visit: Visit) -> Contact:
    """Return whom the link of this visit was mailed to; raises NotFound once its hour is over."""
    contact_id = visit.service.tokens.read_profile(visit.parameters["token"], now=visit.now)
    contact = None if contact_id is None else session.get(Contact, contact_id)
    if contact is None:
        raise NotFound("This link is not one of ours, or its hour is over.")
    return contact


def show(visit: Visit) -> Page:
    """Show what is known, with what can be changed."""
    with visit.service.database.read() as session:
        contact = bearer(session, visit)
        return _page(session, visit.speaking(contact.language), contact)


def post(visit: Visit) -> Page:
    """Save the form, or forget this person; forgetting is asked about once more."""
    wish = visit.form.get("do", "")
    with visit.service.database.write() as session:
        contact = bearer(session, visit)
        visit = visit.speaking(contact.language)
        if wish == "save":
            return _save(session, visit, contact)
        if wish == "forget":
            return Page(visit=visit, template="forget.html", values={"email": contact.email})
        if wish == "forget-surely":
            address = addresses.parse(contact.email, pepper=visit.service.keys.pepper)
            erasure.forget(session, address, now=visit.now, actor="the person")
            return Page(visit=visit, template="forgotten.html")
    raise BadInput("That is not one of the buttons.")


def _save(session: Session, visit: Visit, contact: Contact) -> Page:
    reading = Reading(visit=visit, names=FIELDS)
    name, place, language = reading.line("name"), reading.place(needed=False), reading.language()
    version, spoken = reading.written["version"], contact.language
    if reading.mistakes or not version.isdecimal():
        return _page(session, visit, contact, reading=reading)
    contacts.amend(
        session,
        contact.id,
        version=int(version),
        name=name,
        language=language,
        discreet=bool(reading.written["discreet"]),
        **contacts.place_columns(place),
    )
    if place is not None and place.zone:
        journeys.change_zone(session, contact.id, zone=place.zone)
    _choose(session, visit, contact)
    session.expire_all()
    shown = visit if language == spoken else visit.switched(language)
    return _page(session, shown, contact, did=True)


def _choose(session: Session, visit: Visit, contact: Contact) -> None:
    """Keep which kinds of mail are wanted; what is wanted again goes on where it stopped."""
    declined = {topic for topic in TOPICS if not visit.form.get(f"topic-{topic}")}
    if declined == topic_optouts.list_for_contact(session, contact.id):
        return
    wanted_again = topic_optouts.set_optouts(session, contact_id=contact.id, topics=declined, now=visit.now)
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
                now=visit.now,
            )


def _page(
    session: Session, visit: Visit, contact: Contact, *, reading: Reading | None = None, did: bool = False
) -> Page:
    """Show the form as it stands, or as it was just written with what must be mended."""
    known = {"name": contact.name, "zip": contact.zip, "language": contact.language}
    known |= {"discreet": "yes" if contact.discreet else "", "version": str(contact.version)}
    declined = topic_optouts.list_for_contact(session, contact.id)
    wanted = [topic for topic in TOPICS if topic not in declined]
    if reading is not None:
        wanted = [topic for topic in TOPICS if visit.form.get(f"topic-{topic}")]
    values = {
        "email": contact.email,
        "written": reading.written if reading else known,
        "mistakes": reading.mistakes if reading else {},
        "topics": [{"name": topic, "wanted": topic in wanted} for topic in TOPICS],
        "did": did,
    }
    return Page(visit=visit, template=TEMPLATE, values=values, status=422 if reading else 200)
