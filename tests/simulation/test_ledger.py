"""Outbox in any order of events: two workers, a clock that moves both ways, people who are erased.

A plain dictionary holds the expected state of each row; after every step the database must hold the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, select

from lists import contacts
from lists.contacts import Contact
from lists.db import Database
from mailer.compose.editions import Edition
from mailer.outbox import due_rows, in_doubt, outbox, stats
from mailer.outbox.in_doubt import Resolution
from mailer.outbox.outbox import STATES, Entry, OutboxRow, Result
from mailer.policy import POLICY
from mailer.reasons import Reason
from tests import people
from tests.clocks import START
from tests.ledger import LEASE, edition

KINDS = st.sampled_from(["confirmation", "sequence", "broadcast"])
WORKERS = st.sampled_from(["first", "second"])
PEOPLE = ("ana", "ben", "cleo")
OUTCOMES = st.sampled_from(["sent", "queued", "failed", "held", "unknown", "cancelled", "expired"])
STEPS = st.sampled_from(
    [timedelta(seconds=10), timedelta(seconds=46), timedelta(hours=3), timedelta(days=2), timedelta(days=6)]
)


@dataclass(kw_only=True)
class Row:
    """The expected state of a row."""

    key: str
    contact_id: int
    priority: int
    due_at: datetime
    expires_at: datetime
    state: str = "queued"
    attempt: int = 0
    tries: int = 0
    worker: str | None = None
    lease_until: datetime | None = None
    deliveries: int = 0
    lost: bool = False

    def free(self, state: str) -> None:
        """Change to a state in which no worker holds the row."""
        self.state, self.worker, self.lease_until, self.lost = state, None, None, False

    def give_up(self) -> None:
        """Change to unknown, as the worker is lost; its name stays, as it may still report a result."""
        self.state, self.lease_until, self.lost = "unknown", None, True
        self.tries += 1


class Ledger(RuleBasedStateMachine):
    """All operations on the outbox, in any order."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.now = self.real = START
        self.rows: dict[int, Row] = {}
        self.forgotten: set[int] = set()
        self.claims: list[Entry] = []
        with database.write() as session:
            for table in (OutboxRow, Contact, Edition):
                session.execute(delete(table))
            self.edition_id = edition(session)
            self.people = [getattr(people, name)(session, now=START).id for name in PEOPLE]

    def _in(self, *states: str) -> Iterator[tuple[int, Row]]:
        return ((number, row) for number, row in self.rows.items() if row.state in states)

    def _due(self) -> Iterator[tuple[int, Row]]:
        queued = self._in("queued")
        return ((number, row) for number, row in queued if row.due_at <= self.now < row.expires_at)

    @rule(length=STEPS, is_backward=st.booleans())
    def let_time_pass_or_set_the_clock_back(self, length: timedelta, is_backward: bool) -> None:
        self.now += -length if is_backward else length
        self.real += -length if is_backward else length

    @rule(kind=KINDS, who=st.integers(0, 2), name=st.sampled_from("abcd"))
    def insert(self, kind: str, who: int, name: str) -> None:
        contact_id, key = self.people[who], f"{kind}/{name}/contact/{self.people[who]}"
        if contact_id in self.forgotten:
            return
        with self.database.write() as session:
            new = outbox.put(
                session,
                key=key,
                kind=kind,
                list="interest",
                contact_id=contact_id,
                edition_id=self.edition_id,
                now=self.now,
            )
            assert new == (key not in {row.key for row in self.rows.values()})
            if new:
                number = session.scalars(select(OutboxRow.id).where(OutboxRow.key == key)).one()
                self.rows[number] = Row(
                    key=key,
                    contact_id=contact_id,
                    priority=POLICY[kind].priority,
                    due_at=self.now,
                    expires_at=self.now + POLICY[kind].expires_after,
                )

    @rule(worker=WORKERS, limit=st.integers(1, 4))
    def claim(self, worker: str, limit: int) -> None:
        due = [(row.priority, row.due_at, number) for number, row in self._due()]
        expected = [number for _, _, number in sorted(due)[:limit]]
        until = self.real + LEASE
        with self.database.write() as session:
            entries = due_rows.claim(session, worker=worker, limit=limit, now=self.now, lease_until=until)
        assert [entry.id for entry in entries] == expected
        for entry in entries:
            row = self.rows[entry.id]
            row.state, row.worker, row.lease_until = "sending", worker, until
            row.attempt += 1
            assert (entry.attempt, entry.key, entry.tries) == (row.attempt, row.key, row.tries)
        self.claims += entries

    @rule(data=st.data(), outcome=OUTCOMES, tried=st.booleans(), later=STEPS)
    def record(self, data: st.DataObject, outcome: str, tried: bool, later: timedelta) -> None:
        """Record the results of some claims, of which any may have been lost long ago."""
        if not self.claims:
            return
        entries = data.draw(
            st.lists(st.sampled_from(self.claims), max_size=4, unique_by=lambda entry: entry.id)
        )
        due_at = self.now + later if outcome == "queued" else None
        results = [
            Result(entry=entry, state=outcome, counts_as_try=tried, due_at=due_at) for entry in entries
        ]
        with self.database.write() as session:
            recorded = outbox.record(session, results, now=self.now)
        expected = {
            entry.id
            for entry in entries
            if self._is_recordable(entry, tried and outcome in ("sent", "failed"))
        }
        assert {result.entry.id for result in recorded} == expected
        for number in expected:
            row = self.rows[number]
            row.tries += tried - row.lost
            row.free(outcome)
            row.due_at = due_at or row.due_at
            row.deliveries += outcome == "sent"
            assert row.deliveries <= 1

    def _is_recordable(self, entry: Entry, final: bool) -> bool:
        row = self.rows.get(entry.id)
        open_states = ("sending", "queued", "unknown") if final else ("sending",)
        is_same_attempt = row is not None and row.attempt == entry.attempt
        return is_same_attempt and (row.lost or row.state in open_states)

    @rule(worker=WORKERS)
    def renew(self, worker: str) -> None:
        with self.database.write() as session:
            due_rows.renew(session, worker=worker, lease_until=self.real + LEASE)
        for _, row in self._in("sending"):
            if row.worker == worker:
                row.lease_until = self.real + LEASE

    @rule()
    def rescue(self) -> None:
        dead = [row for _, row in self._in("sending") if row.lease_until and row.lease_until < self.real]
        with self.database.write() as session:
            lost = due_rows.list_overdue(session, real=self.real, limit=1_000)
            outbox.give_back(session, lost)
        assert len(lost) == len(dead)
        for row in dead:
            row.free("queued")

    @rule(worker=WORKERS)
    def give_up_for_lost(self, worker: str) -> None:
        dead = [row for _, row in self._in("sending") if row.worker == worker and row.lease_until < self.real]
        with self.database.write() as session:
            overdue = due_rows.list_overdue(session, real=self.real, limit=1_000, workers=[worker])
            values = {
                "state": "unknown",
                "reason": Reason.WORKER_LOST,
                "outcome": "unknown",
                "counts_as_try": True,
            }
            outbox.record(session, [Result(entry=entry, **values) for entry in overdue], now=self.now)
        assert len(overdue) == len(dead)
        for row in dead:
            row.give_up()

    @rule(data=st.data(), decision=st.sampled_from(["sent", "resend"]))
    def decide(self, data: st.DataObject, decision: Resolution) -> None:
        """Let staff decide about a row in doubt."""
        doubtful = sorted(number for number, _ in self._in("unknown"))
        if not doubtful:
            return
        number = data.draw(st.sampled_from(doubtful))
        with self.database.write() as session:
            in_doubt.resolve(session, number, decision, now=self.now)
        row = self.rows[number]
        row.free("sent" if decision == "sent" else "queued")
        row.due_at = row.due_at if decision == "sent" else self.now
        row.deliveries += decision == "sent"

    @rule(worker=WORKERS)
    def rescue_from_one(self, worker: str) -> None:
        dead = [row for _, row in self._in("sending", "unknown") if row.worker == worker]
        with self.database.write() as session:
            lost = due_rows.list_claimed_by(session, worker)
            outbox.give_back(session, lost)
        assert len(lost) == len(dead)
        for row in dead:
            row.tries -= row.lost
            row.free("queued")

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        entries = data.draw(st.lists(st.sampled_from(self.claims), max_size=4)) if self.claims else []
        with self.database.write() as session:
            outbox.give_back(session, entries)
        for entry in entries:
            row = self.rows.get(entry.id)
            if row is not None and row.attempt == entry.attempt and (row.state == "sending" or row.lost):
                row.tries -= row.lost
                row.free("queued")

    @rule(limit=st.integers(1, 4))
    def expire(self, limit: int) -> None:
        late = [number for number, row in self._in("queued", "held") if row.expires_at <= self.now]
        with self.database.write() as session:
            results = outbox.expire(session, now=self.now, limit=limit)
        assert len(results) == min(limit, len(late))
        for result in results:
            assert result.entry.id in late
            self.rows[result.entry.id].state = "expired"

    @rule(who=st.integers(0, 2))
    def cancel(self, who: int) -> None:
        with self.database.write() as session:
            results = outbox.cancel(session, OutboxRow.contact_id == self.people[who], reason="recalled")
        waiting = {number for number, row in self._in("queued", "held") if row.contact_id == self.people[who]}
        assert {result.entry.id for result in results} == waiting
        for number in waiting:
            self.rows[number].state = "cancelled"

    @rule(who=st.integers(0, 2))
    def let_go_what_was_held(self, who: int) -> None:
        held = [row for _, row in self._in("held") if row.contact_id == self.people[who]]
        with self.database.write() as session:
            assert outbox.requeue(session, OutboxRow.contact_id == self.people[who]) == len(held)
        for row in held:
            row.state = "queued"

    @rule(who=st.integers(0, 2))
    def forget(self, who: int) -> None:
        with self.database.write() as session:
            contacts.erase(session, self.people[who])
        self.forgotten.add(self.people[who])
        self.rows = {number: row for number, row in self.rows.items() if row.contact_id != self.people[who]}

    @invariant()
    def every_row_is_there_in_exactly_the_state_it_must_be_in(self) -> None:
        columns = ("key", "contact_id", "state", "attempt", "tries", "worker", "lease_until", "due_at")
        with self.database.read() as session:
            rows = {row.id: row for row in session.scalars(select(OutboxRow))}
            sums = stats.count_by_kind_and_state(session)
            due = due_rows.is_anything_due(session, now=self.now)
        for row in rows.values():
            assert row.state in STATES
            assert (row.state == "sending") == (row.lease_until is not None)
            assert (row.worker is not None) == (row.state == "sending" or row.reason == Reason.WORKER_LOST)
            assert (row.sent_at is not None) == (row.state == "sent")
        assert {number: [getattr(row, name) for name in columns] for number, row in rows.items()} == {
            number: [getattr(row, name) for name in columns] for number, row in self.rows.items()
        }
        assert sum(sums.values()) == len(self.rows)
        assert {state for _, state in sums} == {row.state for row in self.rows.values()}
        assert due == any(self._due())


@pytest.mark.timeout(60)
def test_in_any_order_of_events_no_row_is_lost_and_none_is_sent_twice(database: Database) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Ledger(database),
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
