"""Subscriptions: pending → confirmed → left; an old link never confirms a subscription that was left."""

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


def _get_subscription(database: Database, person: Person) -> Subscription:
    with database.read() as session:
        subscription = subscriptions.find(session, contact_id=person.id, list=person.list)
        assert subscription is not None
        return subscription


def _changes(session: Session) -> list[tuple[int, str]]:
    queue = select(SubscriptionChange).order_by(SubscriptionChange.id)
    return [(change.contact_id, change.list) for change in session.scalars(queue)]


def _contact(session: Session, name: str) -> int:
    address = addresses.parse(f"{name}@example.org", pepper=PEPPER)
    return contacts.find_or_add(session, address, now=START).id


def test_a_sign_up_is_pending_until_it_is_confirmed(database: Database, clock: StoppedClock) -> None:
    with database.write() as session:
        subscription = subscriptions.ask(
            session, contact_id=_contact(session, "dora"), list="interest", now=START
        )
        assert (subscription.state, subscription.round, subscription.asked_at) == ("pending", 0, START)
        assert _changes(session) == []
    with database.write() as session:
        later = clock.advance(hours=1)
        confirmation = subscriptions.confirm(session, subscription_id=subscription.id, round=0, now=later)
        assert confirmation is not None and confirmation.changed
        confirmed = subscriptions.find(session, contact_id=subscription.contact_id, list="interest")
        assert confirmed is not None
        assert (confirmed.state, confirmed.confirmed_at, confirmed.left_at) == ("confirmed", later, None)
        assert _changes(session) == [(subscription.contact_id, "interest")]


def test_confirming_twice_is_one_confirmation(database: Database, clock: StoppedClock, ben: Person) -> None:
    confirmed_at = _get_subscription(database, ben).confirmed_at
    with database.write() as session:
        before = _changes(session)
        confirmation = subscriptions.confirm(
            session, subscription_id=ben.subscription_id, round=0, now=clock.advance(days=1)
        )
        assert confirmation is not None and not confirmation.changed
        assert _changes(session) == before
    assert _get_subscription(database, ben).confirmed_at == confirmed_at


def test_a_second_sign_up_keeps_a_confirmed_subscription(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        later = clock.advance(days=1)
        subscription = subscriptions.ask(session, contact_id=ben.id, list="interest", now=later)
        assert (subscription.state, subscription.asked_at) == ("confirmed", START)


def test_an_old_link_confirms_nothing_after_leaving(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        confirmation = subscriptions.confirm(
            session, subscription_id=cleo.subscription_id, round=0, now=clock.advance(days=1)
        )
        assert confirmation is None
        assert subscriptions.find_by_token(session, subscription_id=cleo.subscription_id, round=0) is None
    assert _get_subscription(database, cleo).state == "left"


def test_an_old_link_stays_invalid_after_a_new_sign_up_and_the_new_link_works(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        subscription = subscriptions.ask(
            session, contact_id=cleo.id, list="interest", now=clock.advance(days=1)
        )
        assert (subscription.state, subscription.round) == ("pending", 1)
        assert (
            subscriptions.confirm(session, subscription_id=subscription.id, round=0, now=clock.now()) is None
        )
        confirmation = subscriptions.confirm(
            session, subscription_id=subscription.id, round=1, now=clock.now()
        )
        assert confirmation is not None and confirmation.changed
    assert _get_subscription(database, cleo).state == "confirmed"
    assert _get_subscription(database, cleo).left_at is None


def test_leaving_twice_is_leaving_once(database: Database, clock: StoppedClock, cleo: Person) -> None:
    before = _get_subscription(database, cleo)
    with database.write() as session:
        assert subscriptions.leave(session, contact_id=cleo.id, now=clock.advance(days=1)) == []
    after = _get_subscription(database, cleo)
    assert (after.round, after.left_at) == (before.round, before.left_at)


def test_somebody_can_leave_one_list_or_all(database: Database, clock: StoppedClock, ben: Person) -> None:
    with database.write() as session:
        subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now())
        assert subscriptions.leave(session, contact_id=ben.id, list="organizers", now=clock.now()) == [
            "organizers"
        ]
        assert [subscription.state for subscription in subscriptions.list_for_contact(session, ben.id)] == [
            "confirmed",
            "left",
        ]
        subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now())
        names = subscriptions.leave(session, contact_id=ben.id, now=clock.now())
        assert names == ["interest", "organizers"]
        assert _changes(session)[-2:] in (
            [(ben.id, "interest"), (ben.id, "organizers")],
            [(ben.id, "organizers"), (ben.id, "interest")],
        )


def test_leaving_changes_only_ones_own_subscription(
    database: Database, clock: StoppedClock, ana: Person, ben: Person
) -> None:
    with database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    assert _get_subscription(database, ana).state == "confirmed"


def test_leaving_ends_a_pause(database: Database, clock: StoppedClock, ben: Person) -> None:
    with database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=clock.now() + timedelta(days=30))
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    assert _get_subscription(database, ben).paused_until is None


