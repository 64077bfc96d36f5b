"""What a dead worker left behind is settled by its journal; unknown is only what nobody can know."""

from collections.abc import Callable

import pytest

from mailer import attempts, outbox, unknowns
from mailer.delivery import LEASE
from mailer.journal import FOLDER, Journal
from mailer.outbox import Entry
from mailer.service import Service
from tests.people import Person
from tests.relays import World, broadcast, confirmation, crowd, deliver, rows, states


def claimed(service: Service, world: World, *, worker: str = "dead") -> list[Entry]:
    """Let a worker claim everything that is due."""
    with service.database.write() as session:
        now = world.clock.now()
        until = world.clock.real() + LEASE
        return list(outbox.claim(session, worker=worker, limit=1_000, now=now, lease_until=until))


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
            book.about(entry.id, entry.attempt)
            book.answered(entry.id, entry.attempt, outcome)
        book.about(third.id, third.attempt)

    dies(service, says)
    assert service.rescue.of_the_dead() == 10
    assert states(service) == {"sent": 1, "failed": 1, "unknown": 1, "queued": len(rest)}
    deliver(service, world)
    assert states(service) == {"sent": 1 + len(rest), "failed": 1, "unknown": 1}
    assert len(world.arrived) == len(rest)
    assert cleo.email not in world.arrived


def test_the_dead_are_settled_once(service: Service, world: World, ben: Person) -> None:
    broadcast(service)
    claimed(service, world)
    dies(service, lambda book: None)
    assert service.rescue.of_the_dead() == 1
    assert service.rescue.of_the_dead() == 0


def test_after_a_reboot_whatever_was_claimed_and_not_answered_is_unknown(
    service: Service, world: World, ben: Person
) -> None:
    crowd(service, 4)
    broadcast(service)
    first, *_ = claimed(service, world)

    def says(book: Journal) -> None:
        book.about(first.id, first.attempt)
        book.answered(first.id, first.attempt, "sent")

    dies(service, says, boot="00000000-0000-0000-0000-000000000000")
    service.rescue.of_the_dead()
    assert states(service) == {"sent": 1, "unknown": 4}


def test_what_the_journal_says_of_an_older_attempt_means_nothing_to_the_present_one(
    service: Service, world: World, ben: Person
) -> None:
    broadcast(service)
    (entry,) = claimed(service, world)
    dies(service, lambda book: book.about(entry.id, entry.attempt - 1))
    service.rescue.of_the_dead()
    assert states(service) == {"queued": 1}


def test_an_unknown_confirmation_is_sent_once_more_and_then_waits_for_staff(
    service: Service, world: World, ana: Person, ben: Person
) -> None:
    confirmation(service, ben)
    for state in ("queued", "unknown"):
        (entry,) = claimed(service, world)
        dies(service, lambda book, entry=entry: book.about(entry.id, entry.attempt))  # type: ignore[misc]
        service.rescue.of_the_dead()
        assert states(service) == {state: 1}
    with service.database.read() as session:
        assert [attempt.outcome for attempt in attempts.of_row(session, entry.id)] == ["unknown"] * 2


def test_a_late_report_settles_what_was_unknown(service: Service, world: World, ben: Person) -> None:
    broadcast(service)
    (entry,) = claimed(service, world)
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    assert service.rescue.of_the_overdue() == 1
    assert states(service) == {"unknown": 1}
    late = outbox.Result(entry=entry, state="sent", tried=True, address=ben.email, outcome="sent")
    with service.database.write() as session:
        outbox.record(session, [late], now=world.clock.now())
    assert states(service) == {"sent": 1}


@pytest.mark.parametrize(("decision", "arrives"), [("sent", 0), ("resend", 1)])
def test_staff_decide_what_became_of_an_unknown_update(
    service: Service, world: World, ben: Person, decision: unknowns.Decision, arrives: int
) -> None:
    broadcast(service)
    claimed(service, world)
    world.clock.advance(seconds=LEASE.total_seconds() + 1)
    service.rescue.of_the_overdue()
    with service.database.write() as session:
        (row,) = rows(service)
        unknowns.resolve(session, row.id, decision, now=world.clock.now())
    deliver(service, world)
    assert len(world.arrived) == arrives
    assert [row.state for row in rows(service)] == ["sent"]
