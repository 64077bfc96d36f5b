"""Dead links: an update to exactly the recipients of mails whose link to leave did not work."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from lists import catalog, subscriptions
from lists.catalog import MailingList
from lists.db import Database
from mailer import migrations
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from tests import commands, ledger, people
from tests.commands import Mailer
from tests.guards.source import ROOT
from tests.people import Person

LIST, OTHER = "clergy-az", "drivers"
TEXT = ROOT / "templates" / "updates" / "dead-links.md"
SEND = ("broadcast", "send", "--file", TEXT, "--audience", LIST, "--segment", "dead-links")


@pytest.fixture
def mended_at(service: Service) -> datetime:
    """Add a list whose links to leave were refused until now, and one whose links have always worked."""
    now = service.clock.now()
    words: dict[str, Any] = {
        "title": {"en": "x", "es": "x"},
        "about": {"en": "x", "es": "x"},
        "confirmation_message": {},
    }
    with service.database.write() as session:
        for name in (LIST, OTHER):
            catalog.add(session, name, **words, now=now, actor="staff")
        session.execute(update(MailingList).where(MailingList.name == LIST).values(links_mended_at=now))
    return now


@pytest.fixture
def mailer(service: Service, mended_at: datetime) -> Mailer:
    return commands.mailer(service)


def subscribe(service: Service, name: str, *lists: str) -> Person:
    with service.database.write() as session:
        for list_name in lists:
            person = people.add(
                session,
                name=name,
                email=f"{name.lower()}@example.org",
                language="es" if name == "Ben" else "en",
                zip="10027",
                list=list_name,
                now=service.clock.now(),
            )
    return person


def add_message(
    service: Service,
    person: Person,
    at: datetime,
    *,
    list: str = LIST,
    kind: str = "broadcast",
    state: str = "sent",
) -> None:
    """Insert a message into the outbox as if it had been sent at this moment."""
    with service.database.write() as session:
        number = session.scalar(select(OutboxRow.edition_id).limit(1)) or ledger.edition(session)
        key = f"{kind}/{list}/{state}/contact/{person.id}"
        outbox.put(session, key=key, kind=kind, list=list, contact_id=person.id, edition_id=number, now=at)
        moment = None if state == "unknown" else at
        session.execute(update(OutboxRow).where(OutboxRow.key == key).values(state=state, sent_at=moment))


def test_exactly_those_with_a_dead_link_are_written_to_and_cleo_is_not(
    service: Service, mailer: Mailer, mended_at: datetime
) -> None:
    before = mended_at - timedelta(days=3)
    ana, ben, cleo = (subscribe(service, name, LIST) for name in ("Ana", "Ben", "Cleo"))
    dora, emil, gus, hana, ines = (
        subscribe(service, name, LIST) for name in ("Dora", "Emil", "Gus", "Hana", "Ines")
    )
    bystander = subscribe(service, "Jo", OTHER)
    add_message(service, ana, before)
    add_message(service, ben, before, kind="invitation", state="unknown")
    add_message(service, cleo, before)
    add_message(service, dora, mended_at)  # its link works
    add_message(service, emil, before, kind="confirmation")  # has no link to leave
    add_message(service, gus, before, state="failed")
    add_message(service, hana, before, list=OTHER)
    add_message(service, ines, before)
    add_message(service, bystander, before, list=OTHER)
    add_message(service, bystander, before)  # of the list they were on before they left it for another
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=cleo.id, list=LIST, now=service.clock.now())
        subscriptions.pause(session, contact_id=ines.id, until=service.clock.now() + timedelta(days=2))
    preview = mailer(*SEND, "--dry-run", "--people", "--json").json
    assert (preview["readers"], preview["people"]) == (2, [ana.email, ben.email])
    assert preview["left_out"] == {"left": 1, "paused": 1}
    assert set(preview["previews"]) == {"en", "es"}
    output = mailer(*SEND, "--dry-run", "--people").out
    assert "2 people of the list clergy-az who were sent a mail whose link to leave did not work" in output
    assert ana.email in output and dora.email not in output
    result = mailer(*SEND, "--yes", "--json").json
    assert result["put"] == 2
    with service.database.read() as session:
        new = select(OutboxRow.contact_id).where(OutboxRow.ref == result["broadcast"])
        assert sorted(session.scalars(new)) == sorted([ana.id, ben.id])
    assert mailer("broadcast", "status", result["broadcast"], "--json").json["segment"] == "dead-links"
    again = mailer(*SEND, "--yes")
    assert "Exactly this text went to the list clergy-az" in again.refusal


def test_a_fill_that_was_stopped_goes_on_with_the_same_people(
    service: Service, mailer: Mailer, mended_at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Ana", "Ben", "Dora"):
        person = subscribe(service, name, LIST)
        if name != "Dora":
            add_message(service, person, mended_at - timedelta(days=1))
    monkeypatch.setattr("mailer.cli.broadcast._fill", lambda *_: 0)  # killed right after it was created
    assert mailer(*SEND, "--yes", "--json").status == 0
    assert service.jobs.get("fill-broadcast").run() == 2


def test_a_list_whose_links_always_worked_has_no_such_people(mailer: Mailer) -> None:
    for name in ("interest", OTHER):
        run = mailer("broadcast", "send", "--file", TEXT, "--audience", name, "--segment", "dead-links")
        assert (run.status, run.refusal) == (
            2,
            f"The links to leave the list {name} have always worked, so nobody got one that did not.",
        )


def test_the_upgrade_notes_the_lists_whose_links_were_refused(empty_database: Database) -> None:
    """As at eb00ebd: the table without the column, with lists that were added then."""
    migrations.upgrade(empty_database, to="0020")
    columns, values = "name, title, about, letter, added_at", ":name, '{}', '{}', '{}', 1"
    with empty_database.write() as session:
        for name in ("clergy-az", "drivers", "vigil2027", "a" * 31, "a" * 30):
            session.execute(text(f"INSERT INTO mailing_lists ({columns}) VALUES ({values})"), {"name": name})
    migrations.upgrade(empty_database)
    with empty_database.read() as session:
        moments = {row.name: row.links_mended_at for row in session.scalars(select(MailingList))}
    assert {name for name, at in moments.items() if at is not None} == {"clergy-az", "vigil2027", "a" * 31}
    assert set(moments) >= {"drivers", "a" * 30}


def test_the_ready_text_is_there_in_both_languages() -> None:
    assert Path(TEXT).read_text("utf-8").count("{{ leave_url }}") == 2
