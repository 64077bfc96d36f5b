"""Stats: the outbox is counted from indexes: waiting messages, their age, sent messages, the end."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from lists.db import Database
from mailer.coordination import counters
from mailer.outbox import stats
from mailer.outbox.outbox import Result
from mailer.outbox.stats import OutboxStats
from tests.clocks import StoppedClock
from tests.ledger import Ledger, edition
from tests.people import Person
from tests.statements import recorded


@pytest.fixture
def ledger(database: Database, clock: StoppedClock, ana: Person, ben: Person, cleo: Person) -> Ledger:
    with database.write() as session:
        edition_id = edition(session)
    return Ledger(database=database, clock=clock, edition_id=edition_id, people=[ana, ben, cleo])


def collect(database: Database, clock: StoppedClock) -> OutboxStats:
    with database.read() as session:
        return stats.collect(session, now=clock.now())


def send(ledger: Ledger, number: int) -> None:
    entries = ledger.claim(limit=number)
    assert len(entries) == number
    ledger.record(
        *(
            Result(entry=entry, state="sent", counts_as_try=True, address="a@b.example", outcome="sent")
            for entry in entries
        )
    )


def test_an_empty_outbox_is_finished(database: Database, clock: StoppedClock) -> None:
    empty = collect(database, clock)
    assert (empty.waiting, empty.later, empty.oldest, empty.next_due, empty.pace) == (0, 0, None, None, 0.0)
    assert empty.finish == clock.now()


def test_nobody_knows_when_it_ends_while_nothing_moves(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    ledger.put("a", "b")
    queued_at = clock.now()
    clock.advance(minutes=7)
    figures = collect(database, clock)
    assert (figures.waiting, figures.oldest, figures.age) == (2, queued_at, timedelta(minutes=7))
    assert figures.finish is None


def test_the_end_follows_from_the_pace_of_the_last_minute(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    ledger.put(*(str(number) for number in range(180)))
    clock.advance(seconds=30)
    send(ledger, 60)
    clock.advance(seconds=30)
    figures = collect(database, clock)
    assert (figures.last_minute, figures.last_hour, figures.waiting, figures.pace) == (60, 60, 120, 1.0)
    assert figures.finish == clock.now() + timedelta(minutes=2)
    clock.advance(minutes=5)
    figures = collect(database, clock)
    assert (figures.last_minute, figures.last_hour, figures.finish) == (0, 60, None)
    clock.advance(hours=1)
    assert collect(database, clock).last_hour == 0


def test_what_is_due_later_does_not_wait_yet(ledger: Ledger, database: Database, clock: StoppedClock) -> None:
    ledger.put("a", "b")
    first, second = ledger.claim()
    later = clock.now() + timedelta(minutes=5)
    ledger.record(Result(entry=first, state="queued", reason="deferred", due_at=later))
    figures = collect(database, clock)
    assert (figures.waiting, figures.later, figures.next_due, figures.oldest) == (1, 1, later, None)
    assert figures.counts == {("broadcast", "queued"): 1, ("broadcast", "sending"): 1}
    assert (figures.count_in_state("queued"), second.key) == (1, "b")


def test_the_stats_take_as_many_statements_for_many_rows_as_for_one(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    def count_statements(*keys: str) -> int:
        ledger.put(*keys)
        with recorded(database) as executed:
            collect(database, clock)
        return len(executed)

    assert count_statements("a") == count_statements(*(str(number) for number in range(300)))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # its query plans name the index
def test_no_figure_reads_the_rows_themselves(database: Database, clock: StoppedClock) -> None:
    with recorded(database) as statements:
        collect(database, clock)
        with database.read() as session:
            stats.count_by_kind_and_state(session, kind="broadcast", ref=7)
    with database.read() as session:
        for statement in [statement_text for statement_text in statements if "FROM outbox" in statement_text]:
            sql = statement.replace("?", "1")
            plan = [str(row[-1]) for row in session.execute(text(f"EXPLAIN QUERY PLAN {sql}"))]
            reads = [step for step in plan if "outbox" in step]
            assert reads
            assert all("COVERING INDEX" in step or "ix_outbox_queued" in step for step in reads), plan


def test_sums_outlive_the_people_they_were_sent_to(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    ledger.put("a", "b")
    send(ledger, 2)
    clock.advance(days=2)
    with database.write() as session:
        session.execute(text("DELETE FROM contacts"))
        assert counters.delete_old(session, now=clock.now()) == 1
        assert counters.read_totals(session) == {"sent": 2}
        assert counters.count_since(session, "sent", since=clock.now() - timedelta(days=3)) == 0
