"""Staff give a contact a new address: a preview first, clear refusals, and the timeline afterwards."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import addresses, consents, contacts, list_exclusions, merge_redirects, suppressions
from lists.audit import AuditEntry
from lists.contacts import Contact
from lists.departures import DepartureRecord
from lists.errors import Conflict, NotFound, StorageError
from lists.merge_redirects import MergeRedirect
from mailer.outbox import due_rows
from mailer.people import address_change
from mailer.service import Service
from tests import commands, relays
from tests.address_change import NEW, get_contact, live, move_address, states, token
from tests.clocks import StoppedClock
from tests.commands import Mailer
from tests.mailer.web.visitor import Visitor
from tests.people import PEPPER, Person
from tests.races import at_once, on_postgresql
from tests.relays import World


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


@pytest.mark.parametrize(
    ("new", "why"),
    [
        ("ben@vecinos.example.org", "is the address we have"),
        ("BEN@Vecinos.example.org", "one address, written in two ways"),
        ("ana@stmark.example.org", "mailer contact merge ana@stmark.example.org ben@vecinos.example.org"),
        ("barred@example.org", "must not be written to: complaint"),
        ("gone@example.org", "left the list interest"),
        ("earlier@example.org", "mailer contact show ana@stmark.example.org"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_changed(
    service: Service, mailer: Mailer, clock: StoppedClock, ana: Person, ben: Person, new: str, why: str
) -> None:
    def digest(text: str) -> bytes:
        return addresses.parse(text, pepper=PEPPER).digest

    with service.database.write() as session:
        suppressions.add(session, digest("barred@example.org"), reason="complaint", now=clock.now())
        departure = DepartureRecord(
            what="left", list="interest", digest=digest("gone@example.org"), at=clock.now()
        )
        list_exclusions.record(session, [departure])
        redirect = MergeRedirect(
            gone_id=99, contact_id=ana.id, email_digest=digest("earlier@example.org"), at=clock.now()
        )
        session.add(redirect)
    result = mailer("contact", "change-address", ben.email, new, "--yes")
    assert (result.status, why in result.refusal) == (2, True), result.refusal
    assert why in mailer("contact", "change-address", ben.email, new, "--json").json["refusal"]
    assert states(service, ben.email) == {"interest": "confirmed"}
    assert relays.rows(service) == []


def test_whoever_complained_left_everything_or_is_not_here_gets_no_other_address(
    service: Service, mailer: Mailer, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    assert "is on no list" in mailer("contact", "change-address", cleo.email, NEW, "--yes").refusal
    assert "is not here" in mailer("contact", "change-address", "who@example.org", NEW, "--yes").refusal
    with service.database.write() as session:
        suppressions.add(session, ben.address.digest, reason="complaint", now=clock.now())
    assert "about the person" in mailer("contact", "change-address", ben.email, NEW, "--yes").refusal
    with service.database.read() as session:
        assert len(session.scalars(select(Contact.id)).all()) == 2


def test_an_address_that_took_no_mail_is_the_usual_reason_and_no_hindrance(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    with service.database.write() as session:
        suppressions.add(session, ben.address.digest, reason="bounce", now=clock.now())
    move_address(service, ben)
    live(service, world, days=1)
    assert world.arrived == [NEW]


def test_nothing_is_changed_while_a_message_is_handed_over_or_when_somebody_was_quicker(
    service: Service, mailer: Mailer, clock: StoppedClock, ben: Person
) -> None:
    relays.broadcast(service)
    seen = mailer("contact", "change-address", ben.email, NEW, "--json").json["seen"]
    mailer("contact", "set", ben.email, "name=Benito")
    repeated = mailer("contact", "change-address", ben.email, NEW, "--seen", seen, "--yes")
    assert "Somebody else has changed this" in repeated.refusal
    with service.database.write() as session:
        until = clock.now() + timedelta(seconds=45)
        due_rows.claim(session, worker="w", limit=9, now=clock.now(), lease_until=until)
    assert "handed over just now" in mailer("contact", "change-address", ben.email, NEW, "--yes").refusal
    assert states(service, ben.email) == {"interest": "confirmed"}
    with service.database.read() as session:
        assert contacts.find(session, addresses.parse(NEW, pepper=PEPPER)) is None


@on_postgresql
def test_of_two_who_do_it_at_once_one_is_told_to_look_again(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    def change(session: Session) -> object:
        return address_change.change_address(
            session, ben.id, addresses.parse(NEW, pepper=PEPPER), version=1,
            source=service.confirmations, now=clock.now(), actor="staff",
        )  # fmt: skip

    with pytest.raises((Conflict, NotFound, StorageError)):
        at_once(service.database, change, change)
    live(service, world, days=1)
    assert world.arrived == [NEW]


def test_three_questions_a_day_are_enough(
    service: Service, mailer: Mailer, world: World, ben: Person
) -> None:
    address = ben.email
    for number in range(3):
        assert mailer("contact", "change-address", address, f"ben{number}@example.org", "--yes").status == 0
        address = f"ben{number}@example.org"
    assert "try again tomorrow" in mailer("contact", "change-address", address, NEW, "--yes").refusal
    live(service, world, days=1)
    assert world.arrived == [address]


def test_the_command_shows_first_and_the_story_tells_it_in_order(
    service: Service, mailer: Mailer, visitor: Visitor, clock: StoppedClock, ben: Person
) -> None:
    shown = mailer("contact", "change-address", ben.email, NEW).out
    for part in ("waits for their yes", "Nothing was changed.", f"{ben.email} {NEW} --seen 1 --yes"):
        assert part in shown
    clock.advance(hours=1)
    assert "Done." in mailer("contact", "change-address", ben.email, NEW, "--yes").out
    standing = mailer("contact", "show", NEW, "--json").json["standing"]
    assert {row["kind"] for row in standing if row["goes"]} == {"confirmation"}
    clock.advance(hours=1)
    visitor.post(token(service))
    sentences = [row["what"] for row in mailer("contact", "show", NEW, "--json").json["story"]]
    expected = (
        "Became known here.",
        "Has a new address on the list interest.",
        "Contact readdress",
        "Confirmed",
    )
    places = [next(n for n, what in enumerate(sentences) if what.startswith(part)) for part in expected[:3]]
    assert places == sorted(places)
    assert [what for what in sentences if what.startswith("Confirmed")] == [
        "Confirmed the list interest."
    ] * 2
    with service.database.read() as session:
        entries = session.execute(select(AuditEntry.action, AuditEntry.subject)).all()
        assert ("contact readdress", f"contact {get_contact(service).id}: in place of contact {ben.id}") in [
            tuple(row) for row in entries
        ]
        assert [
            each.gone_id for each in merge_redirects.list_for_contact(session, get_contact(service).id)
        ] == [ben.id]
        assert [each.action for each in consents.list_for_contact(session, get_contact(service).id)] == [
            "asked", "confirmed", "readdressed", "confirmed",
        ]  # fmt: skip
    assert "must be confirmed" in mailer("contact", "set", NEW, "email=x@example.org").refusal


def test_an_old_file_with_the_old_address_adds_nobody(
    service: Service, mailer: Mailer, world: World, ben: Person, tmp_path: Path
) -> None:
    move_address(service, ben)
    file = tmp_path / "old.csv"
    file.write_text(f"email,name\n{ben.email},Ben\n{NEW},Ben\n")
    result = mailer(
        "list", "import", file, "--list", "interest", "--consent", "a sheet of 2025", "--confirmed"
    )
    assert result.status == 0, result.refusal
    live(service, world, days=2)
    assert world.arrived == [NEW]
    with service.database.read() as session:
        assert contacts.find(session, ben.address) is None
    assert states(service) == {"interest": "pending"}
