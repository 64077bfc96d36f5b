"""Who left a list after a backup was made is not brought back to it, though nothing else of them is here."""

from lists import addresses, contacts, erasure, subscriptions
from lists.db import Database
from lists.departures import DepartureRecord
from tests.clocks import StoppedClock
from tests.importing import Import
from tests.people import PEPPER, Person


def test_who_joined_and_left_after_the_backup_is_not_brought_back_by_an_old_file(
    database: Database, clock: StoppedClock, ben: Person, bring_in: Import
) -> None:
    stranger = addresses.parse("dora@example.org", pepper=PEPPER)
    departed = [
        DepartureRecord(what="left", list="interest", digest=stranger.digest, at=clock.now()),
        DepartureRecord(what="left", list="organizers", digest=ben.address.digest, at=clock.now()),
    ]
    for _ in range(2):
        with database.write() as session:
            erasure.reapply_departures(session, departed, erase=contacts.erase, now=clock.now(), actor="test")
    for list_name in ("interest", "organizers"):
        (fate,) = bring_in(f"email\n{stranger.email}", list=list_name)
        assert (fate.outcome, "left the list interest" in fate.why) == ("left", True)
    (fate,) = bring_in(f"email\n{ben.email}", list="organizers")
    assert (fate.outcome, "left the list organizers" in fate.why) == ("left", True)
    assert bring_in(f"email\n{ben.email}")[0].outcome == "already"


def test_who_joins_again_on_the_page_counts_as_absent_no_more(
    database: Database, clock: StoppedClock, bring_in: Import
) -> None:
    dora = addresses.parse("dora@example.org", pepper=PEPPER)
    departed = [DepartureRecord(what="left", list="interest", digest=dora.digest, at=clock.now())]
    with database.write() as session:
        erasure.reapply_departures(session, departed, erase=contacts.erase, now=clock.now(), actor="test")
        contact = contacts.find_or_add(session, dora, now=clock.now())
        subscriptions.ask(session, contact_id=contact.id, list="interest", now=clock.now())
    assert bring_in(f"email\n{dora.email}")[0].outcome == "already"
    assert bring_in(f"email\n{dora.email}", list="organizers")[0].outcome == "added"
