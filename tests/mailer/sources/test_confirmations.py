"""Confirmations: one mail answers a form, the same for every address, and only its button changes data."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lists import addresses, consents, contacts, directory, geography, subscriptions, suppressions
from lists.consents import Consent
from lists.contacts import Contact
from lists.db import Database
from lists.directory import Application
from lists.errors import BadInput
from lists.subscriptions import Confirmation, Subscription
from mailer.outbox import stats
from mailer.outbox.outbox import OutboxRow
from mailer.sources.confirmations import Confirmations, SignupRequest
from tests import parts
from tests.clocks import START, StoppedClock
from tests.people import PEPPER, Person
from tests.races import at_once
from tests.statements import recorded

DORA = "dora@example.org"
ST_MARK = Application(organization="St. Mark", name="Ana", zip="10027")


@pytest.fixture
def confirmations() -> Confirmations:
    return parts.built().confirmations


def _signup(email: str = DORA, *, list: str = "interest", name: str = "") -> SignupRequest:
    return SignupRequest(
        address=addresses.parse(email, pepper=PEPPER),
        list=list,
        language="es",
        wording="Sí, escríbanme.",
        page="/join",
        name=name,
        place=geography.find("85003"),
    )


def _mails(session: Session) -> list[str]:
    rows = session.execute(select(OutboxRow.kind, OutboxRow.list).order_by(OutboxRow.id))
    return [f"{kind} {list_name}" for kind, list_name in rows]


def _confirm_newest(
    confirmations: Confirmations, session: Session, *, list: str, now: datetime, round: int = 0
) -> Confirmation | None:
    query = select(Subscription.id).where(Subscription.list == list).order_by(Subscription.id.desc())
    number = session.scalars(query.limit(1)).one()
    return confirmations.confirm(session, subscription_id=number, round=round, page="/confirm", now=now)


def test_a_form_is_answered_at_once_and_the_evidence_is_kept(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        confirmations.record_signup(session, _signup(name="Dora"), now=clock.now())
    with database.read() as session:
        assert _mails(session) == ["confirmation interest"]
        contact = contacts.find(session, _signup().address)
        assert contact is not None
        assert (contact.name, contact.language, contact.city) == ("Dora", "es", "Phoenix")
        (consent,) = consents.list_for_contact(session, contact.id)
        assert (consent.action, consent.wording, consent.page) == ("asked", "Sí, escríbanme.", "/join")
        assert consent.language == "es"


def test_however_often_an_address_is_signed_up_it_gets_one_mail_a_day_and_list(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    for expected in (1, 2):
        with database.write() as session:
            for number in range(20):
                spelling = DORA if number % 2 else DORA.upper()
                confirmations.record_signup(session, _signup(spelling), now=clock.advance(seconds=1))
                confirmations.record_signup(session, _signup(list="organizers"), now=clock.now())
        with database.write() as session:
            confirmations.fill(session, now=clock.now(), limit=100)
            assert _mails(session) == ["confirmation interest", "confirmation organizers"] * expected
        clock.set(START + timedelta(days=1))


def test_forms_sent_at_once_are_one_mail(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        confirmations.record_signup(
            session, _signup("first@example.org"), now=clock.now()
        )  # freezes the edition

    def ask(session: Session) -> None:
        confirmations.record_signup(session, _signup(), now=clock.now())

    at_once(database, *[ask] * 4)
    with database.read() as session:
        assert _mails(session) == ["confirmation interest"] * 2
        assert session.scalar(select(func.count(Contact.id))) == 2
        assert session.scalar(select(func.count(Consent.id))) == 5


def test_no_more_than_three_answers_a_day_reach_one_address(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        for _ in range(6):
            confirmations.record_signup(session, _signup(), now=clock.now())
            confirmations.record_signup(session, _signup(list="organizers"), now=clock.now())
            contact = contacts.find(session, _signup().address)
            assert contact is not None
            subscriptions.leave(session, contact_id=contact.id, now=clock.now())
        assert len(_mails(session)) == 3


def test_who_leaves_and_joins_again_on_the_same_day_gets_a_new_link(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        confirmations.record_signup(session, _signup(), now=clock.now())
        confirmation = _confirm_newest(confirmations, session, list="interest", now=clock.now())
        assert confirmation is not None
        subscriptions.leave(session, contact_id=confirmation.contact_id, now=clock.now())
        confirmations.record_signup(session, _signup(), now=clock.advance(minutes=1))
        assert _mails(session) == ["confirmation interest", "confirmation interest"]
        assert _confirm_newest(confirmations, session, list="interest", now=clock.now(), round=0) is None
        assert _confirm_newest(confirmations, session, list="interest", now=clock.now(), round=1) is not None


def test_who_is_on_the_list_gets_a_friendly_word_and_stays_on_it(
    confirmations: Confirmations, database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        confirmations.record_signup(session, _signup(ben.email, name="Mallory"), now=clock.advance(days=1))
        confirmations.record_signup(session, _signup(ben.email), now=clock.now())
        assert _mails(session) == ["already interest"]
        contact = contacts.get(session, ben.id)
        assert (contact.name, contact.language) == ("Ben", "es")
        subscription = subscriptions.find(session, contact_id=ben.id, list="interest")
        assert subscription is not None and subscription.state == "confirmed"


def test_a_form_with_cleos_address_brings_nobody_back_but_asks_her(
    confirmations: Confirmations, database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        confirmations.record_signup(session, _signup(cleo.email), now=clock.advance(days=1))
        assert _mails(session) == ["confirmation interest"]
        assert _confirm_newest(confirmations, session, list="interest", now=clock.now(), round=0) is None
        subscription = subscriptions.find(session, contact_id=cleo.id, list="interest")
        assert subscription is not None and subscription.state == "pending"
        assert _confirm_newest(confirmations, session, list="interest", now=clock.now(), round=1) is not None


def test_a_suppressed_address_gets_nothing_and_nothing_is_kept(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        suppressions.add(session, _signup().address.digest, reason="forgotten", now=clock.now())
        confirmations.record_signup(session, _signup(), now=clock.now())
    with database.read() as session:
        assert _mails(session) == []
        assert contacts.find(session, _signup().address) is None


@pytest.mark.parametrize("list_name", ["interest", "organizers"])
def test_known_and_unknown_and_left_addresses_take_the_same_statements(
    confirmations: Confirmations,
    database: Database,
    clock: StoppedClock,
    ben: Person,
    cleo: Person,
    list_name: str,
) -> None:
    """Only the effect of an existing row may differ, which a visitor cannot cause."""

    def statements(email: str) -> list[str]:
        with database.write() as session, recorded(database) as texts:
            confirmations.record_signup(session, _signup(email, list=list_name), now=clock.now())
            session.flush()
        return [" ".join(statement.split()[:3]) for statement in texts]

    statements("first@example.org")  # freezes the edition
    with database.write() as session:
        confirmations.record_signup(session, _signup(ben.email, list="interest"), now=clock.now())
    unknown, pending = statements(DORA), statements(DORA)
    left, confirmed = statements(cleo.email), statements(ben.email)
    assert unknown == pending == left == confirmed
    assert len(unknown) <= 12


def test_pressing_the_button_confirms_once_however_often_it_is_pressed(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        confirmations.record_signup(session, _signup(), now=clock.now())
        first = _confirm_newest(confirmations, session, list="interest", now=clock.advance(minutes=5))
        second = _confirm_newest(confirmations, session, list="interest", now=clock.advance(minutes=5))
        assert first is not None and second is not None
        assert (first.changed, second.changed) == (True, False)
        actions = [consent.action for consent in consents.list_for_contact(session, first.contact_id)]
        assert actions == ["asked", "confirmed"]


def test_the_button_pressed_twice_at_once_confirms_once(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        confirmations.record_signup(session, _signup(), now=clock.now())

    def confirm(session: Session) -> bool:
        confirmation = _confirm_newest(confirmations, session, list="interest", now=clock.now())
        assert confirmation is not None
        return confirmation.changed

    assert sorted(at_once(database, confirm, confirm)) == [False, True]
    with database.read() as session:
        assert session.scalar(select(func.count(Consent.id)).where(Consent.action == "confirmed")) == 1


def test_a_link_that_names_nobody_confirms_nobody(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        confirmation = confirmations.confirm(
            session, subscription_id=99, round=0, page="/confirm", now=clock.now()
        )
        assert confirmation is None


def test_an_organizers_address_is_confirmed_and_staff_decide_the_rest(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        confirmations.record_signup(session, _signup(list="organizers"), now=clock.now(), application=ST_MARK)
        first = _confirm_newest(confirmations, session, list="organizers", now=clock.advance(minutes=5))
        second = _confirm_newest(confirmations, session, list="organizers", now=clock.now())
        assert first is not None and second is not None
        assert (first.changed, second.changed) == (True, False)
        assert _mails(session) == ["confirmation organizers", "received organizers"]
        subscription = subscriptions.find(session, contact_id=first.contact_id, list="organizers")
        assert subscription is not None and subscription.state == "pending"
        assert [listing.state for listing in directory.list_applications(session)] == ["waiting"]


def test_an_organizer_who_applies_twice_waits_once_with_the_newer_words(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    application = Application(organization="St. Luke", zip="10027")
    with database.write() as session:
        confirmations.record_signup(session, _signup(list="organizers"), now=clock.now(), application=ST_MARK)
        _confirm_newest(confirmations, session, list="organizers", now=clock.now())
        confirmations.record_signup(
            session, _signup(list="organizers"), now=clock.advance(minutes=1), application=application
        )
        states = [(listing.organization, listing.state) for listing in directory.list_applications(session)]
        assert states == [("St. Mark", "waiting"), ("St. Luke", "asked")]
        confirmation = _confirm_newest(
            confirmations, session, list="organizers", now=clock.advance(minutes=1)
        )
        assert confirmation is not None and confirmation.changed
        states = [(listing.organization, listing.state) for listing in directory.list_applications(session)]
        assert states == [("St. Luke", "waiting")]
        assert _mails(session) == ["confirmation organizers", "received organizers"]


def test_what_cannot_be_kept_is_refused_before_anything_is_written(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    for signup, application in (
        (_signup(name="Dora\r\nBcc: all@example.org"), None),
        (_signup(list="organizers"), Application(organization="")),
    ):
        with pytest.raises(BadInput), database.write() as session:
            confirmations.record_signup(session, signup, now=clock.now(), application=application)
    with database.read() as session:
        assert session.scalar(select(func.count(Contact.id))) == 0


def _import(session: Session, *emails: str, now: datetime) -> None:
    ids = [
        contacts.find_or_add(session, addresses.parse(email, pepper=PEPPER), now=now).id for email in emails
    ]
    subscriptions.add_all(session, ids, list="interest", now=now, confirmed=False)


def test_imported_people_are_asked_once_and_never_again(
    confirmations: Confirmations, database: Database, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    forgotten_address = addresses.parse("forgotten@example.org", pepper=PEPPER)
    emails = (DORA, "eve@example.org", ben.email, cleo.email, forgotten_address.email)
    with database.write() as session:
        suppressions.add(session, forgotten_address.digest, reason="forgotten", now=clock.now())
        _import(session, *emails, now=clock.now())
        assert confirmations.fill(session, now=clock.now(), limit=100) == 2
    for _ in range(30):
        with database.write() as session:
            _import(session, *emails, now=clock.advance(hours=8))
            assert confirmations.fill(session, now=clock.now(), limit=100) == 0
    with database.read() as session:
        assert _mails(session) == ["confirmation interest"] * 2


def test_many_imported_people_are_asked_in_batches(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        _import(session, *[f"reader{number}@example.org" for number in range(7)], now=clock.now())
        counts = [confirmations.fill(session, now=clock.now(), limit=3) for _ in range(4)]
        assert counts == [3, 3, 1, 0]


def test_who_was_imported_long_ago_is_not_surprised_by_a_mail(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        _import(session, DORA, now=clock.now())
        assert confirmations.fill(session, now=clock.advance(days=2), limit=9) == 0


def test_a_form_filled_in_after_an_import_is_answered_and_not_asked_twice(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        _import(session, DORA, now=clock.now())
        confirmations.record_signup(session, _signup(), now=clock.advance(seconds=1))
        confirmations.fill(session, now=clock.advance(seconds=1), limit=9)
        clock.set(START + timedelta(hours=10))  # the next day in Greenwich
        confirmations.fill(session, now=clock.now(), limit=9)
        assert _mails(session) == ["confirmation interest"]


def test_filling_takes_as_many_statements_for_many_as_for_one(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    def statements(*emails: str) -> int:
        with database.write() as session:
            _import(session, *emails, now=clock.now())
        with database.write() as session, recorded(database) as executed:
            assert confirmations.fill(session, now=clock.now(), limit=100) == len(emails)
        return len(executed)

    statements("first@example.org")  # freezes the edition
    assert statements(DORA) == statements(*[f"reader{number}@example.org" for number in range(50)])


def test_the_ledger_counts_what_was_asked(
    confirmations: Confirmations, database: Database, clock: StoppedClock
) -> None:
    with database.write() as session:
        confirmations.record_signup(session, _signup(), now=clock.now())
        assert stats.count_by_kind_and_state(session) == {("confirmation", "queued"): 1}
        assert confirmations.next_due(session, now=clock.now()) is None