def test_a_pause_changes_only_confirmed_subscriptions(
    database: Database, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    until = clock.now() + timedelta(days=30)
    with database.write() as session:
        for person in (ben, cleo):
            subscriptions.pause(session, contact_id=person.id, until=until)
    assert (
        _get_subscription(database, ben).paused_until,
        _get_subscription(database, cleo).paused_until,
    ) == (until, None)
    with database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=None)
    assert _get_subscription(database, ben).paused_until is None


def test_an_import_never_restores_a_subscription(
    database: Database, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    with database.write() as session:
        dora = _contact(session, "dora")
        contact_ids = [ben.id, cleo.id, dora]
        later = clock.advance(days=1)
        number = subscriptions.add_all(session, contact_ids, list="interest", now=later, confirmed=True)
        assert number == 1
        assert subscriptions.add_all(session, [], list="interest", now=later, confirmed=True) == 0
        assert _changes(session)[-1] == (dora, "interest")
        assert subscriptions.count_by_state(session) == {
            ("interest", "confirmed"): 2,
            ("interest", "left"): 1,
        }
    assert _get_subscription(database, cleo).state == "left"
    assert _get_subscription(database, ben).confirmed_at == START


def test_an_import_without_consent_leaves_everybody_pending(database: Database, clock: StoppedClock) -> None:
    with database.write() as session:
        dora = _contact(session, "dora")
        subscriptions.add_all(session, [dora], list="interest", now=clock.now(), confirmed=False)
        subscription = subscriptions.find(session, contact_id=dora, list="interest")
        assert subscription is not None and (subscription.state, subscription.confirmed_at) == (
            "pending",
            None,
        )
        assert _changes(session) == []


def test_an_unknown_state_is_refused_by_the_database(database: Database, ben: Person) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        subscription = subscriptions.find(session, contact_id=ben.id, list="interest")
        assert subscription is not None
        subscription.state = "sleeping"


@pytest.mark.parametrize("turn", range(5))
def test_confirming_and_leaving_at_once_end_as_left(
    database: Database, clock: StoppedClock, cleo: Person, turn: int
) -> None:
    with database.write() as session:
        subscription = subscriptions.ask(session, contact_id=cleo.id, list="interest", now=clock.now())

    def confirm(session: Session) -> object:
        return subscriptions.confirm(
            session, subscription_id=subscription.id, round=subscription.round, now=clock.now()
        )

    def leave(session: Session) -> object:
        return subscriptions.leave(session, contact_id=cleo.id, now=clock.now())

    actions = (confirm, leave) if turn % 2 else (leave, confirm)
    at_once(database, *actions)
    after = _get_subscription(database, cleo)
    assert (after.state, after.round) == ("left", subscription.round + 1)
    with database.write() as session:
        assert confirm(session) is None


@on_postgresql
def test_a_confirmation_fails_when_the_person_leaves_at_the_same_moment(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        subscription = subscriptions.ask(session, contact_id=cleo.id, list="interest", now=clock.now())

    def leave(session: Session) -> None:
        subscriptions.leave(session, contact_id=cleo.id, now=clock.now())

    with meanwhile(database, before="UPDATE subscriptions", do=leave), database.write() as session:
        loaded = session.get(Subscription, subscription.id)  # as the page does, to get the list
        confirmation = subscriptions.confirm(
            session, subscription_id=subscription.id, round=1, now=clock.now()
        )
    assert confirmation is None
    assert loaded is not None and loaded.state == "left"
    assert _get_subscription(database, cleo).state == "left"


@on_postgresql
def test_a_second_sign_up_never_undoes_a_concurrent_confirmation(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    def ask_and_confirm(session: Session) -> None:
        subscription = subscriptions.ask(session, contact_id=cleo.id, list="interest", now=clock.now())
        subscriptions.confirm(
            session, subscription_id=subscription.id, round=subscription.round, now=clock.now()
        )

    with meanwhile(database, before="UPDATE subscriptions", do=ask_and_confirm), database.write() as session:
        subscriptions.find(session, contact_id=cleo.id, list="interest")
        later = clock.now() + timedelta(seconds=1)
        subscription = subscriptions.ask(session, contact_id=cleo.id, list="interest", now=later)
        assert subscription.state == "confirmed"
    assert _get_subscription(database, cleo).state == "confirmed"


def test_two_forms_at_once_make_one_subscription(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    def ask(session: Session) -> int:
        return subscriptions.ask(session, contact_id=ben.id, list="organizers", now=clock.now()).id

    assert len(set(at_once(database, *[ask] * 4))) == 1


ACTIONS = st.lists(
    st.one_of(st.sampled_from(["ask", "leave", "pause"]), st.integers(0, 3)), min_size=1, max_size=12
)


@given(actions=ACTIONS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
def test_only_a_link_made_since_the_last_leaving_confirms(
    database: Database, actions: list[str | int]
) -> None:
    """A number uses the confirmation link of that round, which may be over or may not exist yet."""
    state, current_round = "pending", 0
    with database.write() as session:
        number = session.scalar(select(Subscription.id).order_by(Subscription.id.desc()).limit(1)) or 0
        contact_id = _contact(session, f"person{number + 1}")
        subscription = subscriptions.ask(session, contact_id=contact_id, list="interest", now=START)
        for action in actions:
            if action == "ask":
                subscriptions.ask(session, contact_id=contact_id, list="interest", now=START)
                state = "confirmed" if state == "confirmed" else "pending"
            elif action == "leave":
                names = subscriptions.leave(session, contact_id=contact_id, now=START)
                assert bool(names) == (state != "left")
                state, current_round = "left", current_round + (state != "left")
            elif action == "pause":
                subscriptions.pause(session, contact_id=contact_id, until=START)
            else:
                confirmation = subscriptions.confirm(
                    session, subscription_id=subscription.id, round=int(action), now=START
                )
                assert (confirmation is not None) == (action == current_round and state != "left")
                assert confirmation is None or confirmation.changed == (state == "pending")
                state = "confirmed" if confirmation else state
            current = subscriptions.find(session, contact_id=contact_id, list="interest")
            assert current is not None and (current.state, current.round) == (state, current_round)


def test_a_sign_up_by_form_does_not_count_as_unmailed(database: Database, clock: StoppedClock) -> None:
    with database.write() as session:
        form_id, imported_id = _contact(session, "form"), _contact(session, "imported")
        subscriptions.ask(session, contact_id=form_id, list="interest", now=clock.now())
        contact_ids = [form_id, imported_id]
        subscriptions.add_all(session, contact_ids, list="interest", now=clock.now(), confirmed=False)
        before, later = clock.now() - timedelta(days=1), clock.advance(minutes=1)

        def claim() -> list[int]:
            candidates = select(Subscription.contact_id)
            claimed_ids = subscriptions.claim_unmailed(
                session, candidates, list="interest", since=before, now=later, limit=9
            )
            return list(claimed_ids)

        assert (claim(), claim()) == ([imported_id], [])
