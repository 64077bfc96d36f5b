"""A new address gets one question; until it is confirmed no other mail is sent there."""

from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import addresses, contacts, departures, directory, notes, permission, subscriptions, topic_optouts
from lists.directory import Application, Listing
from lists.errors import Conflict
from lists.identity import departure_replay
from lists.permission import Purpose
from mailer.outbox.outbox import OutboxRow
from mailer.people import address_change, merging
from mailer.policy import POLICY
from mailer.service import Service
from mailer.sources import invitations
from tests import calls, commands, relays
from tests.address_change import NEW, get_contact, kinds, live, move_address, states, token
from tests.clocks import StoppedClock
from tests.commands import Mailer
from tests.mailer.web.visitor import Visitor, words
from tests.people import PEPPER, Person
from tests.relays import World


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def test_until_the_yes_nothing_goes_to_the_old_address_and_one_question_to_the_new_one(
    service: Service, world: World, visitor: Visitor, ben: Person, cleo: Person
) -> None:
    live(service, world, days=2)
    assert world.arrived == [ben.email]
    move_address(service, ben)
    relays.broadcast(service)
    world.arrived.clear()
    live(service, world, days=12)
    assert world.arrived == [NEW]
    assert kinds(service)[1:] == ["confirmation"]
    page = visitor.get(token(service))
    assert "Sí, esta es mi dirección" in words(page)
    assert states(service) == {"interest": "pending"}  # opening the page does not confirm
    assert "Usted sigue en sus listas" in words(visitor.post(token(service)))
    assert states(service) == {"interest": "confirmed"}
    live(service, world, days=40)
    assert set(world.arrived) == {NEW}  # and Cleo, who left, got nothing at all


def test_the_letters_go_on_where_they_stopped_and_none_is_repeated(
    service: Service, world: World, visitor: Visitor, ben: Person
) -> None:
    live(service, world, days=9)
    assert world.arrived == [ben.email] * 2
    move_address(service, ben)
    live(service, world, days=6)
    visitor.post(token(service))
    live(service, world, days=60)
    with service.database.read() as session:
        statement = select(OutboxRow.key).where(OutboxRow.kind == "sequence", OutboxRow.state == "sent")
        steps = [key.split("/")[2] for key in session.scalars(statement)]
    assert sorted(steps) == sorted({"toolkit", "powerpoint", "detainers", "partners", "map"})
    assert world.arrived == [ben.email] * 2 + [NEW] * 4


def test_an_update_that_waited_leaves_after_the_yes(
    service: Service, world: World, visitor: Visitor, ben: Person
) -> None:
    relays.broadcast(service)
    move_address(service, ben)
    live(service, world, days=1)
    assert world.arrived == [NEW]
    visitor.post(token(service))
    live(service, world, days=1)
    assert sorted(kinds(service)) == ["broadcast", "confirmation", "sequence"]


def test_a_letter_that_was_being_sent_goes_out_once_after_the_yes(
    service: Service, world: World, visitor: Visitor, ben: Person
) -> None:
    service.jobs.tick()
    assert move_address(service, ben).cancelled == 1
    live(service, world, days=7)  # longer than a message may wait
    visitor.post(token(service))
    live(service, world, days=1)
    assert kinds(service) == ["confirmation", "sequence"]


def test_an_organizer_is_back_without_a_second_approval(
    service: Service, world: World, visitor: Visitor, mailer: Mailer, ben: Person, clock: StoppedClock
) -> None:
    with service.database.write() as session:
        pending = subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now())
        directory.add_application(
            session, Application(organization="San Marcos"), contact_id=ben.id, now=clock.now()
        )
        assert directory.mark_address_confirmed(session, contact_id=ben.id)
        listing = session.scalars(select(Listing)).one()
        directory.approve(session, listing.id, now=clock.now(), actor="staff")
    clock.advance(hours=1)
    old_path = f"/confirm/{service.tokens.sign_confirm(pending.id, pending.round)}"
    move_address(service, ben)
    assert visitor.post(old_path).status_code == 410  # its round is over
    assert states(service) == {"interest": "pending", "organizers": "pending"}
    live(service, world, days=1)
    assert world.arrived == [NEW]  # one question for both lists
    assert "sigue en sus listas" in words(visitor.post(token(service)))
    assert states(service) == {"interest": "confirmed", "organizers": "confirmed"}
    assert visitor.post(token(service)).status_code == 200  # a second time
    with service.database.read() as session:
        assert session.scalars(select(Listing.state)).all() == ["approved"]
        assert session.scalars(select(OutboxRow.id).where(OutboxRow.kind == "received")).all() == []
    live(service, world, days=5)
    assert set(world.arrived) == {NEW}


