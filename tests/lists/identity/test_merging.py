"""Merging: two contacts of one person become one, and no permission is gained that neither had."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import (
    addresses,
    consents,
    contacts,
    departures,
    merge_redirects,
    permission,
    subscriptions,
    suppressions,
    topic_optouts,
)
from lists.audit import AuditEntry
from lists.catalog import BUILT_IN_LISTS
from lists.db import Database
from lists.errors import BadInput, Conflict
from lists.identity import departure_replay, duplicates, erasure, merging
from lists.identity.merging import STATES_BY_STRICTNESS, MergePlan
from lists.permission import Needs, Purpose
from tests.clocks import StoppedClock
from tests.importing import Import
from tests.people import PEPPER, Person, add

states_on_a_list = st.sampled_from(STATES_BY_STRICTNESS)


def merge(database: Database, clock: StoppedClock, keep: Person, other: Person) -> MergePlan:
    with database.write() as session:
        return merge_contacts(session, clock, keep.id, other.id)


def merge_contacts(session: Session, clock: StoppedClock, keep: int, other: int) -> MergePlan:
    keep_contact, other_contact = contacts.get(session, keep), contacts.get(session, other)
    plan = merging.plan(session, keep_contact, other_contact, now=clock.now())
    merging.merge(session, plan, now=clock.now(), actor="staff")
    return plan


def states(session: Session, contact_id: int) -> Mapping[str, str]:
    return {
        subscription.list: subscription.state
        for subscription in subscriptions.list_for_contact(session, contact_id)
    }


def add_second_ana(session: Session, clock: StoppedClock, *, list: str = "interest") -> Person:
    return add(
        session,
        name="Ana María",
        email="ana@old.example.org",
        language="es",
        zip="85003",
        list=list,
        now=clock.now(),
    )


def test_a_list_left_with_either_address_is_left(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    for keep_left in (True, False):
        with database.write() as session:
            second_ana = add_second_ana(session, clock)
            subscriptions.leave(session, contact_id=(ben if keep_left else second_ana).id, now=clock.now())
        with database.write() as session:
            merge_contacts(session, clock, ben.id, second_ana.id)
            assert states(session, ben.id) == {"interest": "left"}
            assert consents.list_for_contact(session, ben.id)[-1].action == "merged"
            session.rollback()


def test_an_old_link_does_not_confirm_a_list_left_with_the_other_address(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        address = addresses.parse("cleo@new.example.org", pepper=PEPPER)
        contact = contacts.find_or_add(session, address, now=clock.now())
        subscription = subscriptions.ask(session, contact_id=contact.id, list="interest", now=clock.now())
        link = {"subscription_id": subscription.id, "round": subscription.round}
        merge_contacts(session, clock, contact.id, cleo.id)
        assert states(session, contact.id) == {"interest": "left"}
        assert subscriptions.confirm(session, **link, now=clock.now()) is None


def test_empty_columns_are_filled_and_nothing_is_overwritten(
    database: Database, clock: StoppedClock, ana: Person
) -> None:
    with database.write() as session:
        second_ana = add_second_ana(session, clock)
        contacts.amend(session, second_ana.id, organization="St. Mark", discreet=True)
        contacts.amend(session, ana.id, name="")
        merge_contacts(session, clock, ana.id, second_ana.id)
        contact = contacts.get(session, ana.id)
        assert (contact.name, contact.organization, contact.discreet) == ("Ana María", "St. Mark", True)
        assert (contact.language, contact.zip, contact.email) == ("en", "10027", ana.email)
        assert states(session, ana.id) == {"interest": "confirmed", "organizers": "confirmed"}
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "contact merge")).one()
        assert entry.subject == f"contact {second_ana.id} into contact {ana.id}"


def test_a_yes_does_not_move_to_an_address_that_never_said_one(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        address = addresses.parse("ben@new.example.org", pepper=PEPPER)
        new_id = contacts.find_or_add(session, address, now=clock.now()).id
        with pytest.raises(Conflict, match=r"merge ben@vecinos\.example\.org ben@new\.example\.org"):
            merge_contacts(session, clock, new_id, ben.id)
        merge_contacts(session, clock, ben.id, new_id)
        assert states(session, ben.id) == {"interest": "confirmed"}


def test_a_pending_request_to_the_other_address_is_sent_again(
    database: Database, clock: StoppedClock, ana: Person
) -> None:
    with database.write() as session:
        address = addresses.parse("ana@new.example.org", pepper=PEPPER)
        new_id = contacts.find_or_add(session, address, now=clock.now()).id
        subscription = subscriptions.ask(session, contact_id=new_id, list="interest", now=clock.now())
        link = {"subscription_id": subscription.id, "round": subscription.round}
        merge_contacts(session, clock, ana.id, new_id)
        pending = subscriptions.find(session, contact_id=ana.id, list="interest")
        assert pending is not None and (pending.state, pending.mailed_at) == ("pending", None)
        assert subscriptions.confirm(session, **link, now=clock.now()) is None


def test_a_complaint_counts_for_both_addresses_and_a_bounce_for_its_own(
    database: Database, clock: StoppedClock, ana: Person
) -> None:
    with database.write() as session:
        second_ana = add_second_ana(session, clock)
        suppressions.add(session, second_ana.address.digest, reason="bounce", now=clock.now())
        suppressions.add(session, ana.address.digest, reason="staff", now=clock.now())
        assert merge_contacts(session, clock, ana.id, second_ana.id).suppression_reason == "staff"
        reasons = suppressions.find_reasons(session, [ana.address.digest, second_ana.address.digest])
        assert reasons == {ana.address.digest: "staff", second_ana.address.digest: "bounce"}
        session.rollback()
    with database.write() as session:
        second_ana = add_second_ana(session, clock)
        suppressions.add(session, second_ana.address.digest, reason="bounce", now=clock.now())
        assert merge_contacts(session, clock, ana.id, second_ana.id).suppression_reason is None
        assert suppressions.find_reason(session, ana.address.digest) is None


def test_a_concurrent_change_is_a_conflict(
    database: Database, clock: StoppedClock, ana: Person, ben: Person
) -> None:
    with database.write() as session:
        merging.lock_contacts(session, ana.id, ben.id, versions=(1, 1))
        contacts.amend(session, ben.id, name="Benjamín")
        for versions in ((1, 1), (2, 1)):
            with pytest.raises(Conflict, match="meanwhile"):
                merging.lock_contacts(session, ana.id, ben.id, versions=versions)
        merging.lock_contacts(session, ana.id, ben.id, versions=(1, 2))
        with pytest.raises(Conflict):
            merging.lock_contacts(session, ana.id, 4_711, versions=(1, 1))
        with pytest.raises(BadInput, match="one contact already"):
            merge_contacts(session, clock, ana.id, ana.id)


def test_the_merged_address_is_not_imported_and_is_erased_and_leaves_with_the_person(
    database: Database, clock: StoppedClock, ben: Person, import_text: Import
) -> None:
    with database.write() as session:
        second_ana = add_second_ana(session, clock)
        third_ana = add_third_ana(session, clock)
        merge_contacts(session, clock, second_ana.id, third_ana.id)
        merge_contacts(session, clock, ben.id, second_ana.id)
        assert [entry.gone_id for entry in merge_redirects.list_for_contact(session, ben.id)] == [
            second_ana.id,
            third_ana.id,
        ]
        contact = merge_redirects.find_contact(session, third_ana.id)
        assert contact is not None and contact.id == ben.id
    (result,) = import_text(f"email\n{second_ana.email}")
    assert (result.outcome, "became part of another contact" in result.why) == ("already", True)
    digests = {person.address.digest for person in (ben, second_ana, third_ana)}
    with database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, list="interest", now=clock.now())
        pending = departures.list_pending(session, limit=9)
        assert {entry.digest for _, entry in pending} == digests
        assert erasure.erase_person(session, ben.address, now=clock.now(), actor="staff")
        assert set(suppressions.find_reasons(session, digests)) == digests
        assert merge_redirects.find_contact(session, second_ana.id) is None


def test_leaving_counts_for_both_addresses_in_a_backup_from_before_the_merge(
    database: Database, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    with database.write() as session:
        second_ana = add_second_ana(session, clock)
    with database.write() as session:
        merge_contacts(session, clock, ben.id, second_ana.id)
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
        after_leaving = [record for _, record in departures.list_pending(session, limit=9)]
        session.rollback()
    with database.write() as session:
        merge_contacts(session, clock, second_ana.id, cleo.id)
        after_merging = [record for _, record in departures.list_pending(session, limit=9)]
        session.rollback()
    for records, people in ((after_leaving, (ben, second_ana)), (after_merging, (second_ana, cleo))):
        with database.write() as session:
            assert states(session, second_ana.id) == {"interest": "confirmed"}
            departure_replay.replay(session, records, erase=contacts.erase, now=clock.now(), actor="staff")
            for person_to_check in people:
                assert states(session, person_to_check.id) == {"interest": "left"}
            session.rollback()


def add_third_ana(session: Session, clock: StoppedClock) -> Person:
    return add(
        session,
        name="",
        email="ana@oldest.example.org",
        language="en",
        zip="10027",
        list="interest",
        now=clock.now(),
    )


def test_nobody_of_an_unfinished_import_is_merged(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    from lists import imports

    with database.write() as session:
        address = addresses.parse("ana@new.example.org", pepper=PEPPER)
        new_id = contacts.find_or_add(session, address, now=clock.now()).id
        list_import = imports.begin(session, list="organizers", fingerprint=b"x" * 32, now=clock.now())
        options = {"list": "organizers", "now": clock.now(), "confirmed": True, "import_id": list_import.id}
        subscriptions.add_all(session, [new_id], **options)
        with pytest.raises(Conflict, match="not finished"):
            merge_contacts(session, clock, ben.id, new_id)


@given(states_on_a_list, states_on_a_list, states_on_a_list)
def test_of_two_states_the_stricter_is_kept_in_any_order(one: str, two: str, three: str) -> None:
    assert merging.pick_stricter(one, two) == merging.pick_stricter(two, one)
    assert merging.pick_stricter(one, one) == one
    strictest = merging.pick_stricter(merging.pick_stricter(one, two), three)
    assert strictest == merging.pick_stricter(one, merging.pick_stricter(two, three))
    assert ("left" in (one, two)) == (merging.pick_stricter(one, two) == "left")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """A person's state on each list, days of pause, opt-outs, and the reason of a suppression."""

    lists: Mapping[str, str]
    paused: int
    declined: frozenset[str]
    barred: str


