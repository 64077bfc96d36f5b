"""Settled service: a service with some data: Ana, Ben, Cleo, a call, and the links of their messages."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lists import addresses, catalog, contacts
from lists import subscriptions as subs
from lists.subscriptions import Subscription
from mailer.events import events
from mailer.library import law_cards, resources
from mailer.library.file_store import StoredFile
from mailer.people import address_change
from mailer.service import Service
from tests import people

GUIDE = {"slot": "guide", "note": "Second edition <2012>.", "dated": "2012-05-01"}
RESOURCES: Sequence[dict[str, Any]] = (
    {**GUIDE, "language": "en", "link": "https://example.org/" + "a-very-long-name-" * 12},
    {
        "slot": "powerpoint",
        "language": "en",
        "stored_file": StoredFile(digest="0" * 64, kind="pptx", size=2_200_000),
    },
    {
        "slot": "powerpoint",
        "language": "es",
        "stored_file": StoredFile(digest="1" * 64, kind="odp", size=900),
    },
    {"slot": "allies", "language": "en", "title": "A group of neighbors", "link": "https://example.org/"},
    {"slot": "allies", "language": "es", "title": "Un grupo vecino", "link": "https://example.org/es"},
)

CLERGY: dict[str, Any] = {
    "title": {"en": "Clergy circle", "es": "Círculo del clero"},
    "about": {
        "en": "One email a month for those who lead prayer, and an invitation to meet twice a year.",
        "es": "Una carta al mes para quienes guían la oración, y una invitación a reunirse dos veces al año.",
    },
    "confirmation_message": {},
}


async def _raise_refusal(request: Request) -> Response:
    raise HTTPException(request.path_params["status"])


REFUSED = Route(
    "/refused/{status:int}", _raise_refusal
)  # answers with the page of any refusal, as the routes do


def _add_address_change(service: Service, name: str, *, now: datetime) -> Subscription:
    """Add a person with a new address that is not confirmed yet."""
    new_address = addresses.parse(f"{name}@new.example.org", pepper=service.keys.pepper)
    with service.database.write() as session:
        person = people.add(
            session, name=name, email=f"{name}@old.example.org", language="en", zip="10027",
            list="organizers", now=now,
        )  # fmt: skip
        address_change.change_address(
            session, person.id, new_address, version=1, source=service.confirmations, now=now, actor="test"
        )
        contact = contacts.find(session, new_address)
        subscription = contact and subs.find(session, contact_id=contact.id, list="organizers")
    assert subscription is not None
    return subscription


def settle(service: Service, *, deliver: Callable[[], object]) -> dict[str, str]:
    """Add people, lists, a call and resources, and deliver; returns the paths of pages with tokens."""
    now = service.clock.now()
    eva, finn = (_add_address_change(service, name, now=now) for name in ("Eva", "Finn"))
    with service.database.write() as session:
        ana, ben, cleo = (
            add_person(session, now=now) for add_person in (people.ana, people.ben, people.cleo)
        )
        interest = subs.ask(session, contact_id=ana.id, list="interest", now=now)
        organizers = subs.ask(session, contact_id=ben.id, list="organizers", now=now)
        for name in ("clergy", "choir"):
            catalog.add(session, name, **CLERGY, now=now, actor="test")
        catalog.close(session, "choir", now=now, actor="test")
        clergy = subs.ask(session, contact_id=cleo.id, list="clergy", now=now)
        subs.confirm(
            session,
            subscription_id=subs.ask(session, contact_id=ana.id, list="clergy", now=now).id,
            round=0,
            now=now,
        )
        call = events.create(
            session,
            title={"en": "Monthly call of organizers", "es": "Llamada mensual de quienes organizan"},
            starts=f"{now.year + 1}-06-08 20:00",
            zone="America/New_York",
            minutes=60,
            join_url="https://meet.example/call",
            audience="organizers",
            now=now,
            actor="test",
        )
        service.invitations.invite(session, call.id, now=now, actor="test")
        for resource in RESOURCES:
            resources.add(session, **resource, now=now, actor="test")
        for state in ("federal", "NY"):
            law_cards.add(
                session,
                state=state,
                text={"en": "This is no law, but a test.", "es": "Esto no es una ley, es una prueba."},
                source="https://example.org/law",
                checked_on="",
                checked_by="the tests",
                now=now,
                actor="test",
            )
    while service.jobs.tick():
        deliver()
    tokens = service.tokens
    return {
        "confirm-interest": f"/confirm/{tokens.sign_confirm(interest.id, interest.round)}",
        "confirm-organizers": f"/confirm/{tokens.sign_confirm(organizers.id, organizers.round)}",
        "confirm-added": f"/confirm/{tokens.sign_confirm(clergy.id, clergy.round)}",
        "confirm-ended": f"/confirm/{tokens.sign_confirm(cleo.subscription_id, 0)}",
        "confirm-back": f"/confirm/{tokens.sign_confirm(eva.id, eva.round)}",
        "preferences": f"/preferences/{tokens.sign_preferences(ana.id)}",
        "preferences-later": f"/preferences/{tokens.sign_preferences(finn.contact_id)}",
        "preferences-none": f"/preferences/{tokens.sign_preferences(cleo.id)}",
        "unsubscribe": f"/unsubscribe/{tokens.sign_unsubscribe(ben.id, 'interest')}",
        "unsubscribe-added": f"/unsubscribe/{tokens.sign_unsubscribe(ana.id, 'clergy')}",
        "unsubscribe-left": f"/unsubscribe/{tokens.sign_unsubscribe(cleo.id, 'interest')}",
        "mine": f"/mine/{tokens.sign_profile(ana.id, until=now + timedelta(days=1))}",
        "rsvp": f"/rsvp/{tokens.sign_rsvp(call.id, ana.id)}?answer=yes",
    }
