"""What a dead worker left behind is settled by its journal; unknown is only what nobody can know."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from mailer.coordination import heartbeat
from mailer.delivery import rescue, results
from mailer.delivery.delivery import LEASE, RENEW_SECONDS
from mailer.delivery.journal import FOLDER, Journal
from mailer.outbox import attempts, in_doubt, outbox
from mailer.outbox.outbox import Entry, Result
from mailer.service import Service
from mailer.smtp import doubt
from tests.people import Person
from tests.relays import SENT, World, broadcast, confirmation, crowd, deliver, rows, states

SLOW = timedelta(minutes=10)


def claimed(service: Service, world: World, *, worker: str = "dead") -> list[Entry]:
    """Let a worker claim everything that is due."""
    with service.database.write() as session:
        now = world.clock.now()
        until = world.clock.real() + LEASE
        return list(outbox.claim(session, worker=worker, limit=1_000, now=now, lease_until=until))


def given_up(service: Service, world: World) -> list[Entry]:
    """Let a worker on another machine claim everything that is due, and be given up for lost."""
    entries = claimed(service, world, worker="elsewhere")
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert service.rescue.settle_overdue() == len(entries)
    return entries


def says(service: Service, world: World, *results: Result) -> Sequence[Result]:
    """Let a worker record what it has to say, however late."""
    with service.database.write() as session:
        return outbox.record(session, results, now=world.clock.now())


def answered(entry: Entry) -> Result:
    return Result(
        entry=entry, state="sent", costs_attempt=True, outcome="sent", code=SENT.code, reply=SENT.reply
    )


def beats(service: Service, world: World, worker: str) -> None:
    with service.database.write() as session:
        heartbeat.beat(session, worker, real=world.clock.real())


def renews(service: Service, world: World, worker: str) -> None:
    with service.database.write() as session:
        outbox.renew(session, worker=worker, lease_until=world.clock.real() + LEASE)


def watch(service: Service, world: World, *, seconds: float) -> int:
    """Let the scheduler run the job for so long; returns how many rows it moved."""
    moved = 0
    for _ in range(int(seconds / rescue.OBSERVED_SECONDS_MOST)):
        world.clock.advance(seconds=rescue.OBSERVED_SECONDS_MOST)
        moved += service.rescue.settle_overdue()
    return moved


def dies(service: Service, says: Callable[[Journal], None], *, boot: str | None = None) -> None:
    """Let that worker die with a journal that says this."""
    book = Journal(service.settings.home / FOLDER, worker="dead", boot=boot)
    says(book)
    book.close(settled=False)


def test_the_journal_tells_what_was_sent_what_was_begun_and_what_was_not(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    crowd(service, 9)
    broadcast(service)
    first, second, third, *rest = claimed(service, world)

    def says(book: Journal) -> None:
        for entry, outcome in ((first, "sent"), (second, "refused")):
            book.record_dot(entry.id, entry.attempt)
            book.record_outcome(entry.id, entry.attempt, outcome)
        book.record_dot(third.id, third.attempt)

    dies(service, says)
    assert service.rescue.settle_dead() == 10
    assert states(service) == {"sent": 1, "failed": 1, "unknown": 1, "queued": len(rest)}
    deliver(service, world)
    assert states(service) == {"sent": 1 + len(rest), "failed": 1, "unknown": 1}
    assert len(world.arrived) == len(rest)
    assert cleo.email not in world.arrived


def test_the_dead_are_settled_once(service: Service, world: World, ben: Person) -> None:
    broadcast(service)
    claimed(service, world)
    dies(service, lambda book: None)
    assert service.rescue.settle_dead() == 1
    assert service.rescue.settle_dead() == 0


def test_after_a_reboot_whatever_was_claimed_and_not_answered_is_unknown(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 4)
    broadcast(service)
    first, *_ = claimed(service, world)

    def says(book: Journal) -> None:
        book.record_dot(first.id, first.attempt)
        book.record_outcome(first.id, first.attempt, "sent")

    dies(service, says, boot="00000000-0000-0000-0000-000000000000")
    service.rescue.settle_dead()
    assert states(service) == {"sent": 1, "unknown": 4}


def test_what_the_journal_says_of_an_older_attempt_means_nothing_to_the_present_one(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    (entry,) = claimed(service, world)
    dies(service, lambda book: book.record_dot(entry.id, entry.attempt - 1))
    service.rescue.settle_dead()
    assert states(service) == {"queued": 1}


def test_an_unknown_confirmation_is_sent_once_more_and_then_waits_for_staff(
    service: Service, world: World, ana: Person, ben: Person
) -> None:
    confirmation(service, ben)
    for state in ("queued", "unknown"):
        (entry,) = claimed(service, world)
        dies(service, lambda book, entry=entry: book.record_dot(entry.id, entry.attempt))  # type: ignore[misc]
        service.rescue.settle_dead()
        assert states(service) == {state: 1}
    with service.database.read() as session:
        assert [attempt.outcome for attempt in attempts.list_for_row(session, entry.id)] == ["unknown"] * 2


def test_a_late_report_settles_what_was_unknown(service: Service, world: World, ben: Person) -> None:
    broadcast(service)
    (entry,) = claimed(service, world)
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert service.rescue.settle_overdue() == 1
    assert states(service) == {"unknown": 1}
    late = outbox.Result(entry=entry, state="sent", costs_attempt=True, address=ben.email, outcome="sent")
    with service.database.write() as session:
        outbox.record(session, [late], now=world.clock.now())
    assert states(service) == {"sent": 1}


@pytest.mark.parametrize(("decision", "arrives"), [("sent", 0), ("resend", 1)])
def test_staff_decide_what_became_of_an_unknown_update(
    service: Service, world: World, ben: Person, decision: in_doubt.Resolution, arrives: int
) -> None:
    broadcast(service)
    claimed(service, world)
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    service.rescue.settle_overdue()
    with service.database.write() as session:
        (row,) = rows(service)
        in_doubt.resolve(session, row.id, decision, now=world.clock.now())
    deliver(service, world)
    assert len(world.arrived) == arrives
    assert [row.state for row in rows(service)] == ["sent"]


# A worker that stands still on this machine


@pytest.mark.parametrize("hours", [0.02, 1, 30])
def test_what_a_worker_of_this_machine_holds_is_its_own_however_long_it_stands_still(
    service: Service, world: World, ben: Person, cleo: Person, hours: float
) -> None:
    crowd(service, 3)
    broadcast(service)
    entries = claimed(service, world)
    book = Journal(service.settings.home / FOLDER, worker="dead")
    world.clock.advance(hours=hours)
    assert watch(service, world, seconds=60) == 0
    with service.database.write() as session:  # it wakes up
        outbox.give_back(session, entries)
    deliver(service, world)
    assert states(service) == {"sent": 4}
    assert cleo.email not in world.arrived
    book.close(settled=True)


def test_a_worker_that_is_killed_as_it_stands_still_is_settled_by_its_journal(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 2)
    broadcast(service)
    first, *_ = claimed(service, world)
    book = Journal(service.settings.home / FOLDER, worker="dead")
    book.record_dot(first.id, first.attempt)
    world.clock.advance(hours=1)
    assert service.rescue.settle_dead() + service.rescue.settle_overdue() == 0
    book.close(settled=False)
    assert service.rescue.settle_dead() == 3
    assert states(service) == {"unknown": 1, "queued": 2}


# A worker that is out of reach


def test_a_lost_worker_that_is_heard_again_gives_back_what_it_had_not_begun(
    service: Service, world: World, ben: Person, cleo: Person
) -> None:
    crowd(service, 5)
    broadcast(service)
    taken, refused, open_, *rest = given_up(service, world)
    assert {(row.state, row.why, row.tries) for row in rows(service)} == {("unknown", doubt.LOST, 1)}
    gone = results.from_outcome_state(refused, "refused")
    with service.database.write() as session:
        outbox.give_back(session, rest[:1])
    assert len(says(service, world, answered(taken), gone, *map(results.give_back, rest[1:]))) == 4
    assert states(service) == {"sent": 1, "failed": 1, "unknown": 1, "queued": len(rest)}
    with service.database.read() as session:
        told = {
            entry.id: attempts.list_for_row(session, entry.id) for entry in (taken, refused, open_, *rest)
        }
    assert {number: [each.outcome for each in all_] for number, all_ in told.items()} == {
        taken.id: ["sent"],
        refused.id: ["refused"],
        open_.id: ["unknown"],
        **{entry.id: [] for entry in rest},
    }
    assert {row.id: row.tries for row in rows(service)} == {
        number: len(all_) for number, all_ in told.items()
    }
    deliver(service, world)
    assert len(world.arrived) == len(rest)
    assert cleo.email not in world.arrived


def test_a_lost_worker_that_died_meanwhile_is_heard_by_its_journal(
    service: Service, world: World, ben: Person
) -> None:
    """Another machine gave it up; its own machine has its journal, and comes back."""
    crowd(service, 3)
    broadcast(service)
    entries = claimed(service, world)
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert service.rescue.settle_overdue() == 4
    taken, begun, *_ = entries

    def tells(book: Journal) -> None:
        for entry in (taken, begun):
            book.record_dot(entry.id, entry.attempt)
        book.record_outcome(taken.id, taken.attempt, "sent")

    dies(service, tells)
    service.rescue.settle_dead()
    assert states(service) == {"sent": 1, "unknown": 1, "queued": 2}
    assert [row.why for row in rows(service) if row.state == "unknown"] == [doubt.DIED]
    assert all(row.worker is None for row in rows(service))


@pytest.mark.parametrize("decision", ["sent", "resend"])
def test_what_staff_decided_is_changed_by_no_give_back(
    service: Service, world: World, ben: Person, decision: in_doubt.Resolution
) -> None:
    broadcast(service)
    (entry,) = given_up(service, world)
    with service.database.write() as session:
        in_doubt.resolve(session, entry.id, decision, now=world.clock.now())
    (decided,) = rows(service)
    assert says(service, world, results.give_back(entry)) == []
    assert says(service, world, results.from_outcome_state(entry, "deferred")) == []
    (after,) = rows(service)
    assert (after.state, after.why, after.due_at) == (decided.state, decided.why, decided.due_at)


def test_what_a_late_worker_knows_to_be_taken_is_not_sent_again_though_staff_asked_for_it(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    (entry,) = given_up(service, world)
    with service.database.write() as session:
        in_doubt.resolve(session, entry.id, "resend", now=world.clock.now())
    says(service, world, answered(entry))
    deliver(service, world)
    assert (states(service), world.arrived) == ({"sent": 1}, [])


def test_what_a_policy_sends_once_more_is_changed_by_no_give_back(
    service: Service, world: World, ana: Person, ben: Person
) -> None:
    confirmation(service, ben)
    (entry,) = given_up(service, world)
    (before,) = rows(service)
    assert before.state == "queued"
    assert says(service, world, results.give_back(entry), results.from_outcome_state(entry, "unknown")) == []
    deliver(service, world)
    assert says(service, world, results.give_back(entry), answered(entry)) == []
    assert (states(service), len(world.arrived)) == ({"sent": 1}, 1)


def test_the_same_outcome_recorded_twice_is_one(service: Service, world: World, ben: Person) -> None:
    """The answer to a commit may be lost: then everything is recorded once more."""
    crowd(service, 4)
    broadcast(service)
    outcomes = ("sent", "deferred", "refused", "unknown", "unreachable")
    answers = [
        replace(results.from_outcome_state(entry, outcome), due_at=world.clock.now())
        for entry, outcome in zip(claimed(service, world), outcomes, strict=True)
    ]
    assert len(says(service, world, *answers)) == 5
    before = [(row.state, row.why, row.tries) for row in rows(service)]
    assert says(service, world, *answers) == []
    assert [(row.state, row.why, row.tries) for row in rows(service)] == before
    with service.database.read() as session:
        assert [len(attempts.list_for_row(session, row.id)) for row in rows(service)] == [1] * 5


# Whose lease is over, and who lives


def test_a_worker_whose_clock_is_slow_is_not_given_up_while_it_renews(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    claimed(service, world, worker="slow")
    beats(service, world, "slow")
    for _ in range(30):
        with service.database.write() as session:
            outbox.renew(session, worker="slow", lease_until=world.clock.real() + LEASE - SLOW)
        assert watch(service, world, seconds=RENEW_SECONDS) == 0
    assert watch(service, world, seconds=rescue.SILENT_SECONDS + 5) == 1, "it is dead"


def test_who_slept_for_an_hour_gives_up_nobody_who_is_about_to_wake_as_well(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    claimed(service, world, worker="elsewhere")
    beats(service, world, "elsewhere")
    watch(service, world, seconds=RENEW_SECONDS)
    world.clock.suspend(hours=1)
    assert watch(service, world, seconds=5) == 0
    renews(service, world, "elsewhere")
    assert watch(service, world, seconds=40) == 0
    assert watch(service, world, seconds=15) == 1, "it did not go on after all"


def test_who_stood_still_gives_up_nobody_for_that_time(service: Service, world: World, ben: Person) -> None:
    """All processes were stopped at once, and every clock went on."""
    broadcast(service)
    claimed(service, world, worker="elsewhere")
    beats(service, world, "elsewhere")
    watch(service, world, seconds=RENEW_SECONDS)
    world.clock.advance(hours=1)
    assert service.rescue.settle_overdue() == 0
    renews(service, world, "elsewhere")
    assert watch(service, world, seconds=30) == 0


def test_a_worker_that_beats_but_renews_nothing_is_waited_for_and_not_for_ever(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    claimed(service, world, worker="stuck")
    waited = 0
    while not watch(service, world, seconds=RENEW_SECONDS):
        beats(service, world, "stuck")
        waited += 1
    assert 60 <= waited <= 62, "ten minutes"