def test_whoever_waits_for_staff_confirms_the_new_address_first(
    service: Service, world: World, visitor: Visitor, mailer: Mailer, clock: StoppedClock, ben: Person
) -> None:
    with service.database.write() as session:
        pending = subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now())
        directory.add_application(
            session, Application(organization="San Marcos"), contact_id=ben.id, now=clock.now()
        )
        subscriptions.leave(session, contact_id=ben.id, list="interest", now=clock.now())
    visitor.post(f"/confirm/{service.tokens.sign_confirm(pending.id, pending.round)}")
    move_address(service, ben)
    assert "has not confirmed the address" in mailer("organizer", "approve", 1).refusal
    live(service, world, days=1)
    assert world.arrived == [NEW]
    visitor.post(token(service))
    assert mailer("organizer", "approve", 1).status == 0
    assert states(service) == {"interest": "left", "organizers": "confirmed"}


def test_what_was_left_stays_left_and_all_that_was_known_stays(
    service: Service, world: World, visitor: Visitor, clock: StoppedClock, ben: Person
) -> None:
    until = clock.now() + timedelta(days=50)
    with service.database.write() as session:
        pending = subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now())
        subscriptions.confirm(session, subscription_id=pending.id, round=pending.round, now=clock.now())
        subscriptions.leave(session, contact_id=ben.id, list="organizers", now=clock.now())
        subscriptions.pause(session, contact_id=ben.id, until=until)
        topic_optouts.set_optouts(session, contact_id=ben.id, topics={"calls"}, now=clock.now())
        contacts.amend(session, ben.id, discreet=True, organization="San Marcos")
        notes.add(session, ben.id, "Called.", actor="staff", now=clock.now())
    move_address(service, ben)
    live(service, world, days=1)
    visitor.post(token(service))
    new = get_contact(service)
    assert (new.name, new.language, new.zip, new.zone) == ("Ben", "es", "85003", "America/Phoenix")
    assert (new.discreet, new.organization, new.readdressed_at) == (True, "San Marcos", None)
    assert states(service) == {"interest": "confirmed", "organizers": "left"}
    with service.database.read() as session:
        (interest, _) = subscriptions.list_for_contact(session, new.id)
        assert interest.paused_until == until
        assert topic_optouts.list_for_contact(session, new.id) == {"calls"}
        assert [note.text for note in notes.list_for_contact(session, new.id)] == ["Called."]
    live(service, world, days=30)
    assert world.arrived == [NEW]


def test_whoever_is_invited_to_a_call_gets_what_lets_them_in_but_not_to_one_they_declined(
    service: Service, world: World, visitor: Visitor, clock: StoppedClock, ana: Person
) -> None:
    planner = calls.opened(service.settings, service.database, clock)
    coming, declined = planner.plan(), planner.plan(starts="2026-12-09 20:00")
    live(service, world, days=1)
    for event, answer in ((coming, "yes"), (declined, "no")):
        with service.database.write() as session:
            invitations.record_answer(
                session, event_id=event.id, contact_id=ana.id, answer=answer, now=clock.now()
            )
    move_address(service, ana, "ana@new.example.org")
    world.arrived.clear()
    live(service, world, days=1)
    visitor.post(token(service, "ana@new.example.org"))
    live(service, world, days=1)
    new = get_contact(service, "ana@new.example.org")
    rows = [row for row in relays.rows(service) if row.kind == "invitation"]
    assert len(rows) == 3
    assert [row.key for row in rows if row.key.endswith(f"/contact/{new.id}")] == [
        f"invitation/{declined.id}/0/contact/{new.id}",
        f"invitation/{coming.id}/0/contact/{new.id}",
    ]
    assert ana.email not in world.arrived
    with service.database.read() as session:
        assert invitations.get_answer(session, event_id=coming.id, contact_id=new.id) == "yes"


