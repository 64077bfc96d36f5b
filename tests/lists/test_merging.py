"""Two contacts that are one person: the stricter answer wins, and nobody gains what neither of them had."""

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
    duplicates,
    erasure,
    merge_redirects,
    merging,
    permission,
    subscriptions,
    suppressions,
    topic_optouts,
)
from lists.audit import AuditEntry
from lists.catalog import BUILT_IN_LISTS
from lists.db import Database
from lists.errors import BadInput, Conflict
from lists.merging import STATES_BY_STRICTNESS, MergePlan
from lists.permission import Needs, Purpose
from tests.clocks import StoppedClock
from tests.importing import Import
from tests.people import PEPPER, Person, add

standings = st.sampled_from(STATES_BY_STRICTNESS)


def merge(database: Database, clock: StoppedClock, keep: Person, other: Person) -> MergePlan:
    with database.write() as session:
        return merged(session, clock, keep.id, other.id)


def merged(session: Session, clock: StoppedClock, keep: int, other: int) -> MergePlan:
    one, two = contacts.get(session, keep), contacts.get(session, other)
    plan = merging.plan(session, one, two, now=clock.now())
    merging.merge(session, plan, now=clock.now(), actor="staff")
    return plan


def states(session: Session, contact_id: int) -> Mapping[str, str]:
    return {each.list: each.state for each in subscriptions.list_for_contact(session, contact_id)}


def ana_again(session: Session, clock: StoppedClock, *, list: str = "interest") -> Person:
    return add(
        session,
        name="Ana María",
        email="ana@old.example.org",
        language="es",
        zip="85003",
        list=list,
        now=clock.now(),
    )


def test_who_left_with_either_address_has_left(database: Database, clock: StoppedClock, ben: Person) -> None:
    for keep_left in (True, False):
        with database.write() as session:
            again = ana_again(session, clock)
            subscriptions.leave(session, contact_id=(ben if keep_left else again).id, now=clock.now())
        with database.write() as session:
            merged(session, clock, ben.id, again.id)
            assert states(session, ben.id) == {"interest": "left"}
            assert consents.list_for_contact(session, ben.id)[-1].action == "merged"
            session.rollback()


def test_an_old_link_brings_nobody_back_who_left_with_the_other_address(
    database: Database, clock: StoppedClock, cleo: Person
) -> None:
    with database.write() as session:
        address = addresses.parse("cleo@new.example.org", pepper=PEPPER)
        contact = contacts.find_or_add(session, address, now=clock.now())
        asked = subscriptions.ask(session, contact_id=contact.id, list="interest", now=clock.now())
        link = {"subscription_id": asked.id, "round": asked.round}
        merged(session, clock, contact.id, cleo.id)
        assert states(session, contact.id) == {"interest": "left"}
        assert subscriptions.confirm(session, **link, now=clock.now()) is None


def test_what_is_empty_is_filled_and_nothing_is_overwritten(
    database: Database, clock: StoppedClock, ana: Person
) -> None:
    with database.write() as session:
        again = ana_again(session, clock)
        contacts.amend(session, again.id, organization="St. Mark", discreet=True)
        contacts.amend(session, ana.id, name="")
        merged(session, clock, ana.id, again.id)
        kept = contacts.get(session, ana.id)
        assert (kept.name, kept.organization, kept.discreet) == ("Ana María", "St. Mark", True)
        assert (kept.language, kept.zip, kept.email) == ("en", "10027", ana.email)
        assert states(session, ana.id) == {"interest": "confirmed", "organizers": "confirmed"}
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "contact merge")).one()
        assert entry.subject == f"contact {again.id} into contact {ana.id}"


