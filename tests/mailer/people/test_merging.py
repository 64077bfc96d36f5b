"""When two contacts become one nothing is sent twice, nothing is lost, and old links still leave."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import contacts, subscriptions
from lists.errors import Conflict, StorageError
from lists.identity import duplicates
from mailer.compose.editions import Edition
from mailer.outbox import due_rows, outbox
from mailer.outbox.outbox import OutboxRow
from mailer.people import data_export, merging
from mailer.reasons import Reason
from mailer.service import Service
from mailer.sources import broadcasts, invitations
from mailer.sources.invitations import Rsvp
from mailer.sources.journeys import Journey
from mailer.templates import templates
from mailer.templates.templates import Template
from tests import calls, commands, people, relays
from tests.clocks import StoppedClock
from tests.commands import Mailer
from tests.mailer.web.visitor import Visitor, words
from tests.people import Person
from tests.races import at_once, on_postgresql
from tests.relays import REFUSED, SENT, World

# Every table that references contacts, and so has rows to merge; a new one must be added here and to
# lists/identity/merging.py or mailer/people/merging.py.
MERGED = {
    "subscriptions", "subscription_changes", "consents", "declines", "listings", "mergers",
    "field_values", "tags", "notes", "search_words",
    "journeys", "rsvps", "outbox",
}  # fmt: skip


@pytest.fixture
def bea(service: Service) -> Person:
    """Ben's other address, on the same list."""
    with service.database.write() as session:
        return people.add(
            session,
            name="",
            email="ben+news@vecinos.example.org",
            language="es",
            zip="85003",
            list="interest",
            now=service.clock.now(),
        )


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def merge(service: Service, keep: Person, other: Person) -> merging.MergePreview:
    with service.database.write() as session:
        versions = tuple(contacts.get(session, each.id).version for each in (keep, other))
        return merging.merge(
            session,
            keep.id,
            other.id,
            versions=(versions[0], versions[1]),
            now=service.clock.now(),
            actor="staff",
        )


def fill(service: Service) -> None:
    with service.database.write() as session:
        for source in (service.sequences, service.broadcasts, service.invitations):
            source.fill(session, now=service.clock.now(), limit=1_000)


def states(service: Service) -> dict[str, str]:
    return {row.key: row.state for row in relays.rows(service)}


def test_every_table_of_a_person_is_merged() -> None:
    assert {table.name for table in data_export.list_tables()} == MERGED


def follow(service: Service, world: World, *, days: int) -> None:
    """Send all steps of sequences of these days, each when it is due."""
    end = service.clock.now() + timedelta(days=days)
    while True:
        fill(service)
        relays.deliver(service, world)
        with service.database.read() as session:
            due = service.sequences.next_due(session, now=service.clock.now())
        world.clock.set(end if due is None else min(due, end))
        if world.clock.now() == end:
            return


def test_a_letter_that_the_address_that_went_got_is_not_sent_again(
    service: Service, world: World, ana: Person, bea: Person
) -> None:
    follow(service, world, days=1)
    assert sorted(world.arrived) == [ana.email, bea.email]
    merge(service, ana, bea)
    follow(service, world, days=40)
    steps = [row.key for row in relays.rows(service) if "/welcome/" in row.key]
    assert len(steps) == len({*steps}) == 1  # an organizer gets no more emails about joining them


def test_of_two_journeys_none_repeats_what_the_other_sent(
    service: Service, world: World, bea: Person
) -> None:
    follow(service, world, days=7)
    with service.database.write() as session:
        ben = people.ben(session, now=service.clock.now())
    follow(service, world, days=1)
    assert Counter(world.arrived) == {bea.email: 2, ben.email: 1}
    merge(service, ben, bea)
    follow(service, world, days=60)
    assert Counter(world.arrived) == {bea.email: 2, ben.email: 4}
    with service.database.read() as session:
        sent = session.scalars(select(Edition.name).join(OutboxRow, OutboxRow.edition_id == Edition.id))
        assert Counter(sent) == {
            "welcome/toolkit": 2,  # each had it before the two were merged
            **{f"welcome/{step}": 1 for step in ("powerpoint", "detainers", "partners", "map")},
        }
        assert session.scalars(select(Journey.state)).all() == ["done"]


def test_who_finished_the_letters_with_one_address_does_not_begin_them_again(
    service: Service, world: World, bea: Person
) -> None:
    follow(service, world, days=60)
    with service.database.write() as session:
        ben = people.ben(session, now=service.clock.now())
    merge(service, ben, bea)
    follow(service, world, days=60)
    assert Counter(world.arrived) == {bea.email: 5}


