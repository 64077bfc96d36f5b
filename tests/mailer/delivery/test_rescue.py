"""Rescue: the claims of an ended worker are settled by its journal; only what is in doubt is unknown."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from mailer.coordination import heartbeat
from mailer.delivery import rescue, results
from mailer.delivery.delivery import LEASE, RENEW_SECONDS
from mailer.delivery.journal import FOLDER, Journal
from mailer.outbox import attempts, due_rows, in_doubt, outbox
from mailer.outbox.outbox import Entry, Result
from mailer.reasons import Reason
from mailer.service import Service
from tests.people import Person
from tests.relays import SENT, World, broadcast, confirmation, crowd, deliver, rows, states

SLOW = timedelta(minutes=10)


def claim_all(service: Service, world: World, *, worker: str = "dead") -> list[Entry]:
    """Let a worker claim everything that is due."""
    with service.database.write() as session:
        now = world.clock.now()
        until = world.clock.real() + LEASE
        return list(due_rows.claim(session, worker=worker, limit=1_000, now=now, lease_until=until))


def claim_and_lose(service: Service, world: World) -> list[Entry]:
    """Let a worker on another machine claim everything that is due, and declare it lost."""
    entries = claim_all(service, world, worker="elsewhere")
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert service.rescue.settle_overdue() == len(entries)
    return entries


def record_results(service: Service, world: World, *results: Result) -> Sequence[Result]:
    """Record the results of a worker, however late."""
    with service.database.write() as session:
        return outbox.record(session, results, now=world.clock.now())


def sent_result(entry: Entry) -> Result:
    return Result(
        entry=entry, state="sent", counts_as_try=True, outcome="sent", code=SENT.code, reply=SENT.reply
    )


def send_heartbeat(service: Service, world: World, worker: str) -> None:
    with service.database.write() as session:
        heartbeat.beat(session, worker, real=world.clock.real())


def renew_lease(service: Service, world: World, worker: str) -> None:
    with service.database.write() as session:
        due_rows.renew(session, worker=worker, lease_until=world.clock.real() + LEASE)


def run_overdue_job(service: Service, world: World, *, seconds: float) -> int:
    """Run the job as the scheduler does, for so long; returns how many rows it settled."""
    count = 0
    for _ in range(int(seconds / rescue.MAX_OBSERVED_SECONDS)):
        world.clock.advance(seconds=rescue.MAX_OBSERVED_SECONDS)
        count += service.rescue.settle_overdue()
    return count


def end_worker(service: Service, write_lines: Callable[[Journal], None], *, boot: str | None = None) -> None:
    """End that worker with a journal of these lines."""
    journal = Journal(service.settings.home / FOLDER, worker="dead", boot=boot)
    write_lines(journal)
    journal.close(is_settled=False)


def test_the_journal_tells_what_was_sent_what_was_begun_and_what_was_not(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    crowd(service, 9)
    broadcast(service)
    first, second, third, *rest = claim_all(service, world)

    def write_lines(journal: Journal) -> None:
        for entry, outcome in ((first, "sent"), (second, "refused")):
            journal.record_start(entry.id, entry.attempt)
            journal.record_outcome(entry.id, entry.attempt, outcome)
        journal.record_start(third.id, third.attempt)

    end_worker(service, write_lines)
    assert service.rescue.settle_ended_workers() == 10
    assert states(service) == {"sent": 1, "failed": 1, "unknown": 1, "queued": len(rest)}
    deliver(service, world)
    assert states(service) == {"sent": 1 + len(rest), "failed": 1, "unknown": 1}
    assert len(world.arrived) == len(rest)
    assert cleo.email not in world.arrived


def test_the_dead_are_settled_once(service: Service, world: World, ben: Person) -> None:
    broadcast(service)
    claim_all(service, world)
    end_worker(service, lambda journal: None)
    assert service.rescue.settle_ended_workers() == 1
    assert service.rescue.settle_ended_workers() == 0


def test_after_a_reboot_whatever_was_claimed_and_not_answered_is_unknown(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 4)
    broadcast(service)
    first, *_ = claim_all(service, world)

    def write_lines(journal: Journal) -> None:
        journal.record_start(first.id, first.attempt)
        journal.record_outcome(first.id, first.attempt, "sent")

    end_worker(service, write_lines, boot="00000000-0000-0000-0000-000000000000")
    service.rescue.settle_ended_workers()
    assert states(service) == {"sent": 1, "unknown": 4}


def test_what_the_journal_says_of_an_older_attempt_means_nothing_to_the_present_one(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    (entry,) = claim_all(service, world)
    end_worker(service, lambda journal: journal.record_start(entry.id, entry.attempt - 1))
    service.rescue.settle_ended_workers()
    assert states(service) == {"queued": 1}


def test_an_unknown_confirmation_is_sent_once_more_and_then_waits_for_staff(
    service: Service, world: World, ana: Person, ben: Person
) -> None:
    confirmation(service, ben)
    for state in ("queued", "unknown"):
        (entry,) = claim_all(service, world)
        end_worker(service, lambda journal, entry=entry: journal.record_start(entry.id, entry.attempt))  # type: ignore[misc]
        service.rescue.settle_ended_workers()
        assert states(service) == {state: 1}
    with service.database.read() as session:
        assert [attempt.outcome for attempt in attempts.list_for_row(session, entry.id)] == ["unknown"] * 2


def test_a_late_report_settles_what_was_unknown(service: Service, world: World, ben: Person) -> None:
    broadcast(service)
    (entry,) = claim_all(service, world)
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert service.rescue.settle_overdue() == 1
    assert states(service) == {"unknown": 1}
    late_result = outbox.Result(
        entry=entry, state="sent", counts_as_try=True, address=ben.email, outcome="sent"
    )
    with service.database.write() as session:
        outbox.record(session, [late_result], now=world.clock.now())
    assert states(service) == {"sent": 1}


@pytest.mark.parametrize(("decision", "arrives"), [("sent", 0), ("resend", 1)])
def test_staff_decide_what_became_of_an_unknown_update(
    service: Service, world: World, ben: Person, decision: in_doubt.Resolution, arrives: int
) -> None:
    broadcast(service)
    claim_all(service, world)
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    service.rescue.settle_overdue()
    with service.database.write() as session:
        (row,) = rows(service)
        in_doubt.resolve(session, row.id, decision, now=world.clock.now())
    deliver(service, world)
    assert len(world.arrived) == arrives
    assert [row.state for row in rows(service)] == ["sent"]


# A frozen worker on this machine


@pytest.mark.parametrize("hours", [0.02, 1, 30])
def test_what_a_worker_of_this_machine_holds_is_its_own_however_long_it_stands_still(
    service: Service, world: World, ben: Person, cleo: Person, hours: float
) -> None:
    crowd(service, 3)
    broadcast(service)
    entries = claim_all(service, world)
    journal = Journal(service.settings.home / FOLDER, worker="dead")
    world.clock.advance(hours=hours)
    assert run_overdue_job(service, world, seconds=60) == 0
    with service.database.write() as session:  # it wakes up
        outbox.give_back(session, entries)
    deliver(service, world)
    assert states(service) == {"sent": 4}
    assert cleo.email not in world.arrived
    journal.close(is_settled=True)


def test_a_worker_that_is_killed_as_it_stands_still_is_settled_by_its_journal(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 2)
    broadcast(service)
    first, *_ = claim_all(service, world)
    journal = Journal(service.settings.home / FOLDER, worker="dead")
    journal.record_start(first.id, first.attempt)
    world.clock.advance(hours=1)
    assert service.rescue.settle_ended_workers() + service.rescue.settle_overdue() == 0
    journal.close(is_settled=False)
    assert service.rescue.settle_ended_workers() == 3
    assert states(service) == {"unknown": 1, "queued": 2}


# An unreachable worker


def test_a_lost_worker_that_is_heard_again_gives_back_what_it_had_not_begun(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    crowd(service, 5)
    broadcast(service)
    sent_entry, refused_entry, open_entry, *rest = claim_and_lose(service, world)
    assert {(row.state, row.reason, row.tries) for row in rows(service)} == {
        ("unknown", Reason.WORKER_LOST, 1)
    }
    refusal = results.from_outcome_state(refused_entry, "refused")
    with service.database.write() as session:
        outbox.give_back(session, rest[:1])
    assert (
        len(
            record_results(
                service, world, sent_result(sent_entry), refusal, *map(results.give_back, rest[1:])
            )
        )
        == 4
    )
    assert states(service) == {"sent": 1, "failed": 1, "unknown": 1, "queued": len(rest)}
    with service.database.read() as session:
        attempts_by_row = {
            entry.id: attempts.list_for_row(session, entry.id)
            for entry in (sent_entry, refused_entry, open_entry, *rest)
        }
    assert {
        row_id: [attempt.outcome for attempt in row_attempts]
        for row_id, row_attempts in attempts_by_row.items()
    } == {
        sent_entry.id: ["sent"],
        refused_entry.id: ["refused"],
        open_entry.id: ["unknown"],
        **{entry.id: [] for entry in rest},
    }
    assert {row.id: row.tries for row in rows(service)} == {
        row_id: len(row_attempts) for row_id, row_attempts in attempts_by_row.items()
    }
    deliver(service, world)
    assert len(world.arrived) == len(rest)
    assert cleo.email not in world.arrived


def test_a_lost_worker_that_died_meanwhile_is_heard_by_its_journal(
    service: Service, world: World, ben: Person
) -> None:
    """Another machine declared it lost; its own machine, with its journal, is reachable again."""
    crowd(service, 3)
    broadcast(service)
    entries = claim_all(service, world)
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert service.rescue.settle_overdue() == 4
    sent_entry, open_entry, *_ = entries

    def write_lines(journal: Journal) -> None:
        for entry in (sent_entry, open_entry):
            journal.record_start(entry.id, entry.attempt)
        journal.record_outcome(sent_entry.id, sent_entry.attempt, "sent")

    end_worker(service, write_lines)
    service.rescue.settle_ended_workers()
    assert states(service) == {"sent": 1, "unknown": 1, "queued": 2}
    assert [row.reason for row in rows(service) if row.state == "unknown"] == [Reason.WORKER_DIED]
    assert all(row.worker is None for row in rows(service))


@pytest.mark.parametrize("decision", ["sent", "resend"])
def test_what_staff_decided_is_changed_by_no_give_back(
    service: Service, world: World, ben: Person, decision: in_doubt.Resolution
) -> None:
    broadcast(service)
    (entry,) = claim_and_lose(service, world)
    with service.database.write() as session:
        in_doubt.resolve(session, entry.id, decision, now=world.clock.now())
    (row_before,) = rows(service)
    assert record_results(service, world, results.give_back(entry)) == []
    assert record_results(service, world, results.from_outcome_state(entry, "deferred")) == []
    (row_after,) = rows(service)
    assert (row_after.state, row_after.reason, row_after.due_at) == (
        row_before.state,
        row_before.reason,
        row_before.due_at,
    )


def test_what_a_late_worker_knows_to_be_taken_is_not_sent_again_though_staff_asked_for_it(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    (entry,) = claim_and_lose(service, world)
    with service.database.write() as session:
        in_doubt.resolve(session, entry.id, "resend", now=world.clock.now())
    record_results(service, world, sent_result(entry))
    deliver(service, world)
    assert (states(service), world.arrived) == ({"sent": 1}, [])


def test_what_a_policy_sends_once_more_is_changed_by_no_give_back(
    service: Service, world: World, ana: Person, ben: Person
) -> None:
    confirmation(service, ben)
    (entry,) = claim_and_lose(service, world)
    (row,) = rows(service)
    assert row.state == "queued"
    assert (
        record_results(service, world, results.give_back(entry), results.from_outcome_state(entry, "unknown"))
        == []
    )
    deliver(service, world)
    assert record_results(service, world, results.give_back(entry), sent_result(entry)) == []
    assert (states(service), len(world.arrived)) == ({"sent": 1}, 1)


def test_the_same_outcome_recorded_twice_is_one(service: Service, world: World, ben: Person) -> None:
    """The reply to a commit may be lost: then everything is recorded once more."""
    crowd(service, 4)
    broadcast(service)
    outcomes = ("sent", "deferred", "refused", "unknown", "unreachable")
    late_results = [
        replace(results.from_outcome_state(entry, outcome), due_at=world.clock.now())
        for entry, outcome in zip(claim_all(service, world), outcomes, strict=True)
    ]
    assert len(record_results(service, world, *late_results)) == 5
    rows_before = [(row.state, row.reason, row.tries) for row in rows(service)]
    assert record_results(service, world, *late_results) == []
    assert [(row.state, row.reason, row.tries) for row in rows(service)] == rows_before
    with service.database.read() as session:
        assert [len(attempts.list_for_row(session, row.id)) for row in rows(service)] == [1] * 5


# Which lease has ended, and which worker runs


def test_a_worker_whose_clock_is_slow_is_not_given_up_while_it_renews(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    claim_all(service, world, worker="slow")
    send_heartbeat(service, world, "slow")
    for _ in range(30):
        with service.database.write() as session:
            due_rows.renew(session, worker="slow", lease_until=world.clock.real() + LEASE - SLOW)
        assert run_overdue_job(service, world, seconds=RENEW_SECONDS) == 0
    assert run_overdue_job(service, world, seconds=rescue.SILENT_SECONDS + 5) == 1, "it is dead"


def test_who_slept_for_an_hour_gives_up_nobody_who_is_about_to_wake_as_well(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    claim_all(service, world, worker="elsewhere")
    send_heartbeat(service, world, "elsewhere")
    run_overdue_job(service, world, seconds=RENEW_SECONDS)
    world.clock.suspend(hours=1)
    assert run_overdue_job(service, world, seconds=5) == 0
    renew_lease(service, world, "elsewhere")
    assert run_overdue_job(service, world, seconds=40) == 0
    assert run_overdue_job(service, world, seconds=15) == 1, "it did not go on after all"


def test_who_stood_still_gives_up_nobody_for_that_time(service: Service, world: World, ben: Person) -> None:
    """All processes were frozen at once, and every clock continued."""
    broadcast(service)
    claim_all(service, world, worker="elsewhere")
    send_heartbeat(service, world, "elsewhere")
    run_overdue_job(service, world, seconds=RENEW_SECONDS)
    world.clock.advance(hours=1)
    assert service.rescue.settle_overdue() == 0
    renew_lease(service, world, "elsewhere")
    assert run_overdue_job(service, world, seconds=30) == 0


def test_a_worker_that_beats_but_renews_nothing_is_waited_for_and_not_for_ever(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    claim_all(service, world, worker="stuck")
    beat_count = 0
    while not run_overdue_job(service, world, seconds=RENEW_SECONDS):
        send_heartbeat(service, world, "stuck")
        beat_count += 1
    assert 60 <= beat_count <= 62, "ten minutes"
