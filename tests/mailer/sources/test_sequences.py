"""Sequences: how journeys begin, what holds them, and how the result of a message changes them."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import delete, func, insert, select, update

from lists import subscriptions, suppressions
from lists.contacts import Contact
from lists.db import Database
from lists.subscriptions import Subscription, SubscriptionChange
from mailer import service as composition
from mailer.outbox import due_rows, outbox, stats
from mailer.outbox.outbox import OutboxRow, Result
from mailer.reasons import Reason
from mailer.service import Service
from mailer.settings.loading import Settings
from mailer.sources import journeys
from mailer.sources.journeys import Journey
from mailer.sources.schedule import Schedule
from mailer.sources.sequences import AFTER_RESULT, Sequences
from tests import people
from tests.clocks import StoppedClock
from tests.people import Person
from tests.races import at_once, on_postgresql
from tests.relays import World, crowd, deliver
from tests.statements import recorded


def fill(service: Service) -> int:
    with service.database.write() as session:
        return service.sequences.fill(session, now=service.clock.now(), limit=1_000)


def adopt(service: Service) -> int:
    return service.jobs.get("adopt").run()


def journey(service: Service, person: Person, *, sequence: str = "welcome") -> tuple[str, str] | None:
    with service.database.read() as session:
        row = session.scalars(
            select(Journey).where(Journey.contact_id == person.id, Journey.sequence == sequence)
        ).one_or_none()
        return None if row is None else (row.state, row.step)


def states(service: Service) -> dict[tuple[str, str], int]:
    with service.database.read() as session:
        return stats.count_by_kind_and_state(session)


def schedule(service: Service, *, without: str = "") -> Schedule:
    """Return the shipped welcome without one of its steps."""
    (welcome,) = [candidate for candidate in service.schedules if candidate.name == "welcome"]
    steps = tuple(step for step in welcome.steps if step.name != without)
    return Schedule(name=welcome.name, list=welcome.list, goal=welcome.goal, steps=steps)


def build_source(service: Service, *schedules: Schedule) -> Sequences:
    """Return the source as it is after an update of the templates."""
    return Sequences(editions=service.editions, schedules=schedules, default_zone="America/New_York")


# Beginning


def test_ben_begins_the_welcome_ana_the_organizers_letters_and_cleo_nothing(
    service: Service, ana: Person, ben: Person, cleo: Person
) -> None:
    assert fill(service) == 2
    assert journey(service, ben) == ("sending", "toolkit")
    assert journey(service, ana) is None
    assert journey(service, ana, sequence="organizer") == ("sending", "hello")
    assert journey(service, cleo) is None
    assert fill(service) == 0
    with service.database.read() as session:
        assert session.scalar(select(func.count()).select_from(SubscriptionChange)) == 0


def test_whoever_has_no_zone_lives_by_the_default_one(service: Service, ben: Person) -> None:
    with service.database.write() as session:
        session.execute(update(Contact).values(zone=""))
    fill(service)
    with service.database.read() as session:
        assert session.scalar(select(Journey.zone)) == "America/New_York"


def test_whoever_only_asked_begins_nothing(service: Service, clock: StoppedClock, cleo: Person) -> None:
    with service.database.write() as session:
        subscriptions.ask(session, contact_id=cleo.id, list="interest", now=clock.now())
    assert fill(service) == 0
    assert adopt(service) == 0


@on_postgresql
def test_two_that_fill_at_once_begin_and_put_each_once(service: Service) -> None:
    ids = crowd(service, 400)
    now = service.clock.now()
    with service.database.write() as session:
        session.execute(
            insert(SubscriptionChange), [{"contact_id": contact_id, "list": "interest"} for contact_id in ids]
        )
    counts = at_once(
        service.database,
        *[lambda session: service.sequences.fill(session, now=now, limit=1_000) for _ in range(4)],
    )
    assert sum(counts) + fill(service) == 400
    assert states(service) == {("sequence", "queued"): 400}
    with service.database.read() as session:
        assert journeys.count_by_step(session, "welcome") == {("toolkit", "sending"): 400}


def test_adopting_finds_whom_the_queue_missed_and_leaves_old_members_alone(
    service: Service, clock: StoppedClock, ben: Person
) -> None:
    with service.database.write() as session:
        old = people.add(
            session,
            name="Old",
            email="old@member.example",
            language="en",
            zip="10027",
            list="interest",
            now=clock.now() - timedelta(days=4),
        )
        session.execute(delete(SubscriptionChange))
    assert fill(service) == 0
    assert adopt(service) == 1
    assert adopt(service) == 0
    fill(service)
    assert journey(service, ben) == ("sending", "toolkit")
    assert journey(service, old) is None


def test_adopting_resumes_whoever_joined_again_while_the_last_refusal_was_being_recorded(
    service: Service, clock: StoppedClock, ben: Person
) -> None:
    fill(service)
    now = clock.now()
    with service.database.write() as session:
        (entry,) = due_rows.claim(session, worker="one", limit=1, now=now, lease_until=now)
        subscriptions.leave(session, contact_id=ben.id, now=now)
    with service.database.write() as session:
        subscription = subscriptions.ask(session, contact_id=ben.id, list="interest", now=now)
        subscriptions.confirm(session, subscription_id=subscription.id, round=subscription.round, now=now)
    fill(service)  # sees the change, but the journey is still under way
    with service.database.write() as session:
        results = outbox.record(session, [Result(entry=entry, state="cancelled", reason="left")], now=now)
        service.sequences.settle(session, results, now=now)
    assert fill(service) == 0
    assert journey(service, ben) == ("left", "toolkit")
    assert adopt(service) == 1
    assert fill(service) == 1
    assert journey(service, ben) == ("sending", "toolkit")


# What the end of a message does


@pytest.mark.parametrize(
    ("state", "after"),
    [
        ("sent", ("waiting", "powerpoint")),
        ("unknown", ("waiting", "powerpoint")),
        ("expired", ("waiting", "powerpoint")),
        ("failed", ("stopped", "toolkit")),
        ("cancelled", ("left", "toolkit")),
        ("queued", ("sending", "toolkit")),
        ("held", ("sending", "toolkit")),
    ],
)
def test_each_end_of_a_message_does_to_its_journey_what_the_table_says(
    service: Service, clock: StoppedClock, ben: Person, state: str, after: tuple[str, str]
) -> None:
    fill(service)
    with service.database.write() as session:
        (entry,) = due_rows.claim(
            session, worker="one", limit=1, now=clock.now(), lease_until=clock.now() + timedelta(minutes=1)
        )
        service.sequences.settle(session, [Result(entry=entry, state=state)], now=clock.now())
    assert journey(service, ben) == after
    assert (state in AFTER_RESULT) == (after[0] != "sending")


def test_the_delay_counts_from_when_a_mail_left_and_ends_in_an_open_hour(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    fill(service)
    clock.advance(days=2)  # Tuesday's mail is sent on Thursday
    deliver(service, world)
    with service.database.read() as session:
        (row,) = session.scalars(select(Journey)).all()
    assert row.due_at.isoformat() == "2026-10-26T17:00:00+00:00"  # Sunday is closed: Monday, ten in Phoenix


def test_somebody_suppressed_in_between_gets_nothing_and_their_journey_ends(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    fill(service)
    deliver(service, world)
    with service.database.write() as session:
        suppressions.add(session, ben.address.digest, reason="bounce", now=clock.now())
    clock.advance(days=9, hours=3)
    assert fill(service) == 0
    assert journey(service, ben) == ("left", "powerpoint")


# A link that is missing


@pytest.fixture
def real_mail_services(
    settings: Settings, database: Database, clock: StoppedClock
) -> Iterator[list[Service]]:
    """Services for real mail: first without any link to a resource, then with the toolkit's."""
    base = {
        "home": settings.home,
        "database_url": settings.database_url,
        "smtp_url": SecretStr("smtp://relay.example.org"),
        "public_url": "https://mail.example.org",
        "from_address": "campaign@example.org",
        "sending_domains": ("example.org",),
        "postal_address": "1 Main Street",
    }
    link = {"en": "https://example.org/kit", "es": "https://example.org/es/kit"}
    resources = {"toolkit": link, "webinar": link}
    services = [
        composition.build(Settings(**values), clock=clock)  # type: ignore[arg-type]
        for values in (base, {**base, "resources": resources})
    ]
    yield services
    for service in services:
        service.close()


