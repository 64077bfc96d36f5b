"""Audit: entries record who did what to what, with names of fields and numbers, never with values."""

from sqlalchemy import select

from lists import audit, directory
from lists.audit import AuditEntry
from lists.db import Database
from lists.directory import Application
from lists.identity import erasure
from tests.clocks import StoppedClock
from tests.people import Person


def test_an_action_is_recorded_with_its_actor_its_subject_and_its_time(
    database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        audit.record(session, actor="staff", action="listing approved", subject="listing 7", now=clock.now())
    with database.read() as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.actor, entry.action, entry.subject, entry.at) == (
            "staff",
            "listing approved",
            "listing 7",
            clock.now(),
        )


def test_a_long_name_of_an_actor_is_cut_alike_on_both_databases(
    database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        audit.record(session, actor="m" * 200, action="a" * 200, subject="s" * 200, now=clock.now())
    with database.read() as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (len(entry.actor), len(entry.action), len(entry.subject)) == (40, 40, 80)


def test_no_entry_names_a_person(database: Database, clock: StoppedClock, ana: Person, cleo: Person) -> None:
    application = Application(organization="St. Mark", name="Ana", role="pastor", offer="A hall")
    with database.write() as session:
        directory.add_application(session, application.clean(), contact_id=ana.id, now=clock.now())
        directory.mark_address_confirmed(session, contact_id=ana.id)
        listing = directory.list_applications(session, state="waiting")[0]
        directory.approve(session, listing.id, now=clock.now(), actor="staff")
        erasure.erase_person(session, cleo.address, now=clock.now(), actor="staff")
    with database.read() as session:
        entries = [f"{entry.action} {entry.subject}" for entry in session.scalars(select(AuditEntry))]
        assert entries == [f"listing approved listing {listing.id}", "forget "]
