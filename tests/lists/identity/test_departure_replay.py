"""List exclusions: a person who left after the backup was made is not imported to that list again."""

from lists import addresses, contacts, subscriptions
from lists.db import Database
from lists.departures import DepartureRecord
from lists.identity import departure_replay
from tests.clocks import StoppedClock
from tests.importing import Import
from tests.people import PEPPER, Person


def test_a_person_who_joined_and_left_after_the_backup_is_not_imported_from_an_old_file(
    database: Database, clock: StoppedClock, ben: Person, import_text: Import
) -> None:
    dora = addresses.parse("dora@example.org", pepper=PEPPER)
    records = [
        DepartureRecord(what="left", list="interest", digest=dora.digest, at=clock.now()),
        DepartureRecord(what="left", list="organizers", digest=ben.address.digest, at=clock.now()),
    ]
    for _ in range(2):
        with database.write() as session:
            departure_replay.replay(session, records, erase=contacts.erase, now=clock.now(), actor="test")
    for list_name in ("interest", "organizers"):
        (result,) = import_text(f"email\n{dora.email}", list=list_name)
        assert (result.outcome, "left the list interest" in result.why) == ("left", True)
    (result,) = import_text(f"email\n{ben.email}", list="organizers")
    assert (result.outcome, "left the list organizers" in result.why) == ("left", True)
    assert import_text(f"email\n{ben.email}")[0].outcome == "already"


def test_a_new_sign_up_ends_the_exclusion(
    database: Database, clock: StoppedClock, import_text: Import
) -> None:
    dora = addresses.parse("dora@example.org", pepper=PEPPER)
    records = [DepartureRecord(what="left", list="interest", digest=dora.digest, at=clock.now())]
    with database.write() as session:
        departure_replay.replay(session, records, erase=contacts.erase, now=clock.now(), actor="test")
        contact = contacts.find_or_add(session, dora, now=clock.now())
        subscriptions.ask(session, contact_id=contact.id, list="interest", now=clock.now())
    assert import_text(f"email\n{dora.email}")[0].outcome == "already"
    assert import_text(f"email\n{dora.email}", list="organizers")[0].outcome == "added"