wishes = st.builds(
    Wishes,
    lists=st.fixed_dictionaries(dict.fromkeys(BUILT_IN_LISTS, states_on_a_list)),
    paused=st.sampled_from((0, 0, 3, 9)),
    declined=st.frozensets(st.sampled_from(topic_optouts.TOPICS), max_size=2),
    barred=st.sampled_from(("", "", "", *suppressions.REASONS)),
)
Permissions = Mapping[tuple[str, str, str], bool]


def person(session: Session, clock: StoppedClock, email: str, wish: Wishes) -> int:
    address, now = addresses.parse(email, pepper=PEPPER), clock.now()
    contact = contacts.find_or_add(session, address, now=now)
    for name, state in wish.lists.items():
        if state:
            subscription = subscriptions.ask(session, contact_id=contact.id, list=name, now=now)
        if state in ("confirmed", "left"):
            subscriptions.confirm(session, subscription_id=subscription.id, round=subscription.round, now=now)
        if state == "left":
            subscriptions.leave(session, contact_id=contact.id, list=name, now=now)
    if wish.paused:
        subscriptions.pause(session, contact_id=contact.id, until=now + timedelta(days=wish.paused))
    topic_optouts.set_optouts(session, contact_id=contact.id, topics=wish.declined, now=now)
    if wish.barred:
        suppressions.add(session, address.digest, reason=wish.barred, now=now)
    return contact.id