def test_a_step_waits_for_its_missing_link_leaves_when_it_is_given_and_goes_on(
    real_mail_services: list[Service], world: World, clock: StoppedClock, ben: Person
) -> None:
    before, after = real_mail_services
    fill(before)
    deliver(before, world)
    assert world.begun == []
    assert states(before) == {("sequence", "held"): 1}
    assert journey(before, ben) == ("sending", "toolkit")
    for _ in range(3):
        assert before.jobs.get("release-held").run() == 0
    clock.advance(days=1)
    assert after.jobs.get("release-held").run() == 1
    deliver(after, world)
    assert world.arrived == [ben.email]
    assert b"mail.example.org/r/toolkit?lang=3Des" in world.letters[0].replace(b"=\r\n", b"")
    assert journey(after, ben) == ("waiting", "powerpoint")


def test_a_step_whose_link_never_comes_is_given_up_and_the_journey_goes_on(
    real_mail_services: list[Service], world: World, clock: StoppedClock, ben: Person
) -> None:
    fill(real_mail_services[0])
    deliver(real_mail_services[0], world)
    clock.advance(days=5)
    real_mail_services[0].jobs.get("expire").run()
    assert states(real_mail_services[0]) == {("sequence", "expired"): 1}
    assert journey(real_mail_services[0], ben) == ("waiting", "powerpoint")


