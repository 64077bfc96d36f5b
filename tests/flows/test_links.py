"""Every link of every mail: whoever follows it, with a hand or as a mail program, gets what it promises."""

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
from tests.mails import LISTS, OWN_LETTER, Mail, Mailroom
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


def registered(service: Service) -> set[tuple[str, str, str, bool]]:
    """Return what there must be a mail of: kind, template, language, and whether it is discreet."""
    kinds = {**service.editions.kinds, "broadcast": "broadcast"}
    return {
        (kind, name, language, discreet)
        for name, kind in kinds.items()
        for language in LANGUAGES
        for discreet in (False, True)
    }


def registered_name(mail: Mail) -> str:
    shared = mail.kind == "confirmation" and mail.list in LISTS and mail.list != OWN_LETTER
    return "confirm/added" if shared else mail.template


def test_every_link_of_every_mail_does_what_it_promises(service: Service, clock: StoppedClock) -> None:
    follow, doors, seen = follower(service, clock), set(), set()
    for mail in Mailroom(service=service, clock=clock).mails():
        doors |= follow.follow(mail.raw, Addressee(contact_id=mail.contact_id, list=mail.list))
        seen.add((mail.kind, registered_name(mail), mail.language, mail.discreet))
        if POLICY[mail.kind].list_mail:
            found = links.links(mail.raw)
            assert found.one_click in found.text and found.one_click in found.html
    assert registered(service) - seen == set(), "give tests/mails.py a reason to write these"
    assert set(POLICY) == {kind for kind, _, _, _ in seen}
    assert set(EFFECTS) <= doors


def people_of(folder: Path, service: Service) -> dict[str, int]:
    """Bring in those whom kept mails were written to, under their numbers; returns numbers by address."""
    kept: dict[str, list[dict[str, Any]]] = json.loads((folder / "people.json").read_text("utf-8"))
    with service.database.write() as session:
        for row in kept["contacts"]:
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
        for row in kept["subscriptions"]:
            row["confirmed_at"] = row["confirmed_at"] and datetime.fromisoformat(row["confirmed_at"])
            session.add(Subscription(**row, asked_at=START, mailed_at=START))
            if row["list"] == "organizers" and row["state"] == "pending":
                session.add(Listing(contact_id=row["contact_id"], organization="Friends", asked_at=START))
        for row in kept["events"]:
            starts = START + timedelta(days=60)
            call = {"title": {"en": "Call", "es": "Llamada"}, "description": {}, "zone": "America/New_York"}
            call |= {"minutes": 60, "join_url": "https://meet.example.org/x"}
            session.add(Event(**row, **call, starts_at=starts, created_at=START, changed_at=START))
        for name in {row["list"] for row in kept["subscriptions"]} - set(catalog.BUILT_IN_LISTS):
            told: Any = {
                "title": {"en": name, "es": name},
                "about": {"en": name, "es": name},
                "confirmation_message": {},
            }
            catalog.add(session, name, **told, now=START, actor="staff")
    return {row["email"]: row["id"] for row in kept["contacts"]}


@pytest.mark.parametrize("folder", SENT, ids=lambda folder: str(folder.name))
def test_every_link_of_a_mail_that_has_left_still_works(
    service: Service, clock: StoppedClock, folder: Path
) -> None:
    follow, numbers, doors = follower(service, clock), people_of(folder, service), set()
    for file in sorted(folder.glob("*.eml")):
        raw = file.read_bytes()
        message = email.message_from_bytes(raw)
        to = message["To"].rpartition("<")[2].rstrip(">")
        list_name = next((name for name in (*catalog.BUILT_IN_LISTS, *LISTS) if name in file.name), "")
        list_name = LISTS[-1] if "longest" in file.name else list_name
        doors |= follow.follow(raw, Addressee(contact_id=numbers[to], list=list_name))
    assert set(EFFECTS) <= doors
