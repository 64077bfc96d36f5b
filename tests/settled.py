"""A service in use for a while: Ana, Ben and Cleo, a call, and the links that they got by mail."""

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
        "deposit": StoredFile(digest="0" * 64, kind="pptx", size=2_200_000),
    },
    {"slot": "powerpoint", "language": "es", "deposit": StoredFile(digest="1" * 64, kind="odp", size=900)},
    {"slot": "allies", "language": "en", "title": "A group of neighbors", "link": "https://example.org/"},
    {"slot": "allies", "language": "es", "title": "Un grupo vecino", "link": "https://example.org/es"},
)

CLERGY: dict[str, Any] = {
    "title": {"en": "Clergy circle", "es": "Círculo del clero"},
    "about": {
        "en": "One letter a month for those who lead prayer, and an invitation to meet twice a year.",
        "es": "Una carta al mes para quienes guían la oración, y una invitación a reunirse dos veces al año.",
    },
    "confirmation_message": {},
}


async def _refused(request: Request) -> Response:
    raise HTTPException(request.path_params["status"])


REFUSED = Route("/refused/{status:int}", _refused)  # shows the page of any refusal, as the doors do


def _at_new_address(built: Service, name: str, *, now: datetime) -> Subscription:
    """Let somebody be there, and have a new address that nobody has confirmed yet."""
    new = addresses.parse(f"{name}@new.example.org", pepper=built.keys.pepper)
    with built.database.write() as session:
        person = people.add(
            session, name=name, email=f"{name}@old.example.org", language="en", zip="10027",
            list="organizers", now=now,
        )  # fmt: skip
        address_change.change_address(
            session, person.id, new, version=1, source=built.confirmations, now=now, actor="test"
        )
        contact = contacts.find(session, new)
        found = contact and subs.find(session, contact_id=contact.id, list="organizers")
    assert found is not None
    return found


def settle(built: Service, *, deliver: Callable[[], object]) -> dict[str, str]:
    """Let Ana, Ben and Cleo be there, plan a call, invite, deliver; returns paths of token pages."""
    now = built.clock.now()
    eva, finn = (_at_new_address(built, name, now=now) for name in ("Eva", "Finn"))
    with built.database.write() as session:
        ana, ben, cleo = (join(session, now=now) for join in (people.ana, people.ben, people.cleo))
        asked = subs.ask(session, contact_id=ana.id, list="interest", now=now)
        waiting = subs.ask(session, contact_id=ben.id, list="organizers", now=now)
        for name in ("clergy", "choir"):
            catalog.add(session, name, **CLERGY, now=now, actor="test")
        catalog.close(session, "choir", now=now, actor="test")
        circle = subs.ask(session, contact_id=cleo.id, list="clergy", now=now)
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
        built.invitations.invite(session, call.id, now=now, actor="test")
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
    while built.jobs.tick():
        deliver()
    tokens = built.tokens
    return {
        "confirm-interest": f"/confirm/{tokens.confirm(asked.id, asked.round)}",
        "confirm-organizers": f"/confirm/{tokens.confirm(waiting.id, waiting.round)}",
        "confirm-added": f"/confirm/{tokens.confirm(circle.id, circle.round)}",
        "confirm-ended": f"/confirm/{tokens.confirm(cleo.subscription_id, 0)}",
        "confirm-back": f"/confirm/{tokens.confirm(eva.id, eva.round)}",
        "preferences": f"/preferences/{tokens.preferences(ana.id)}",
        "preferences-later": f"/preferences/{tokens.preferences(finn.contact_id)}",
        "preferences-none": f"/preferences/{tokens.preferences(cleo.id)}",
        "unsubscribe": f"/unsubscribe/{tokens.unsubscribe(ben.id, 'interest')}",
        "unsubscribe-added": f"/unsubscribe/{tokens.unsubscribe(ana.id, 'clergy')}",
        "unsubscribe-left": f"/unsubscribe/{tokens.unsubscribe(cleo.id, 'interest')}",
        "mine": f"/mine/{tokens.profile(ana.id, until=now + timedelta(days=1))}",
        "rsvp": f"/rsvp/{tokens.rsvp(call.id, ana.id)}?answer=yes",
    }
