"""Jobs: each may run twice, late or not at all, and a later run completes its work."""

import dataclasses
from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from lists import subscriptions
from lists.errors import NotFound
from mailer.jobs import jobs
from mailer.outbox.outbox import OutboxRow
from mailer.reasons import Reason
from mailer.service import Service
from mailer.sources.broadcasts import Broadcast
from tests.clocks import StoppedClock
from tests.people import Person
from tests.relays import World, broadcast, crowd, deliver, states
from tests.statements import recorded


def run(service: Service, name: str) -> int:
    return service.jobs.get(name).run()


def create_unfilled_update(service: Service, number: int) -> None:
    """Create an update to this many readers, of which none is in the outbox yet."""
    crowd(service, number)
    broadcast(service)
    with service.database.write() as session:
        session.execute(delete(OutboxRow))
        session.execute(update(Broadcast).values(state="filling", cursor=0))


def test_every_job_has_a_name_of_its_own_and_says_what_it_does(service: Service) -> None:
    table = service.jobs.all()
    assert len({job.name for job in table}) == len(table)
    assert {f"fill-{kind}" for kind in ("confirmation", "sequence", "invitation", "broadcast")} <= {
        job.name for job in table
    }
    for job in table:
        assert job.about and timedelta(seconds=1) <= job.every <= timedelta(days=1)


def test_a_job_that_is_not_there_is_told_with_what_to_do(service: Service) -> None:
    with pytest.raises(NotFound, match="mailer jobs list"):
        service.jobs.get("fill-everything")


def test_every_job_may_run_again_and_again(service: Service, ana: Person, ben: Person, cleo: Person) -> None:
    assert service.jobs.tick() == 6  # Ana's hello, Ben's toolkit, Cleo's departure, three search entries
    assert [job.run() for job in service.jobs.all()] == [0] * len(service.jobs.all())
    assert service.jobs.tick() == 0


def test_a_tick_with_nothing_to_do_is_a_few_dozen_look_ups(service: Service, ben: Person) -> None:
    service.jobs.tick()
    with recorded(service.database) as statements:
        service.jobs.tick()
    assert len(statements) < 80


def test_a_fill_goes_on_in_batches_until_everybody_has_theirs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "BATCH", 40)
    create_unfilled_update(service, 130)
    start = service.clock.monotonic()
    assert run(service, "fill-broadcast") == 130
    assert service.clock.monotonic() - start == pytest.approx(3 * jobs.PAUSE_SECONDS)
    run(service, "fill-broadcast")
    assert states(service) == {"queued": 130}


def test_a_service_that_stops_waits_for_one_batch_and_the_next_start_goes_on(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "BATCH", 40)
    create_unfilled_update(service, 130)
    stopping = dataclasses.replace(service.jobs)
    stopping.stop()
    assert stopping.get("fill-broadcast").run() == 40
    assert run(service, "fill-broadcast") == 90
    assert states(service) == {"queued": 130}


def test_what_is_held_for_a_reason_the_permission_rule_does_not_know_stays_held(
    service: Service, ben: Person
) -> None:
    broadcast(service)
    with service.database.write() as session:
        session.execute(update(OutboxRow).values(state="held", reason=Reason.OTHER, detail="no agenda"))
    assert run(service, "release-held") == 0
    assert states(service) == {"held": 1}


def test_whoever_leaves_while_their_message_is_held_gets_it_cancelled(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    with service.database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=service.clock.now() + timedelta(days=1))
    deliver(service, world)
    assert states(service) == {"held": 1}
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=service.clock.now())
    assert run(service, "release-held") == 1
    assert states(service) == {"cancelled": 1}
    assert world.begun == []


def test_the_next_due_moment_is_the_earliest_of_all(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    assert service.jobs.next_due(clock.now()) == clock.now()  # Ben's journey has not begun
    service.jobs.tick()
    deliver(service, world)
    monday = service.jobs.next_due(clock.now())
    assert monday is not None and monday.isoformat() == "2026-10-26T17:00:00+00:00"
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    service.jobs.tick()
    assert service.jobs.next_due(clock.now()) is None


def test_the_end_of_a_pause_is_a_due_moment_also_beside_a_pause_that_is_over(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    service.jobs.tick()
    deliver(service, world)
    until = clock.now() + timedelta(days=20)
    with service.database.write() as session:
        subscriptions.pause(session, contact_id=ben.id, until=until)
    clock.advance(days=7, hours=3)
    service.jobs.tick()
    assert service.jobs.next_due(clock.now()) == until