def list_permissions(session: Session, clock: StoppedClock, contact_id: int) -> Permissions:
    """Evaluate the permission rule for every requirement, list and topic."""
    needs: tuple[Needs, ...] = get_args(Needs)
    purposes = [
        Purpose(needs=need, list=name, topic=topic)
        for need in needs
        for name in BUILT_IN_LISTS
        for topic in ("", *topic_optouts.TOPICS)
    ]
    answers = {}
    for purpose in purposes:
        recipient = permission.find_recipients(session, [contact_id], purpose=purpose, now=clock.now()).get(
            contact_id
        )
        allowed = recipient is not None and recipient.refusal is None
        answers[purpose.needs, purpose.list, purpose.topic] = allowed
    return answers


class RollBack(Exception):
    """Rolls back one example, so that the next one begins without its rows."""


def try_merge(
    database: Database, clock: StoppedClock, keep: Wishes, other: Wishes
) -> tuple[Permissions, Permissions, Permissions | None]:
    """Merge two such people and roll back; returns what each allowed, and what the merged contact allows."""
    merged_permissions: Permissions | None = None
    with suppress(RollBack), database.write() as session:
        first_id = person(session, clock, "one@example.org", keep)
        second_id = person(session, clock, "two@example.org", other)
        keep_permissions, other_permissions = (
            list_permissions(session, clock, first_id),
            list_permissions(session, clock, second_id),
        )
        with suppress(Conflict):
            plan = merge_contacts(session, clock, first_id, second_id)
            assert plan.declined_topics == sorted(keep.declined | other.declined)
            merged_permissions = list_permissions(session, clock, first_id)
        raise RollBack
    return keep_permissions, other_permissions, merged_permissions


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=wishes, two=wishes)
def test_a_merge_allows_nothing_that_neither_address_allowed(
    database: Database, clock: StoppedClock, one: Wishes, two: Wishes
) -> None:
    keep_permissions, other_permissions, merged_permissions = try_merge(database, clock, one, two)
    *_, reversed_permissions = try_merge(database, clock, two, one)
    if merged_permissions is None:
        assert not any(allowed for (need, _, _), allowed in keep_permissions.items() if need == "confirmed")
        return
    is_paused = any(wish.paused and "confirmed" in wish.lists.values() for wish in (one, two))
    for need, name, topic in [key for key, allowed in merged_permissions.items() if allowed]:
        # A consent counts even when the mailbox of its address bounces.
        assert (
            keep_permissions[need, name, topic]
            or other_permissions[need, name, topic]
            or two.barred == "bounce"
        )
        assert not {one.barred, two.barred} & {*merging.PERSON_WIDE_REASONS}
        if need != "address":
            assert "left" not in (one.lists[name], two.lists[name])
        if need == "confirmed":
            assert topic not in one.declined | two.declined
            assert not is_paused
    if reversed_permissions is not None and "bounce" not in (one.barred, two.barred):
        assert merged_permissions == reversed_permissions