def test_old_links_still_leave_and_open_nothing_else(
    service: Service, world: World, visitor: Visitor, clock: StoppedClock, ben: Person
) -> None:
    move_address(service, ben)
    preferences = f"/preferences/{service.tokens.sign_preferences(ben.id)}"
    assert "dirección nueva" in words(visitor.post(preferences, {"do": "mine"}))
    until = clock.now() + timedelta(hours=1)
    assert visitor.get(f"/mine/{service.tokens.sign_profile(ben.id, until=until)}").status_code == 404
    leave = f"/unsubscribe/{service.tokens.sign_unsubscribe(ben.id, 'interest')}"
    assert visitor.post(leave, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert states(service) == {"interest": "left"}
    assert visitor.post(preferences, {"do": "leave-all"}).status_code == 200
    live(service, world, days=20)
    assert world.arrived == []


@pytest.mark.parametrize("kind", sorted(set(POLICY) - {"confirmation"}))
def test_the_rule_lets_nothing_but_the_question_go_to_a_new_address(
    service: Service, clock: StoppedClock, ben: Person, kind: str
) -> None:
    move_address(service, ben)
    with service.database.write() as session:  # a list on which a file was imported as confirmed
        new = contacts.find(session, addresses.parse(NEW, pepper=PEPPER))
        assert new is not None
        subscriptions.add_all(session, [new.id], list="organizers", now=clock.now(), confirmed=True)
        for name in ("interest", "organizers"):
            purpose = POLICY[kind].purpose(name)
            reader = permission.find_recipients(session, [new.id], purpose=purpose, now=clock.now())[new.id]
            assert reader.refusal == "not confirmed"
        recipients = permission.find_recipients(
            session, [new.id], purpose=Purpose(needs="asked", list="interest"), now=clock.now()
        )
        assert recipients[new.id].refusal is None


def test_an_address_with_a_slip_in_it_is_put_right_and_its_link_is_dead(
    service: Service, world: World, visitor: Visitor, clock: StoppedClock, ben: Person
) -> None:
    move_address(service, ben, "ben@nuevo.exmaple.org")
    wrong = token(service, "ben@nuevo.exmaple.org")
    clock.advance(hours=1)
    with service.database.read() as session:
        slip = contacts.find(session, addresses.parse("ben@nuevo.exmaple.org", pepper=PEPPER))
    assert slip is not None
    with service.database.write() as session:
        address_change.change_address(
            session, slip.id, addresses.parse(NEW, pepper=PEPPER), version=slip.version,
            source=service.confirmations, now=clock.now(), actor="staff",
        )  # fmt: skip
    assert visitor.post(wrong).status_code == 410
    live(service, world, days=1)
    assert world.arrived == [NEW]
    visitor.post(token(service))
    assert states(service) == {"interest": "confirmed"}
    assert (
        visitor.get(f"/unsubscribe/{service.tokens.sign_unsubscribe(ben.id, 'interest')}").status_code == 200
    )


def test_somebody_may_return_to_the_address_they_had(
    service: Service, visitor: Visitor, clock: StoppedClock, ben: Person
) -> None:
    move_address(service, ben)
    visitor.post(token(service))
    clock.advance(days=9)
    contact = get_contact(service)
    with service.database.write() as session:
        address_change.change_address(
            session, contact.id, ben.address, version=contact.version,
            source=service.confirmations, now=clock.now(), actor="staff",
        )  # fmt: skip
        records = [each for _, each in departures.list_pending(session, limit=99)]
        assert records
        assert (
            departure_replay.replay(
                session, records, erase=contacts.erase, now=clock.now(), actor="staff"
            ).left
            == 0
        )
    visitor.post(token(service, ben.email))
    assert states(service, ben.email) == {"interest": "confirmed"}


def test_nobody_says_yes_and_after_a_fortnight_it_is_as_if_they_had_left(
    service: Service, world: World, ben: Person
) -> None:
    move_address(service, ben)
    live(service, world, days=15)
    service.jobs.tick()
    assert states(service) == {"interest": "left"}
    assert (world.arrived, get_contact(service).name) == ([NEW], "Ben")


def test_a_sign_up_that_was_never_confirmed_is_asked_anew_and_goes_after_a_fortnight(
    service: Service, world: World, clock: StoppedClock
) -> None:
    with service.database.write() as session:
        slip = contacts.find_or_add(
            session, addresses.parse("dora@exmaple.org", pepper=PEPPER), now=clock.now()
        )
        subscriptions.ask(session, contact_id=slip.id, list="interest", now=clock.now())
        address_change.change_address(
            session, slip.id, addresses.parse(NEW, pepper=PEPPER), version=1,
            source=service.confirmations, now=clock.now(), actor="staff",
        )  # fmt: skip
    live(service, world, days=15)
    service.jobs.tick()
    assert world.arrived == [NEW]
    with service.database.read() as session:
        assert contacts.find(session, addresses.parse(NEW, pepper=PEPPER)) is None


def test_who_turns_up_at_a_third_address_is_merged_into_it_with_every_yes(
    service: Service, world: World, clock: StoppedClock, ana: Person, ben: Person
) -> None:
    move_address(service, ben)
    new = get_contact(service)

    def versions(session: Session, *ids: int) -> tuple[int, int]:
        one, two = (contacts.get(session, number).version for number in ids)
        return one, two

    with pytest.raises(Conflict, match="Nobody has confirmed"), service.database.write() as session:
        merging.merge(
            session,
            new.id,
            ana.id,
            versions=versions(session, new.id, ana.id),
            now=clock.now(),
            actor="staff",
        )
    with service.database.write() as session:
        merging.merge(
            session,
            ana.id,
            new.id,
            versions=versions(session, ana.id, new.id),
            now=clock.now(),
            actor="staff",
        )
    assert states(service, ana.email) == {"interest": "confirmed", "organizers": "confirmed"}
    live(service, world, days=3)
    assert set(world.arrived) == {ana.email}
