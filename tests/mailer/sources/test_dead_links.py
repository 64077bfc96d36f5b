"""An update to exactly those who were sent a mail whose link to leave did not work."""

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
def mended(service: Service) -> datetime:
    """The list whose links to leave were refused until now, and one whose links have always worked."""
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
def mailer(service: Service, mended: datetime) -> Mailer:
    return commands.mailer(service)


def on(service: Service, who: str, *lists: str) -> Person:
    with service.database.write() as session:
        for name in lists:
            person = people.add(
                session,
                name=who,
                email=f"{who.lower()}@example.org",
                language="es" if who == "Ben" else "en",
                zip="10027",
                list=name,
                now=service.clock.now(),
            )
    return person


def sent(
    service: Service,
    person: Person,
    at: datetime,
    *,
    list: str = LIST,
    kind: str = "broadcast",
    state: str = "sent",
) -> None:
    """Put a message into the ledger as if it had left at this moment."""
    with service.database.write() as session:
        number = session.scalar(select(OutboxRow.edition_id).limit(1)) or ledger.edition(session)
        key = f"{kind}/{list}/{state}/contact/{person.id}"
        outbox.put(session, key=key, kind=kind, list=list, contact_id=person.id, edition_id=number, now=at)
        moment = None if state == "unknown" else at
        session.execute(update(OutboxRow).where(OutboxRow.key == key).values(state=state, sent_at=moment))


def test_exactly_those_with_a_dead_link_are_written_to_and_cleo_is_not(
    service: Service, mailer: Mailer, mended: datetime
) -> None:
    before = mended - timedelta(days=3)
    ana, ben, cleo = (on(service, who, LIST) for who in ("Ana", "Ben", "Cleo"))
    dora, emil, gus, hana, ines = (on(service, who, LIST) for who in ("Dora", "Emil", "Gus", "Hana", "Ines"))
    bystander = on(service, "Jo", OTHER)
    sent(service, ana, before)
    sent(service, ben, before, kind="invitation", state="unknown")
    sent(service, cleo, before)
    sent(service, dora, mended)  # its link works
    sent(service, emil, before, kind="confirmation")  # has no link to leave
    sent(service, gus, before, state="failed")
    sent(service, hana, before, list=OTHER)
    sent(service, ines, before)
    sent(service, bystander, before, list=OTHER)
    sent(service, bystander, before)  # of the list they were on before they left it for another
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=cleo.id, list=LIST, now=service.clock.now())
        subscriptions.pause(session, contact_id=ines.id, until=service.clock.now() + timedelta(days=2))
    looked = mailer(*SEND, "--dry-run", "--people", "--json").json
    assert (looked["readers"], looked["people"]) == (2, [ana.email, ben.email])
    assert looked["left_out"] == {"left": 1, "paused": 1}
    assert set(looked["previews"]) == {"en", "es"}
    shown = mailer(*SEND, "--dry-run", "--people").out
    assert "2 people of the list clergy-az who were sent a mail whose link to leave did not work" in shown
    assert ana.email in shown and dora.email not in shown
    done = mailer(*SEND, "--yes", "--json").json
    assert done["put"] == 2
    with service.database.read() as session:
        new = select(OutboxRow.contact_id).where(OutboxRow.ref == done["broadcast"])
        assert sorted(session.scalars(new)) == sorted([ana.id, ben.id])
    assert mailer("broadcast", "status", done["broadcast"], "--json").json["segment"] == "dead-links"
    again = mailer(*SEND, "--yes")
    assert "Exactly this text went to the list clergy-az" in again.refusal


def test_a_fill_that_was_stopped_goes_on_with_the_same_people(
    service: Service, mailer: Mailer, mended: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for who in ("Ana", "Ben", "Dora"):
        person = on(service, who, LIST)
        if who != "Dora":
            sent(service, person, mended - timedelta(days=1))
    monkeypatch.setattr("mailer.cli.broadcast._fill", lambda *_: 0)  # killed right after it was created
    assert mailer(*SEND, "--yes", "--json").status == 0
    assert service.jobs.get("fill-broadcast").run() == 2


def test_a_list_whose_links_always_worked_has_no_such_people(mailer: Mailer) -> None:
    for name in ("interest", OTHER):
        ran = mailer("broadcast", "send", "--file", TEXT, "--audience", name, "--segment", "dead-links")
        assert (ran.status, ran.refusal) == (
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
        found = {row.name: row.links_mended_at for row in session.scalars(select(MailingList))}
    assert {name for name, at in found.items() if at is not None} == {"clergy-az", "vigil2027", "a" * 31}
    assert set(found) >= {"drivers", "a" * 30}


def test_the_ready_text_is_there_in_both_languages() -> None:
    assert Path(TEXT).read_text("utf-8").count("{{ leave_url }}") == 2
