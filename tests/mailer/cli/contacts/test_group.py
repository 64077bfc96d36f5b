"""“Did she get it?” answered in ten seconds, and a lasting “forget me”."""

from datetime import timedelta

import pytest
from sqlalchemy import Table, func, select

from lists import subscriptions, suppressions
from lists.db import Base
from mailer.service import Service
from mailer.sources import invitations
from mailer.tryout import postoffice
from tests import commands
from tests.commands import Mailer
from tests.people import Person

OWNED = ("subscriptions", "subscription_changes", "consents", "listings", "journeys", "outbox", "rsvps")


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def count_rows(service: Service, *names: str) -> dict[str, int]:
    tables: dict[str, Table] = {name: Base.metadata.tables[name] for name in names}
    with service.database.read() as session:
        return {
            name: session.scalar(select(func.count()).select_from(table)) or 0
            for name, table in tables.items()
        }


def test_did_ben_get_it_is_answered(mailer: Mailer, ben: Person, cleo: Person) -> None:
    mailer("deliver")
    facts = mailer("contact", "show", ben.email, "--json").json
    assert (facts["contact"]["name"], facts["contact"]["city"]) == ("Ben", "Phoenix")
    (message,) = facts["messages"]
    assert (message["state"], message["template"]) == ("sent", "welcome/toolkit")
    assert message["attempts"][0]["address"] == ben.email
    assert [consent["action"] for consent in facts["consents"]] == ["asked", "confirmed"]
    assert facts["journeys"][0]["sequence"] == "welcome"
    assert {row["list"]: row["reason"] for row in facts["lists"]} == {
        "interest": None,
        "organizers": "never joined",
    }
    printed = mailer("contact", "show", ben.email.upper()).out
    for part in ("Phoenix", "welcome/toolkit", "This person is not on the list.", "250"):
        assert part in printed


def test_and_cleo_left_so_she_may_not_be_written_to(mailer: Mailer, cleo: Person) -> None:
    mailer("deliver")
    facts = mailer("contact", "show", cleo.email, "--json").json
    assert facts["lists"][0]["may_write"] is False
    assert facts["lists"][0]["why_not"] == "This person left the list."
    assert facts["messages"] == []
    assert "left" in mailer("contact", "show", cleo.email).out


def test_a_pause_and_a_suppression_are_told(service: Service, mailer: Mailer, ben: Person) -> None:
    now = service.clock.now()
    with service.database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=now + timedelta(days=9))
    assert mailer("contact", "show", ben.email, "--json").json["lists"][0]["reason"] == "paused"
    with service.database.write() as session:
        suppressions.add(session, ben.address.digest, reason="complaint", now=now)
    row = mailer("contact", "show", ben.email, "--json").json["lists"][0]
    assert (row["reason"], row["why_not"].endswith("Here: complaint.")) == ("suppressed", True)


def test_who_is_not_here_is_told(mailer: Mailer) -> None:
    result = mailer("contact", "show", "dora@example.org")
    assert (result.status, result.refusal.startswith("dora@example.org is not here.")) == (2, True)
    assert "has no @" in mailer("contact", "show", "dora").refusal


def fill_every_table(service: Service, mailer: Mailer, ben: Person) -> None:
    mailer("deliver")
    with service.database.write() as session:
        subscriptions.ask(session, contact_id=ben.id, list="organizers", now=service.clock.now())
        session.add(
            invitations.Rsvp(
                event_id=_event(service, session),
                contact_id=ben.id,
                answer="yes",
                answered_at=service.clock.now(),
            )
        )
        session.execute(
            Base.metadata.tables["listings"]
            .insert()
            .values(contact_id=ben.id, organization="St. Mark", state="waiting", asked_at=service.clock.now())
        )
        session.add(subscriptions.SubscriptionChange(contact_id=ben.id, list="interest"))


def _event(service: Service, session: object) -> int:
    from mailer.events import events

    event = events.create(
        session,  # type: ignore[arg-type]
        title={"en": "A call"},
        starts="2026-12-08 20:00",
        zone="America/New_York",
        minutes=60,
        join_url="https://example.org/join",
        audience="interest",
        now=service.clock.now(),
        actor="test",
    )
    return event.id


def test_forgetting_erases_every_row_of_ben_and_none_of_ana(
    service: Service, mailer: Mailer, ana: Person, ben: Person
) -> None:
    fill_every_table(service, mailer, ben)
    assert all(
        number > 0 for number in count_rows(service, *OWNED, "attempts", "postoffice_messages").values()
    )
    result = mailer("contact", "forget", ben.email.upper(), "--yes")
    assert result.status == 0
    assert "messages to them in the try-out's post office: 1" in result.out
    with service.database.read() as session:
        for name in OWNED:
            table = Base.metadata.tables[name]
            statement = select(func.count()).select_from(table).where(table.c.contact_id == ben.id)
            assert session.scalar(statement) == 0, name
        assert [message.to for message in postoffice.list_messages(session, limit=9)] == [ana.email]
    row_counts = count_rows(service, "contacts", "outbox", "attempts", "suppressions")
    assert row_counts == {"contacts": 1, "outbox": 1, "attempts": 1, "suppressions": 1}


def test_nothing_of_ben_is_left_in_any_table(service: Service, mailer: Mailer, ben: Person) -> None:
    fill_every_table(service, mailer, ben)
    mailer("contact", "forget", ben.email, "--yes")
    with service.database.read() as session:
        for name, table in Base.metadata.tables.items():
            content = repr(session.execute(select(table)).all()).casefold()
            assert ben.email not in content, name


def test_the_forgotten_stay_away(service: Service, mailer: Mailer, ben: Person, cleo: Person) -> None:
    mailer("contact", "forget", ben.email, "--yes")
    mailer("contact", "forget", cleo.email, "--yes")
    assert mailer("deliver").out.startswith("0 messages are sent.")
    result = mailer("contact", "show", ben.email)
    assert "It must not be written to any more: forgotten." in result.refusal
    repeated = mailer("contact", "forget", ben.email, "--yes", "--json").json
    assert repeated == {"was_known": False, "erased": dict.fromkeys(repeated["erased"], 0)}
    assert count_rows(service, "contacts") == {"contacts": 0}


def test_forgetting_asks_first(service: Service, mailer: Mailer, ben: Person) -> None:
    result = mailer("contact", "forget", ben.email, typed="n\n")
    assert (result.refusal, "everything known about them" in result.out) == ("Stopped.", True)
    assert "add --yes" in mailer("contact", "forget", ben.email, "--json").refusal
    assert count_rows(service, "contacts") == {"contacts": 1}
    assert mailer("contact", "forget", ben.email, typed="y\n").status == 0
    assert count_rows(service, "contacts") == {"contacts": 0}


def test_an_address_that_was_never_here_can_be_barred(service: Service, mailer: Mailer) -> None:
    assert "still bars the address" in mailer("contact", "forget", "dora@example.org", "--yes").out
    assert count_rows(service, "suppressions") == {"suppressions": 1}


def test_people_are_found_by_how_a_word_begins(service: Service, mailer: Mailer, ben: Person) -> None:
    assert service.jobs.get("make-searchable").run() == 1
    local = ben.email.partition("@")[0]
    report = mailer("contact", "find", local[:2].upper(), "--json").json
    assert [person["email"] for person in report["people"]] == [ben.email]
    assert (report["people"][0]["lists"], report["more"]) == ("interest: confirmed", False)
    assert ben.email in mailer("contact", "find", local).out
    assert "Nobody was found" in mailer("contact", "find", "zebedee").out
    assert "Write how" in mailer("contact", "find", ".").refusal
