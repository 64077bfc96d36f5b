"""Every link of every mail has the promised effect, followed by a person or by a mail program."""

import email
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lists import addresses, catalog
from lists.contacts import LANGUAGES, Contact
from lists.directory import Listing
from lists.subscriptions import Subscription
from mailer.events.events import Event
from mailer.policy import POLICY
from mailer.service import Service
from mailer.settings.loading import Settings
from tests import fixtures, links, mails
from tests.clocks import START, StoppedClock
from tests.following import EFFECTS, Addressee, Follower
from tests.links import Shelter
from tests.mailer.web.visitor import Visitor
from tests.mails import LIST_WITH_OWN_MESSAGE, LISTS, Mail, Mailroom
from tests.people import PEPPER

SENT = sorted(path for path in Path(fixtures.__file__).parent.iterdir() if (path / "people.json").exists())


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"staff_address": mails.STAFF})


def follower(service: Service, clock: StoppedClock) -> Follower:
    hands = links.hands(service, Visitor(service, clock))
    return Follower(service=service, hands=hands, shelter=Shelter(service.database))


def list_registered(service: Service) -> set[tuple[str, str, str, bool]]:
    """Return the mails that must exist: kind, template, language, and whether it is discreet."""
    kinds = {**service.editions.kinds, "broadcast": "broadcast"}
    return {
        (kind, name, language, discreet)
        for name, kind in kinds.items()
        for language in LANGUAGES
        for discreet in (False, True)
    }


def registered_name(mail: Mail) -> str:
    is_shared = mail.kind == "confirmation" and mail.list in LISTS and mail.list != LIST_WITH_OWN_MESSAGE
    return "confirm/added" if is_shared else mail.template


def test_every_link_of_every_mail_does_what_it_promises(service: Service, clock: StoppedClock) -> None:
    follow, routes, kinds = follower(service, clock), set(), set()
    for mail in Mailroom(service=service, clock=clock).mails():
        routes |= follow.follow(mail.raw, Addressee(contact_id=mail.contact_id, list=mail.list))
        kinds.add((mail.kind, registered_name(mail), mail.language, mail.discreet))
        if POLICY[mail.kind].list_mail:
            message_links = links.links(mail.raw)
            assert (
                message_links.one_click in message_links.text
                and message_links.one_click in message_links.html
            )
    assert list_registered(service) - kinds == set(), "give tests/mails.py a reason to write these"
    assert set(POLICY) == {kind for kind, _, _, _ in kinds}
    assert set(EFFECTS) <= routes


def people_of(folder: Path, service: Service) -> dict[str, int]:
    """Insert the recipients of stored mails, under their numbers; returns numbers by address."""
    stored: dict[str, list[dict[str, Any]]] = json.loads((folder / "people.json").read_text("utf-8"))
    with service.database.write() as session:
        for row in stored["contacts"]:
            address = addresses.parse(row["email"], pepper=PEPPER)
            session.add(
                Contact(
                    id=row["id"],
                    email=address.email,
                    email_key=address.key,
                    email_digest=address.digest,
                    name=row["name"],
                    language=row["language"],
                    readdressed_at=row["readdressed_at"] and datetime.fromisoformat(row["readdressed_at"]),
                    created_at=START,
                )
            )
        session.flush()
        for row in stored["subscriptions"]:
            row["confirmed_at"] = row["confirmed_at"] and datetime.fromisoformat(row["confirmed_at"])
            session.add(Subscription(**row, asked_at=START, mailed_at=START))
            if row["list"] == "organizers" and row["state"] == "pending":
                session.add(Listing(contact_id=row["contact_id"], organization="Friends", asked_at=START))
        for row in stored["events"]:
            starts = START + timedelta(days=60)
            call = {"title": {"en": "Call", "es": "Llamada"}, "description": {}, "zone": "America/New_York"}
            call |= {"minutes": 60, "join_url": "https://meet.example.org/x"}
            session.add(Event(**row, **call, starts_at=starts, created_at=START, changed_at=START))
        for name in {row["list"] for row in stored["subscriptions"]} - set(catalog.BUILT_IN_LISTS):
            texts: Any = {
                "title": {"en": name, "es": name},
                "about": {"en": name, "es": name},
                "confirmation_message": {},
            }
            catalog.add(session, name, **texts, now=START, actor="staff")
    return {row["email"]: row["id"] for row in stored["contacts"]}


@pytest.mark.parametrize("folder", SENT, ids=lambda folder: str(folder.name))
def test_every_link_of_a_mail_that_has_left_still_works(
    service: Service, clock: StoppedClock, folder: Path
) -> None:
    follow, numbers, routes = follower(service, clock), people_of(folder, service), set()
    for file in sorted(folder.glob("*.eml")):
        raw = file.read_bytes()
        message = email.message_from_bytes(raw)
        to = message["To"].rpartition("<")[2].rstrip(">")
        list_name = next((name for name in (*catalog.BUILT_IN_LISTS, *LISTS) if name in file.name), "")
        list_name = LISTS[-1] if "longest" in file.name else list_name
        routes |= follow.follow(raw, Addressee(contact_id=numbers[to], list=list_name))
    assert set(EFFECTS) <= routes
