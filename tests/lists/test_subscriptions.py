"""Subscriptions: pending → confirmed → left, and no old link ever brings back somebody who left."""

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from lists import addresses, contacts, subscriptions
from lists.db import Database
from lists.subscriptions import Subscription, SubscriptionChange
from tests.clocks import START, StoppedClock
from tests.people import PEPPER, Person
from tests.races import at_once, meanwhile, on_postgresql


def _standing(database: Database, person: Person) -> Subscription:
    with database.read() as session:
        found = subscriptions.find(session, contact_id=person.id, list=person.list)
        assert found is not None
        return found


def _changes(session: Session) -> list[tuple[int, str]]:
    queue = select(SubscriptionChange).order_by(SubscriptionChange.id)
    return [(change.contact_id, change.list) for change in session.scalars(queue)]


def _contact(session: Session, name: str) -> int:
    address = addresses.parse(f"{name}@example.org", pepper=PEPPER)
    return contacts.find_or_add(session, address, now=START).id


def test_who_asks_is_pending_until_they_confirm(database: Database, clock: StoppedClock) -> None:
    with database.write() as session:
        asked = subscriptions.ask(session, contact_id=_contact(session, "dora"), list="interest", now=START)
        assert (asked.state, asked.round, asked.asked_at) == ("pending", 0, START)
        assert _changes(session) == []
    with database.write() as session:
        later = clock.advance(hours=1)
        done = subscriptions.confirm(session, subscription_id=asked.id, round=0, now=later)
        assert done is not None and done.changed
        now_on = subscriptions.find(session, contact_id=asked.contact_id, list="interest")
        assert now_on is not None
        assert (now_on.state, now_on.confirmed_at, now_on.left_at) == ("confirmed", later, None)
        assert _changes(session) == [(asked.contact_id, "interest")]


def test_confirming_twice_is_one_confirmation(database: Database, clock: StoppedClock, ben: Person) -> None:
    first = _standing(database, ben).confirmed_at
    with database.write() as session:
        before = _changes(session)
        again = subscriptions.confirm(
            session, subscription_id=ben.subscription_id, round=0, now=clock.advance(days=1)
        )
        assert again is not None and not again.changed
        assert _changes(session) == before
    assert _standing(database, ben).confirmed_at == first


def test_who_is_on_the_list_and_asks_again_stays_on_it(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        later = clock.advance(days=1)
        asked = subscriptions.ask(session, contact_id=ben.id, list="interest", now=later)
        assert (asked.state, asked.asked_at) == ("confirmed", START)


def test_the_old_link_of_somebody_who_left_confirms_nothing(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        done = subscriptions.confirm(
            session, subscription_id=cleo.subscription_id, round=0, now=clock.advance(days=1)
        )
        assert done is None
        assert subscriptions.find_by_token(session, subscription_id=cleo.subscription_id, round=0) is None
    assert _standing(database, cleo).state == "left"


def test_the_old_link_stays_dead_even_when_they_ask_again_and_the_new_one_works(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        asked = subscriptions.ask(session, contact_id=cleo.id, list="interest", now=clock.advance(days=1))
        assert (asked.state, asked.round) == ("pending", 1)
        assert subscriptions.confirm(session, subscription_id=asked.id, round=0, now=clock.now()) is None
        done = subscriptions.confirm(session, subscription_id=asked.id, round=1, now=clock.now())
        assert done is not None and done.changed
    assert _standing(database, cleo).state == "confirmed"
    assert _standing(database, cleo).left_at is None


def test_leaving_twice_is_leaving_once(database: Database, clock: StoppedClock, cleo: Person) -> None:
    before = _standing(database, cleo)
    with database.write() as session:
        assert subscriptions.leave(session, contact_id=cleo.id, now=clock.advance(days=1)) == []
    after = _standing(database, cleo)
    assert (after.round, after.left_at) == (before.round, before.left_at)


def test_somebody_can_leave_one_list_or_all(database: Database, clock: StoppedClock, ben: Person) -> None:
    with database.write() as session:
        subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now())
        assert subscriptions.leave(session, contact_id=ben.id, list="organizers", now=clock.now()) == [
            "organizers"
        ]
        assert [entry.state for entry in subscriptions.list_for_contact(session, ben.id)] == [
            "confirmed",
            "left",
        ]
        subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now())
        everything = subscriptions.leave(session, contact_id=ben.id, now=clock.now())
        assert everything == ["interest", "organizers"]
        assert _changes(session)[-2:] in (
            [(ben.id, "interest"), (ben.id, "organizers")],
            [(ben.id, "organizers"), (ben.id, "interest")],
        )


def test_leaving_is_each_persons_own(
    database: Database, clock: StoppedClock, ana: Person, ben: Person
) -> None:
    with database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    assert _standing(database, ana).state == "confirmed"


def test_leaving_ends_a_pause(database: Database, clock: StoppedClock, ben: Person) -> None:
    with database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=clock.now() + timedelta(days=30))
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    assert _standing(database, ben).paused_until is None


def test_a_pause_holds_only_who_is_on_a_list(
    database: Database, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    until = clock.now() + timedelta(days=30)
    with database.write() as session:
        for person in (ben, cleo):
            subscriptions.pause(session, contact_id=person.id, until=until)
    assert (_standing(database, ben).paused_until, _standing(database, cleo).paused_until) == (until, None)
    with database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=None)
    assert _standing(database, ben).paused_until is None