def test_an_update_that_waits_for_one_and_reached_the_other_is_cancelled(
    service: Service, world: World, ben: Person, bea: Person
) -> None:
    number = relays.broadcast(service)
    with service.database.write() as session:
        later = OutboxRow.__table__.update().where(OutboxRow.contact_id == ben.id)  # type: ignore[attr-defined]
        session.execute(later.values(due_at=service.clock.now() + timedelta(hours=1)))
    relays.deliver(service, world)
    assert world.arrived == [bea.email]
    result = merge(service, ben, bea)
    assert (result.message_count, result.cancelled) == (1, 0)
    world.clock.advance(hours=2)
    relays.deliver(service, world)
    assert world.arrived == [bea.email]
    assert states(service)[f"broadcast/{number}/contact/{ben.id}"] == "sent"
    assert {row.contact_id for row in relays.rows(service)} == {ben.id}


def test_what_waits_for_the_address_that_goes_is_cancelled_and_the_other_gets_its_own(
    service: Service, world: World, ben: Person, bea: Person
) -> None:
    relays.broadcast(service)
    fill(service)
    assert merge(service, ben, bea).cancelled == 2
    relays.deliver(service, world)
    assert world.arrived == [ben.email] * 2
    assert Counter(states(service).values()) == {"sent": 2, "cancelled": 2}


def test_what_a_dead_mailbox_refused_may_still_reach_the_address_that_stays(
    service: Service, world: World, ben: Person, bea: Person
) -> None:
    fill(service)
    with service.database.write() as session:
        session.execute(OutboxRow.__table__.delete().where(OutboxRow.contact_id == ben.id))  # type: ignore[attr-defined]
        session.execute(Journey.__table__.delete().where(Journey.contact_id == ben.id))  # type: ignore[attr-defined]
    world.answer = lambda recipient: REFUSED if recipient == bea.email else SENT
    relays.deliver(service, world)
    assert list(states(service).values()) == ["failed"]
    merge(service, ben, bea)
    with service.database.read() as session:
        assert session.scalars(select(Journey.state)).all() == ["stopped"]
    relays.broadcast(service)
    relays.deliver(service, world)
    assert world.arrived == [ben.email]


def test_a_letter_nobody_is_sure_about_is_not_offered_for_sending_again_to_who_has_it(
    service: Service, world: World, ben: Person, bea: Person
) -> None:
    number = relays.broadcast(service)
    with service.database.write() as session:
        session.execute(OutboxRow.__table__.update().values(state="sent"))  # type: ignore[attr-defined]
        statement = OutboxRow.__table__.update().where(OutboxRow.contact_id == bea.id)  # type: ignore[attr-defined]
        reason = outbox.reason_values(Reason.PROGRAM_FAULT, "ValueError")
        session.execute(statement.values(state="unknown", **reason))
    merge(service, ben, bea)
    with service.database.read() as session:
        cancelled = session.scalars(select(OutboxRow).where(OutboxRow.state == "cancelled")).one()
        assert (cancelled.reason, cancelled.detail) == (Reason.MERGED, "")
    assert states(service) == {
        f"broadcast/{number}/contact/{ben.id}": "sent",
        f"broadcast/{number}/contact/{bea.id}": "cancelled",
    }


def test_nothing_is_merged_while_a_message_is_being_handed_over(
    service: Service, ben: Person, bea: Person
) -> None:
    relays.broadcast(service)
    now = service.clock.now()
    with service.database.write() as session:
        due_rows.claim(session, worker="w", limit=9, now=now, lease_until=now + timedelta(seconds=45))
    with pytest.raises(Conflict, match="handed over just now"):
        merge(service, ben, bea)
    with service.database.read() as session:
        assert contacts.get(session, bea.id).email == bea.email


@on_postgresql
def test_whoever_fills_while_two_are_merged_sends_nobody_the_same_twice(
    service: Service, world: World, ben: Person, bea: Person
) -> None:
    now = service.clock.now()
    sources = templates.parse_update(relays.UPDATE, path="update.md")
    with service.database.write() as session:
        template = Template(name="broadcast", sources=sources)
        edition = service.editions.freeze(session, template, "broadcast", now=now)
        broadcasts.create(
            session, subject="News", audience="interest", edition_id=edition.id, now=now, actor="test"
        )

    def merge_both(session: Session) -> object:
        return merging.merge(session, ben.id, bea.id, versions=(1, 1), now=now, actor="staff")

    with suppress(StorageError):  # the later one must try again, and does so below
        at_once(
            service.database,
            merge_both,
            lambda session: service.broadcasts.fill(session, now=now, limit=10),
            lambda session: service.sequences.fill(session, now=now, limit=10),
        )
    with suppress(Conflict), service.database.write() as session:
        merge_both(session)
    fill(service)
    fill(service)
    relays.deliver(service, world)
    assert world.arrived == [ben.email] * 2


