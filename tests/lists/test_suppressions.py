"""Suppressions: an address that is never written to is stored only as its keyed hash."""

import pytest
from sqlalchemy import func, select

from lists import suppressions
from lists.contacts import Contact
from lists.db import Database
from lists.suppressions import REASONS, Suppression
from tests.clocks import StoppedClock
from tests.people import Person
from tests.races import at_once


def test_an_address_is_suppressed_with_the_first_reason_there_was(
    database: Database, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    with database.write() as session:
        for reason in ("complaint", "forgotten"):
            suppressions.add(session, cleo.address.digest, reason=reason, now=clock.now())
    with database.read() as session:
        assert suppressions.find_reason(session, cleo.address.digest) == "complaint"
        assert suppressions.find_reason(session, ben.address.digest) is None


def test_many_addresses_are_checked_in_one_query(
    database: Database, clock: StoppedClock, ana: Person, ben: Person, cleo: Person
) -> None:
    with database.write() as session:
        suppressions.add(session, cleo.address.digest, reason="bounce", now=clock.now())
    with database.read() as session:
        digests = [person.address.digest for person in (ana, ben, cleo)]
        assert suppressions.find_reasons(session, digests) == {cleo.address.digest: "bounce"}
        assert suppressions.find_reasons(session, []) == {}


def test_the_first_of_two_reasons_is_returned_for_many_addresses(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        for reason in ("staff", "bounce"):
            suppressions.add(session, cleo.address.digest, reason=reason, now=clock.now())
    with database.read() as session:
        assert suppressions.find_reasons(session, [cleo.address.digest]) == {cleo.address.digest: "staff"}


def test_the_same_reason_twice_and_at_once_is_one_row(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    def add(session: object) -> None:
        suppressions.add(session, cleo.address.digest, reason="forgotten", now=clock.now())  # type: ignore[arg-type]

    at_once(database, add, add)
    with database.read() as session:
        assert session.scalar(select(func.count(Suppression.id))) == 1


def test_an_unknown_reason_is_our_own_fault(database: Database, clock: StoppedClock, cleo: Person) -> None:
    with pytest.raises(AssertionError), database.write() as session:
        suppressions.add(session, cleo.address.digest, reason="dislike", now=clock.now())


def test_every_reason_makes_the_contact_suppressed(
    database: Database, clock: StoppedClock, ana: Person, ben: Person
) -> None:
    for reason in REASONS:
        with database.write() as session:
            suppressions.add(session, ben.address.digest, reason=reason, now=clock.now())
            query = select(Contact.id).where(suppressions.is_suppressed())
            assert session.scalars(query).all() == [ben.id]


def test_a_suppression_keeps_no_address() -> None:
    assert {column.name for column in Suppression.__table__.columns} == {"id", "email_digest", "reason", "at"}
