"""Old data is deleted in time, and people who confirmed lose nothing."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from lists import addresses, consents, contacts, directory, subscriptions
from lists.consents import Consent
from lists.contacts import Contact
from lists.directory import Application, Listing
from lists.subscriptions import Subscription
from mailer.coordination import signup_throttle
from mailer.coordination.signup_throttle import ThrottleCount
from mailer.events import events
from mailer.outbox import stats
from mailer.outbox.attempts import Attempt
from mailer.service import Service
from mailer.sources import invitations
from mailer.sources.invitations import Rsvp
from tests.clocks import StoppedClock
from tests.people import PEPPER, Person


def run(service: Service, name: str) -> int:
    return service.jobs.get(name).run()


@pytest.fixture
def dora(service: Service, clock: StoppedClock) -> int:
    """Dora asked to join both lists and applied to be on the map, and never confirmed."""
    with service.database.write() as session:
        address = addresses.parse("dora@example.org", pepper=PEPPER)
        contact = contacts.find_or_add(session, address, now=clock.now(), name="Dora")
        for name in ("interest", "organizers"):
            subscriptions.ask(session, contact_id=contact.id, list=name, now=clock.now())
            consents.add(
                session,
                contact_id=contact.id,
                list=name,
                action="asked",
                now=clock.now(),
            )
        application = Application(organization="Dora's House", offer="Rooms and soup").clean()
        directory.add_application(session, application, contact_id=contact.id, now=clock.now())
        return contact.id


def test_a_sign_up_that_nobody_confirmed_goes_wholly_after_14_days(
    service: Service, clock: StoppedClock, dora: int, ana: Person, ben: Person, cleo: Person
) -> None:
    clock.advance(days=14)
    assert run(service, "forget-unconfirmed") == 0
    clock.advance(seconds=1)
    assert run(service, "forget-unconfirmed") == 2
    with service.database.read() as session:
        assert set(session.scalars(select(Contact.id))) == {ana.id, ben.id, cleo.id}
        assert {row.contact_id for row in session.scalars(select(Consent))} == {ana.id, ben.id, cleo.id}
        assert session.scalars(select(Listing)).all() == []
        states = {row.contact_id: row.state for row in session.scalars(select(Subscription))}
    assert states == {ana.id: "confirmed", ben.id: "confirmed", cleo.id: "left"}
    assert run(service, "forget-unconfirmed") == 0


def test_who_confirmed_one_list_keeps_it_and_loses_the_other(
    service: Service, clock: StoppedClock, ben: Person
) -> None:
    with service.database.write() as session:
        subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now())
    clock.advance(days=15)
    assert run(service, "forget-unconfirmed") == 1
    with service.database.read() as session:
        assert [row.list for row in subscriptions.list_for_contact(session, ben.id)] == ["interest"]
        assert contacts.get(session, ben.id).name == "Ben"
        assert [row.action for row in consents.list_for_contact(session, ben.id)] == ["asked", "confirmed"]


def test_who_confirmed_and_waits_for_staff_is_not_touched(
    service: Service, clock: StoppedClock, dora: int
) -> None:
    with service.database.write() as session:
        pending = subscriptions.find(session, contact_id=dora, list="organizers")
        assert pending is not None
        service.confirmations.confirm(
            session, subscription_id=pending.id, round=pending.round, page="/confirm", now=clock.now()
        )
    clock.advance(days=80)
    assert run(service, "forget-unconfirmed") == 1  # only the interest list, which she never confirmed
    with service.database.read() as session:
        assert session.scalars(select(Listing.state)).one() == "waiting"
        assert [row.list for row in subscriptions.list_for_contact(session, dora)] == ["organizers"]


def test_who_had_left_and_did_not_confirm_the_return_has_left_again(
    service: Service, clock: StoppedClock, cleo: Person
) -> None:
    with service.database.write() as session:
        subscriptions.ask(session, contact_id=cleo.id, list="interest", now=clock.now())
    clock.advance(days=15)
    assert run(service, "forget-unconfirmed") == 1
    with service.database.read() as session:
        (subscription,) = subscriptions.list_for_contact(session, cleo.id)
        assert (subscription.state, subscription.round) == ("left", 1)
        assert "left" in [row.action for row in consents.list_for_contact(session, cleo.id)]


def test_which_network_a_sign_up_came_from_goes_after_a_day(service: Service, clock: StoppedClock) -> None:
    with service.database.write() as session:
        signup_throttle.admit_signup(session, b"a keyed hash 16b", now=clock.now())
    clock.advance(days=1)
    run(service, "clear-brakes")
    clock.advance(hours=1)
    run(service, "clear-brakes")
    with service.database.read() as session:
        assert session.scalars(select(ThrottleCount.what)).all() == []


def test_what_was_written_in_own_words_goes_after_90_days(
    service: Service, clock: StoppedClock, dora: int
) -> None:
    clock.advance(days=90, seconds=1)
    assert run(service, "forget-offers") == 1
    with service.database.read() as session:
        listing = session.scalars(select(Listing)).one()
        assert (listing.offer, listing.organization) == ("", "Dora's House")


def test_of_an_old_call_stays_how_many_answered_and_not_who(
    service: Service, clock: StoppedClock, ana: Person, ben: Person, cleo: Person
) -> None:
    with service.database.write() as session:
        event = events.create(
            session, title={"en": "A call"}, starts="2026-12-08 20:00", zone="America/New_York", minutes=60,
            join_url="https://example.org/join", audience="interest", now=clock.now(), actor="test",
        )  # fmt: skip
        for person, answer in ((ana, "yes"), (ben, "yes"), (cleo, "no")):
            invitations.record_answer(
                session, event_id=event.id, contact_id=person.id, answer=answer, now=clock.now()
            )
    expected = {"yes": 2, "maybe": 0, "no": 1}
    clock.set(event.starts_at + timedelta(days=90))
    assert run(service, "forget-answers") == 0
    clock.advance(seconds=1)
    assert run(service, "forget-answers") == 3
    with service.database.read() as session:
        assert session.scalars(select(Rsvp)).all() == []
        assert invitations.count_answers(session, event.id) == expected


def test_of_an_old_message_stays_what_became_of_it_and_when(
    service: Service, clock: StoppedClock, ben: Person
) -> None:
    service.jobs.tick()
    service.deliver_until_empty()
    clock.advance(days=90, seconds=1)
    assert run(service, "forget-words") == 1
    with service.database.read() as session:
        attempt = session.scalars(select(Attempt)).one()
        assert (attempt.address, attempt.reply, attempt.outcome, attempt.code) == ("", "", "sent", 250)
        assert stats.count_by_kind_and_state(session)["sequence", "sent"] == 1
    assert run(service, "forget-words") == 0


def test_more_than_one_batch_goes_in_one_run(
    service: Service, clock: StoppedClock, dora: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailer.jobs.jobs.BATCH", 1)
    clock.advance(days=31)
    assert run(service, "forget-unconfirmed") == 2
    with service.database.read() as session:
        assert session.scalars(select(Contact)).all() == []