def test_a_call_is_answered_once_and_the_latest_answer_counts(
    service: Service, clock: StoppedClock, ana: Person
) -> None:
    planner = calls.opened(service.settings, service.database, clock)
    first, second = planner.plan(), planner.plan(starts="2026-12-09 20:00")
    ana_too = planner.add("Anita")
    planner.fill()
    with service.database.write() as session:
        for event, person, answer in (
            (first, ana, "yes"),
            (first, ana_too, "no"),
            (second, ana_too, "maybe"),
        ):
            invitations.record_answer(
                session, event_id=event.id, contact_id=person.id, answer=answer, now=clock.advance(hours=1)
            )
    merge(service, ana, ana_too)
    with service.database.read() as session:
        answers = session.execute(select(Rsvp.event_id, Rsvp.contact_id, Rsvp.answer)).all()
        assert {tuple(row) for row in answers} == {(first.id, ana.id, "no"), (second.id, ana.id, "maybe")}
    planner.fill()
    assert Counter(states(service).values()) == {"queued": 2, "cancelled": 2}


def test_the_links_of_the_address_that_went_still_leave(
    service: Service, visitor: Visitor, ben: Person, bea: Person
) -> None:
    merge(service, ben, bea)
    leave = f"/unsubscribe/{service.tokens.sign_unsubscribe(bea.id, 'interest')}"
    assert "Salir de esta lista" in words(visitor.get(leave))
    assert visitor.get(f"/preferences/{service.tokens.sign_preferences(bea.id)}").status_code == 200
    until = service.clock.now() + timedelta(hours=1)
    assert visitor.get(f"/mine/{service.tokens.sign_profile(bea.id, until=until)}").status_code == 404
    for _ in range(2):
        assert "Ya salió de esta lista" in words(visitor.post(leave, {"List-Unsubscribe": "One-Click"}))
    with service.database.read() as session:
        (subscription,) = subscriptions.list_for_contact(session, ben.id)
        assert (subscription.list, subscription.state) == ("interest", "left")


def test_the_preferences_of_the_address_that_went_still_leave_everything(
    service: Service, visitor: Visitor, ben: Person, bea: Person
) -> None:
    merge(service, ben, bea)
    page = visitor.post(f"/preferences/{service.tokens.sign_preferences(bea.id)}", {"do": "leave-all"})
    assert page.status_code == 200
    with service.database.read() as session:
        assert [each.state for each in subscriptions.list_for_contact(session, ben.id)] == ["left"]


def test_an_old_link_still_answers_a_call_for_the_person_who_stays(
    service: Service, visitor: Visitor, clock: StoppedClock, ana: Person
) -> None:
    planner = calls.opened(service.settings, service.database, clock)
    event, anita = planner.plan(), planner.add("Anita")
    merge(service, ana, anita)
    link = f"/rsvp/{service.tokens.sign_rsvp(event.id, anita.id)}"
    assert visitor.post(link, {"answer": "yes"}).status_code == 200
    with service.database.read() as session:
        assert invitations.get_answer(session, event_id=event.id, contact_id=ana.id) == "yes"


def test_the_command_shows_first_and_merges_when_told(
    service: Service, mailer: Mailer, ben: Person, bea: Person, cleo: Person
) -> None:
    assert [row["other"] for row in mailer("contact", "duplicates", "--json").json] == [bea.email]
    shown = mailer("contact", "merge", ben.email, cleo.email)
    for part in ("List interest", "Nothing was changed.", "--seen 1.1 --yes", "left"):
        assert part in shown.out
    preview = mailer("contact", "merge", ben.email, cleo.email, "--json").json
    assert preview["lists"] == [{"list": "interest", "keep": "confirmed", "other": "left", "becomes": "left"}]
    with service.database.write() as session:
        contacts.amend(session, ben.id, name="Benjamín")
    late = mailer("contact", "merge", ben.email, cleo.email, "--seen", preview["seen"], "--yes")
    assert (late.status, "meanwhile" in late.refusal) == (2, True)
    assert "is like 3.1" in mailer("contact", "merge", ben.email, cleo.email, "--seen", "x", "--yes").refusal
    assert "Done." in mailer("contact", "merge", ben.email, cleo.email, "--yes").out
    facts = mailer("contact", "show", ben.email, "--json").json
    assert [row["reason"] for row in facts["lists"] if row["list"] == "interest"] == ["left"]
    assert [row["gone_id"] for row in facts["mergers"]] == [cleo.id]
    assert mailer("contact", "merge", ben.email, cleo.email).status == 2
    with service.database.read() as session:
        assert len(duplicates.find_pairs(session, limit=9)) == 1
