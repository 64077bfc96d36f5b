"""Everything that happened to one person, in order, as staff read it."""

from lists import audit, consents, contacts, directory, subscriptions, suppressions, topic_optouts
from lists.consents import ACTIONS
from lists.directory import Application
from mailer.people import timeline
from mailer.people.timeline import CONSENT_SENTENCES, SUPPRESSION_SENTENCES
from mailer.service import Service
from mailer.sources import invitations
from tests import calls, relays
from tests.clocks import StoppedClock
from tests.people import Person
from tests.relays import LATER, REFUSED, SENT, World


def list_sentences(service: Service, person: Person) -> list[str]:
    with service.database.read() as session:
        contact = contacts.get(session, person.id)
        events = timeline.list_events(session, contact, now=service.clock.now())
    assert [each.at for each in events] == sorted(each.at for each in events)
    return [" ".join(part for part in (each.what, each.by, each.words) if part) for each in events]


def test_every_action_has_a_sentence() -> None:
    assert set(CONSENT_SENTENCES) == set(ACTIONS)
    assert set(SUPPRESSION_SENTENCES) == set(suppressions.REASONS)


def test_the_whole_story_of_ben_is_told_in_order(
    service: Service, world: World, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    planner = calls.opened(service.settings, service.database, clock)
    call = planner.plan(audience="interest")
    with service.database.write() as session:
        service.sequences.fill(session, now=clock.now(), limit=10)
    world.answer = lambda recipient: LATER
    relays.deliver(service, world)
    clock.advance(hours=1)
    world.answer = lambda recipient: SENT
    relays.deliver(service, world)
    with service.database.write() as session:
        now = clock.advance(hours=1)
        invitations.record_answer(session, event_id=call.id, contact_id=ben.id, answer="maybe", now=now)
        now = clock.advance(hours=1)
        subscriptions.ask(session, contact_id=ben.id, list="organizers", now=now)
        wording = "Yes, put us on the map."
        consents.add(
            session, contact_id=ben.id, list="organizers", action="asked", page="/organize", wording=wording,
            now=now,
        )  # fmt: skip
        application = Application(organization="Casa Paz", offer="A room").clean()
        directory.add_application(session, application, contact_id=ben.id, now=now)
        directory.mark_address_confirmed(session, contact_id=ben.id)
        now = clock.advance(hours=1)
        (listing,) = directory.list_applications(session)
        directory.approve(session, listing.id, now=now, actor="staff")
        now = clock.advance(hours=1)
        topic_optouts.set_optouts(session, contact_id=ben.id, topics={"calls"}, now=now)
        audit.record(
            session, actor="Rosa", action="contact change", subject=f"contact {ben.id}: name", now=now
        )
        audit.record(
            session, actor="Rosa", action="contact change", subject=f"contact {ben.id}1: zip", now=now
        )
        now = clock.advance(hours=1)
        subscriptions.leave(session, contact_id=ben.id, list="interest", now=now)
        consents.add(session, contact_id=ben.id, list="interest", action="left", page="/unsubscribe", now=now)
        suppressions.add(session, ben.address.digest, reason="complaint", now=clock.advance(hours=1))
    expected = [
        "Became known here.",
        "Asked to join the list interest. /join",
        "Confirmed the list interest. /confirm",
        "Began the emails “welcome”; now: waiting.",
        "Message 1 (welcome/toolkit): It was put into the outbox.",
        "Message 1 (welcome/toolkit): The server asked us to try again later. It said: 451 4.3.0 later",
        "Message 1 (welcome/toolkit): It was handed to the mail server, which took it. It said: 250 2.0.0 ok",
        f"Answered “maybe” to call {call.id}, December call.",
        "Asked to join the list organizers. /organize Yes, put us on the map.",
        "Asked to be on the map: Casa Paz. A room",
        "Staff approved them for the list organizers. staff",
        f"Application {listing.id} was approved. staff",
        "Wants no more of this kind: calls.",
        "Contact change: name. Rosa",
        "Left the list interest. /unsubscribe",
        "Complained about a mail, so nothing is written to this address.",
    ]
    assert list_sentences(service, ben) == expected
    assert [each for each in list_sentences(service, cleo) if "Left" in each] == [
        "Left the list interest. /unsubscribe"
    ]


def test_what_became_of_a_message_is_told_where_it_happened(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    relays.broadcast(service)
    world.answer = lambda recipient: REFUSED
    relays.deliver(service, world)
    clock.advance(days=1)
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
        consents.add(session, contact_id=ben.id, list="interest", action="left", now=clock.now())
    *_, refused, ended, left = list_sentences(service, ben)
    assert refused.endswith("The server refused it. It said: 550 5.1.1 gone")
    assert "It could not be sent, and nobody tries again" in ended
    assert left == "Left the list interest."