def test_an_import_never_brings_anybody_back(
    database: Database, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    with database.write() as session:
        dora = _contact(session, "dora")
        everybody = [ben.id, cleo.id, dora]
        later = clock.advance(days=1)
        added = subscriptions.add_all(session, everybody, list="interest", now=later, confirmed=True)
        assert added == 1
        assert subscriptions.add_all(session, [], list="interest", now=later, confirmed=True) == 0
        assert _changes(session)[-1] == (dora, "interest")
        assert subscriptions.count_by_state(session) == {
            ("interest", "confirmed"): 2,
            ("interest", "left"): 1,
        }
    assert _standing(database, cleo).state == "left"
    assert _standing(database, ben).confirmed_at == START


def test_an_import_without_consent_leaves_everybody_pending(database: Database, clock: StoppedClock) -> None:
    with database.write() as session:
        dora = _contact(session, "dora")
        subscriptions.add_all(session, [dora], list="interest", now=clock.now(), confirmed=False)
        found = subscriptions.find(session, contact_id=dora, list="interest")
        assert found is not None and (found.state, found.confirmed_at) == ("pending", None)
        assert _changes(session) == []


def test_a_state_that_nobody_knows_is_refused_by_the_database(database: Database, ben: Person) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        found = subscriptions.find(session, contact_id=ben.id, list="interest")
        assert found is not None
        found.state = "sleeping"


@pytest.mark.parametrize("turn", range(5))
def test_confirming_and_leaving_at_once_end_as_left(
    database: Database, clock: StoppedClock, cleo: Person, turn: int
) -> None:
    with database.write() as session:
        asked = subscriptions.ask(session, contact_id=cleo.id, list="interest", now=clock.now())

    def confirm(session: Session) -> object:
        return subscriptions.confirm(session, subscription_id=asked.id, round=asked.round, now=clock.now())

    def leave(session: Session) -> object:
        return subscriptions.leave(session, contact_id=cleo.id, now=clock.now())

    works = (confirm, leave) if turn % 2 else (leave, confirm)
    at_once(database, *works)
    after = _standing(database, cleo)
    assert (after.state, after.round) == ("left", asked.round + 1)
    with database.write() as session:
        assert confirm(session) is None


@on_postgresql
def test_who_leaves_while_their_confirmation_is_being_written_is_told_that_the_link_is_over(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        asked = subscriptions.ask(session, contact_id=cleo.id, list="interest", now=clock.now())

    def leave(session: Session) -> None:
        subscriptions.leave(session, contact_id=cleo.id, now=clock.now())

    with meanwhile(database, before="UPDATE subscriptions", do=leave), database.write() as session:
        seen = session.get(Subscription, asked.id)  # as the page does, to know the list
        done = subscriptions.confirm(session, subscription_id=asked.id, round=1, now=clock.now())
    assert done is None
    assert seen is not None and seen.state == "left"
    assert _standing(database, cleo).state == "left"


@on_postgresql
def test_asking_again_never_undoes_a_confirmation_that_happened_meanwhile(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    def ask_and_confirm(session: Session) -> None:
        asked = subscriptions.ask(session, contact_id=cleo.id, list="interest", now=clock.now())
        subscriptions.confirm(session, subscription_id=asked.id, round=asked.round, now=clock.now())

    with meanwhile(database, before="UPDATE subscriptions", do=ask_and_confirm), database.write() as session:
        subscriptions.find(session, contact_id=cleo.id, list="interest")
        later = clock.now() + timedelta(seconds=1)
        asked = subscriptions.ask(session, contact_id=cleo.id, list="interest", now=later)
        assert asked.state == "confirmed"
    assert _standing(database, cleo).state == "confirmed"


def test_two_forms_at_once_make_one_subscription(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    def ask(session: Session) -> int:
        return subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now()).id

    assert len(set(at_once(database, *[ask] * 4))) == 1


ACTS = st.lists(
    st.one_of(st.sampled_from(["ask", "leave", "pause"]), st.integers(0, 3)), min_size=1, max_size=12
)


@given(acts=ACTS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
def test_only_a_link_made_since_the_last_leaving_confirms(database: Database, acts: list[str | int]) -> None:
    """A number presses the confirmation link of that round, which may be long over or not made yet."""
    state, turn = "pending", 0
    with database.write() as session:
        number = session.scalar(select(Subscription.id).order_by(Subscription.id.desc()).limit(1)) or 0
        contact_id = _contact(session, f"person{number + 1}")
        asked = subscriptions.ask(session, contact_id=contact_id, list="interest", now=START)
        for act in acts:
            if act == "ask":
                subscriptions.ask(session, contact_id=contact_id, list="interest", now=START)
                state = "confirmed" if state == "confirmed" else "pending"
            elif act == "leave":
                left = subscriptions.leave(session, contact_id=contact_id, now=START)
                assert bool(left) == (state != "left")
                state, turn = "left", turn + (state != "left")
            elif act == "pause":
                subscriptions.pause(session, contact_id=contact_id, until=START)
            else:
                done = subscriptions.confirm(session, subscription_id=asked.id, round=int(act), now=START)
                assert (done is not None) == (act == turn and state != "left")
                assert done is None or done.changed == (state == "pending")
                state = "confirmed" if done else state
            found = subscriptions.find(session, contact_id=contact_id, list="interest")
            assert found is not None and (found.state, found.round) == (state, turn)


def test_whoever_asked_by_a_form_is_never_taken_for_somebody_nobody_has_written_to(
    database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        form, imported = _contact(session, "form"), _contact(session, "imported")
        subscriptions.ask(session, contact_id=form, list="interest", now=clock.now())
        everybody = [form, imported]
        subscriptions.add_all(session, everybody, list="interest", now=clock.now(), confirmed=False)
        before, later = clock.now() - timedelta(days=1), clock.advance(minutes=1)

        def take() -> list[int]:
            may = select(Subscription.contact_id)
            taken = subscriptions.claim_unmailed(
                session, may, list="interest", since=before, now=later, limit=9
            )
            return list(taken)

        assert (take(), take()) == ([imported], [])