# Templates that were changed


def test_whoever_stands_at_a_step_that_is_gone_goes_on_after_the_last_they_were_sent(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    fill(service)
    deliver(service, world)
    assert journey(service, ben) == ("waiting", "powerpoint")
    source = build_source(service, schedule(service, without="powerpoint"))
    with service.database.write() as session:
        assert source.start_missed(session, now=clock.now()) == 1
    assert journey(service, ben) == ("waiting", "detainers")
    with service.database.write() as session:
        assert source.start_missed(session, now=clock.now()) == 0


def test_whoever_was_at_the_last_step_when_it_is_taken_out_is_done(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    fill(service)
    deliver(service, world)
    only = Schedule(name="welcome", list="interest", goal="", steps=schedule(service).steps[:1])
    with service.database.write() as session:
        assert build_source(service, only).start_missed(session, now=clock.now()) == 1
    assert journey(service, ben) == ("done", "powerpoint")


def test_a_message_under_way_of_a_step_that_is_gone_ends_its_journey_as_done(
    service: Service, clock: StoppedClock, ben: Person
) -> None:
    fill(service)
    source = build_source(service, schedule(service, without="toolkit"))
    with service.database.write() as session:
        (entry,) = due_rows.claim(
            session, worker="one", limit=1, now=clock.now(), lease_until=clock.now() + timedelta(minutes=1)
        )
        source.settle(session, [Result(entry=entry, state="sent")], now=clock.now())
    assert journey(service, ben) == ("done", "toolkit")


def test_journeys_of_a_sequence_that_is_gone_rest_and_cost_nobody_anything(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    fill(service)
    source = build_source(service)
    with service.database.write() as session:
        (entry,) = due_rows.claim(
            session, worker="one", limit=1, now=clock.now(), lease_until=clock.now() + timedelta(minutes=1)
        )
        source.settle(session, [Result(entry=entry, state="sent")], now=clock.now())
    assert journey(service, ben) == ("stopped", "toolkit")
    clock.advance(days=30)
    with service.database.write() as session:
        assert source.fill(session, now=clock.now(), limit=10) == 0
        assert source.start_missed(session, now=clock.now()) == 0
        assert source.next_due(session, now=clock.now()) is None


def test_a_message_that_staff_recalled_does_not_come_back_when_its_reader_joins_again(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    fill(service)
    with service.database.write() as session:
        cancelled = outbox.cancel(session, OutboxRow.kind == "sequence", reason=Reason.RECALLED)
        service.sequences.settle(session, cancelled, now=clock.now())
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
        subscription = subscriptions.ask(session, contact_id=ben.id, list="interest", now=clock.now())
        subscriptions.confirm(
            session, subscription_id=subscription.id, round=subscription.round, now=clock.now()
        )
    assert fill(service) == 0
    assert journey(service, ben) == ("waiting", "powerpoint")
    assert states(service) == {("sequence", "cancelled"): 1}


# Numbers


def test_a_tick_over_many_idle_journeys_sends_no_more_statements_than_over_few(
    service: Service, clock: StoppedClock
) -> None:
    def idle(number: int) -> int:
        ids = crowd(service, number)
        with service.database.write() as session:
            session.execute(delete(Journey))
            rows = [
                {
                    "contact_id": contact_id,
                    "sequence": "welcome",
                    "step": "powerpoint",
                    "zone": "America/New_York",
                    "due_at": clock.now() + timedelta(days=1),
                    "state": "waiting",
                    "started_at": clock.now(),
                }
                for contact_id in ids
            ]
            session.execute(insert(Journey), rows)
        with recorded(service.database) as statements:
            fill(service)
        with service.database.write() as session:
            session.execute(delete(Journey))
            session.execute(delete(Subscription))
        return len(statements)

    few = idle(3)
    with service.database.write() as session:
        session.execute(update(Contact).values(email="gone@example.org"))
        session.execute(delete(Contact))
    assert idle(800) == few < 20