def test_a_yes_does_not_move_to_an_address_that_never_said_one(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.write() as session:
        address = addresses.parse("ben@new.example.org", pepper=PEPPER)
        new = contacts.find_or_add(session, address, now=clock.now()).id
        with pytest.raises(Conflict, match=r"merge ben@vecinos\.example\.org ben@new\.example\.org"):
            merged(session, clock, new, ben.id)
        merged(session, clock, ben.id, new)
        assert states(session, ben.id) == {"interest": "confirmed"}


def test_a_question_to_the_other_address_is_asked_again(
    database: Database, clock: StoppedClock, ana: Person
) -> None:
    with database.write() as session:
        address = addresses.parse("ana@new.example.org", pepper=PEPPER)
        new = contacts.find_or_add(session, address, now=clock.now()).id
        asked = subscriptions.ask(session, contact_id=new, list="interest", now=clock.now())
        link = {"subscription_id": asked.id, "round": asked.round}
        merged(session, clock, ana.id, new)
        pending = subscriptions.find(session, contact_id=ana.id, list="interest")
        assert pending is not None and (pending.state, pending.mailed_at) == ("pending", None)
        assert subscriptions.confirm(session, **link, now=clock.now()) is None


def test_a_complaint_counts_for_both_addresses_and_a_bounce_for_its_own(
    database: Database, clock: StoppedClock, ana: Person
) -> None:
    with database.write() as session:
        again = ana_again(session, clock)
        suppressions.add(session, again.address.digest, reason="bounce", now=clock.now())
        suppressions.add(session, ana.address.digest, reason="staff", now=clock.now())
        assert merged(session, clock, ana.id, again.id).suppression_reason == "staff"
        reasons = suppressions.find_reasons(session, [ana.address.digest, again.address.digest])
        assert reasons == {ana.address.digest: "staff", again.address.digest: "bounce"}
        session.rollback()
    with database.write() as session:
        subscribed = ana_again(session, clock)
        suppressions.add(session, subscribed.address.digest, reason="bounce", now=clock.now())
        assert merged(session, clock, ana.id, subscribed.id).suppression_reason is None
        assert suppressions.find_reason(session, ana.address.digest) is None


def test_two_editors_at_once_are_told(
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
            merged(session, clock, ana.id, ana.id)


def test_the_address_that_went_is_not_imported_forgotten_with_the_person_and_leaves_with_them(
    database: Database, clock: StoppedClock, ben: Person, bring_in: Import
) -> None:
    with database.write() as session:
        again = ana_again(session, clock)
        oldest = ana_again_elsewhere(session, clock)
        merged(session, clock, again.id, oldest.id)
        merged(session, clock, ben.id, again.id)
        assert [each.gone_id for each in merge_redirects.list_for_contact(session, ben.id)] == [
            again.id,
            oldest.id,
        ]
        found = merge_redirects.find_contact(session, oldest.id)
        assert found is not None and found.id == ben.id
    (fate,) = bring_in(f"email\n{again.email}")
    assert (fate.outcome, "became part of another contact" in fate.why) == ("already", True)
    digests = {person.address.digest for person in (ben, again, oldest)}
    with database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, list="interest", now=clock.now())
        left = departures.list_pending(session, limit=9)
        assert {each.digest for _, each in left} == digests
        assert erasure.erase_person(session, ben.address, now=clock.now(), actor="staff")
        assert set(suppressions.find_reasons(session, digests)) == digests
        assert merge_redirects.find_contact(session, again.id) is None


def test_who_left_is_left_with_both_addresses_in_a_backup_from_before_the_merge(
    database: Database, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    with database.write() as session:
        again = ana_again(session, clock)
    with database.write() as session:
        merged(session, clock, ben.id, again.id)
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
        after_leaving = [each for _, each in departures.list_pending(session, limit=9)]
        session.rollback()
    with database.write() as session:
        merged(session, clock, again.id, cleo.id)
        after_merging = [each for _, each in departures.list_pending(session, limit=9)]
        session.rollback()
    for departed, gone in ((after_leaving, (ben, again)), (after_merging, (again, cleo))):
        with database.write() as session:
            assert states(session, again.id) == {"interest": "confirmed"}
            erasure.reapply_departures(
                session, departed, erase=contacts.erase, now=clock.now(), actor="staff"
            )
            for person_ in gone:
                assert states(session, person_.id) == {"interest": "left"}
            session.rollback()


def ana_again_elsewhere(session: Session, clock: StoppedClock) -> Person:
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
        new = contacts.find_or_add(session, address, now=clock.now()).id
        arrival = imports.begin(session, list="organizers", fingerprint=b"x" * 32, now=clock.now())
        said = {"list": "organizers", "now": clock.now(), "confirmed": True, "import_id": arrival.id}
        subscriptions.add_all(session, [new], **said)
        with pytest.raises(Conflict, match="not finished"):
            merged(session, clock, ben.id, new)


@given(standings, standings, standings)
def test_of_two_standings_the_stricter_is_kept_in_whatever_order(one: str, two: str, three: str) -> None:
    assert merging.pick_stricter(one, two) == merging.pick_stricter(two, one)
    assert merging.pick_stricter(one, one) == one
    together = merging.pick_stricter(merging.pick_stricter(one, two), three)
    assert together == merging.pick_stricter(one, merging.pick_stricter(two, three))
    assert ("left" in (one, two)) == (merging.pick_stricter(one, two) == "left")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How somebody stands on each list, how many days they paused, what they declined, who barred them."""

    lists: Mapping[str, str]
    paused: int
    declined: frozenset[str]
    barred: str


wishes = st.builds(
    Wishes,
    lists=st.fixed_dictionaries(dict.fromkeys(BUILT_IN_LISTS, standings)),
    paused=st.sampled_from((0, 0, 3, 9)),
    declined=st.frozensets(st.sampled_from(topic_optouts.TOPICS), max_size=2),
    barred=st.sampled_from(("", "", "", *suppressions.REASONS)),
)
May = Mapping[tuple[str, str, str], bool]


def person(session: Session, clock: StoppedClock, email: str, wish: Wishes) -> int:
    address, now = addresses.parse(email, pepper=PEPPER), clock.now()
    contact = contacts.find_or_add(session, address, now=now)
    for name, state in wish.lists.items():
        if state:
            asked = subscriptions.ask(session, contact_id=contact.id, list=name, now=now)
        if state in ("confirmed", "left"):
            subscriptions.confirm(session, subscription_id=asked.id, round=asked.round, now=now)
        if state == "left":
            subscriptions.leave(session, contact_id=contact.id, list=name, now=now)
    if wish.paused:
        subscriptions.pause(session, contact_id=contact.id, until=now + timedelta(days=wish.paused))
    topic_optouts.set_optouts(session, contact_id=contact.id, topics=wish.declined, now=now)
    if wish.barred:
        suppressions.add(session, address.digest, reason=wish.barred, now=now)
    return contact.id


def may(session: Session, clock: StoppedClock, contact_id: int) -> May:
    """Ask the permission rule for everything: what needs it, which list, which topic."""
    needs: tuple[Needs, ...] = get_args(Needs)
    asked = [
        Purpose(needs=need, list=name, topic=topic)
        for need in needs
        for name in BUILT_IN_LISTS
        for topic in ("", *topic_optouts.TOPICS)
    ]
    answers = {}
    for purpose in asked:
        found = permission.find_recipients(session, [contact_id], purpose=purpose, now=clock.now()).get(
            contact_id
        )
        allowed = found is not None and found.refusal is None
        answers[purpose.needs, purpose.list, purpose.topic] = allowed
    return answers


class Undone(Exception):
    """So that nothing of one example is there in the next."""


def tried(
    database: Database, clock: StoppedClock, keep: Wishes, other: Wishes
) -> tuple[May, May, May | None]:
    """Merge two such people and undo it; tells what each allowed, and what the merged one does, if any."""
    after: May | None = None
    with suppress(Undone), database.write() as session:
        first = person(session, clock, "one@example.org", keep)
        second = person(session, clock, "two@example.org", other)
        before, others = may(session, clock, first), may(session, clock, second)
        with suppress(Conflict):
            plan = merged(session, clock, first, second)
            assert plan.declined_topics == sorted(keep.declined | other.declined)
            after = may(session, clock, first)
        raise Undone
    return before, others, after


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=wishes, two=wishes)
def test_nobody_may_be_written_to_after_a_merge_whom_neither_address_allowed(
    database: Database, clock: StoppedClock, one: Wishes, two: Wishes
) -> None:
    mine, theirs, after = tried(database, clock, one, two)
    *_, other_way = tried(database, clock, two, one)
    if after is None:
        assert not any(allowed for (need, _, _), allowed in mine.items() if need == "confirmed")
        return
    pausing = any(wish.paused and "confirmed" in wish.lists.values() for wish in (one, two))
    for need, name, topic in [asked for asked, allowed in after.items() if allowed]:
        # What somebody agreed to whose mailbox is dead was their yes all the same.
        assert mine[need, name, topic] or theirs[need, name, topic] or two.barred == "bounce"
        assert not {one.barred, two.barred} & {*merging.PERSON_WIDE_REASONS}
        if need != "address":
            assert "left" not in (one.lists[name], two.lists[name])
        if need == "confirmed":
            assert topic not in one.declined | two.declined
            assert not pausing
    if other_way is not None and "bounce" not in (one.barred, two.barred):
        assert after == other_way


def test_likely_duplicates_are_named_and_nobody_else(database: Database, clock: StoppedClock) -> None:
    people = (
        ("ana@stmark.example.org", "Ana", "10027"),
        ("ana+news@stmark.example.org", "", ""),
        ("ana.b@stmark.example.org", "", ""),  # a dot means somebody else there
        ("b.en@gmail.com", "", ""),
        ("be.n+x@googlemail.com", "", ""),
        ("cleo@one.example.org", "Cleo", "90012"),
        ("cleo@two.example.org", "CLEO", "90012"),
        ("cleo@three.example.org", "Cleo", "10027"),
    )
    with database.write() as session:
        for email, name, place in people:
            add(
                session,
                name=name,
                email=email,
                language="en",
                zip=place or "85003",
                list="interest",
                now=clock.now(),
            )
    with database.read() as session:
        found = duplicates.find_pairs(session, limit=50)
        assert {(each.email, each.other, each.why) for each in found} == {
            ("ana@stmark.example.org", "ana+news@stmark.example.org", "same mailbox"),
            ("b.en@gmail.com", "be.n+x@googlemail.com", "same mailbox"),
            ("cleo@one.example.org", "cleo@two.example.org", "same name and ZIP code"),
        }
        assert len(duplicates.find_pairs(session, limit=1)) == 1