def test_likely_duplicates_are_listed_and_no_others(database: Database, clock: StoppedClock) -> None:
    people = (
        ("ana@stmark.example.org", "Ana", "10027"),
        ("ana+news@stmark.example.org", "", ""),
        ("ana.b@stmark.example.org", "", ""),  # on this server a dot makes another mailbox
        ("b.en@gmail.com", "", ""),
        ("be.n+x@googlemail.com", "", ""),
        ("cleo@one.example.org", "Cleo", "90012"),
        ("cleo@two.example.org", "CLEO", "90012"),
        ("cleo@three.example.org", "Cleo", "10027"),
    )
    with database.write() as session:
        for email, name, zip_code in people:
            add(
                session,
                name=name,
                email=email,
                language="en",
                zip=zip_code or "85003",
                list="interest",
                now=clock.now(),
            )
    with database.read() as session:
        pairs = duplicates.find_pairs(session, limit=50)
        assert {(pair.email, pair.other, pair.why) for pair in pairs} == {
            ("ana@stmark.example.org", "ana+news@stmark.example.org", "same mailbox"),
            ("b.en@gmail.com", "be.n+x@googlemail.com", "same mailbox"),
            ("cleo@one.example.org", "cleo@two.example.org", "same name and ZIP code"),
        }
        assert len(duplicates.find_pairs(session, limit=1)) == 1
