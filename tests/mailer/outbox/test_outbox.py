"""Outbox: each message once, in one state with its reason; only the worker with the claim records results."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import String, cast, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from lists import contacts
from lists.db import Database
from mailer.outbox import attempts, due_rows, outbox, stats
from mailer.outbox.outbox import STATES, OutboxRow, Result
from mailer.policy import POLICY
from mailer.reasons import Reason
from tests import crowd
from tests.clocks import START, StoppedClock
from tests.ledger import LEASE, Ledger, edition
from tests.people import Person
from tests.races import at_once, behind, on_postgresql
from tests.statements import recorded


@pytest.fixture
def ledger(database: Database, clock: StoppedClock, ana: Person, ben: Person) -> Ledger:
    with database.write() as session:
        edition_id = edition(session)
    return Ledger(database=database, clock=clock, edition_id=edition_id, people=[ana, ben])


def test_the_same_message_twice_is_one_row(ledger: Ledger, database: Database) -> None:
    ledger.put("a")
    with database.write() as session:
        assert not ledger.one(session, "a")
    assert ledger.states() == {"a": "queued"}


def test_the_same_message_put_at_once_is_one_row(ledger: Ledger, database: Database) -> None:
    def put(session: Session) -> bool:
        return ledger.one(session, "a")

    assert sorted(at_once(database, put, put, put)) == [False, False, True]


def test_a_message_says_of_what_kind_it_is_and_until_when_it_is_worth_sending(
    ledger: Ledger, clock: StoppedClock
) -> None:
    for kind in POLICY:
        ledger.put(kind, kind=kind)
    for kind, row in ledger.rows().items():
        policy = POLICY[kind]
        assert (row.priority, row.expires_at) == (policy.priority, clock.now() + policy.expires_after)
        assert (row.queued_at, row.due_at, row.reason) == (clock.now(), clock.now(), "")
        assert (row.attempt, row.tries, row.worker, row.sent_at) == (0, 0, None, None)


def test_a_thousand_readers_are_put_in_by_one_statement(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    def fill(session: Session) -> int:
        number = contacts.Contact.id
        key = literal("all/") + cast(number, String)
        everyone = select(number.label("contact_id"), key.label("key"), number.label("ref"))
        return outbox.fill(
            session, everyone, kind="broadcast", list="x", edition_id=ledger.edition_id, now=clock.now()
        )

    with database.write() as session:
        crowd.add(session, 1_000, list="interest", now=clock.now())
    with database.write() as session, recorded(database) as statements:
        assert fill(session) == 1_002
        assert fill(session) == 0
    assert len(statements) == 2


def test_the_most_urgent_leaves_first_then_the_oldest(ledger: Ledger, clock: StoppedClock) -> None:
    ledger.put("update 1", "update 2")
    clock.advance(minutes=1)
    ledger.put("step", kind="sequence")
    ledger.put("call", kind="invitation")
    ledger.put("please confirm", kind="confirmation")
    assert [entry.key for entry in ledger.claim(limit=3)] == ["please confirm", "call", "step"]
    assert [entry.key for entry in ledger.claim(limit=9)] == ["update 1", "update 2"]


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_claim_takes_no_more_than_its_limit(ledger: Ledger, limit: int) -> None:
    ledger.put(*"abcdefghijkl")
    assert [entry.key for entry in ledger.claim(limit=limit)] == list("abcdefghijkl"[:limit])
    assert list(ledger.states().values()).count("sending") == limit


def test_what_is_not_due_yet_stays(ledger: Ledger, clock: StoppedClock) -> None:
    ledger.put("later")
    (entry,) = ledger.claim()
    ledger.record(Result(entry=entry, state="queued", due_at=clock.now() + timedelta(minutes=5)))
    clock.advance(minutes=5, microseconds=-1)
    assert ledger.claim() == []
    clock.advance(microseconds=1)
    assert [again.attempt for again in ledger.claim()] == [2]


def test_two_workers_at_once_never_take_the_same_row(ledger: Ledger, database: Database) -> None:
    ledger.put(*(str(number) for number in range(40)))
    workers = ["first", "second", "third", "fourth"]
    claims = [partial(ledger.claimed, limit=10, worker=name) for name in workers]
    entries_by_worker = at_once(database, *claims)
    keys = [entry.key for entries in entries_by_worker for entry in entries]
    assert len(keys) == len(set(keys))
    rows = ledger.rows()
    for name, entries in zip(workers, entries_by_worker, strict=True):
        assert all(rows[entry.key].worker == name for entry in entries)


@on_postgresql
def test_a_worker_takes_what_is_free_while_another_holds_the_first_rows(
    ledger: Ledger, database: Database
) -> None:
    ledger.put("a", "b")
    with database.write() as first, database.write() as second:
        assert [entry.key for entry in ledger.claimed(first, limit=1)] == ["a"]
        assert [entry.key for entry in ledger.claimed(second, limit=1, worker="second")] == ["b"]


@pytest.mark.parametrize("state", ["sent", "failed", "held", "cancelled", "expired", "unknown"])
def test_an_outcome_ends_the_claim_and_says_why(ledger: Ledger, clock: StoppedClock, state: str) -> None:
    ledger.put("a", "b")
    entries = ledger.claim()
    clock.advance(seconds=1)
    results = [
        Result(entry=entry, state=state, reason="paused", detail="y" * 300, counts_as_try=True)
        for entry in entries
    ]
    assert ledger.record(*results) == ["a", "b"]
    for row in ledger.rows().values():
        assert (row.state, row.reason, row.detail) == (state, "paused", "y" * 200)
        assert (row.worker, row.lease_until) == (None, None)
        assert (row.tries, row.attempt) == (1, 1)
        assert row.sent_at == (clock.now() if state == "sent" else None)
    assert ledger.claim() == []


def test_a_message_that_was_never_sent_costs_no_try(ledger: Ledger) -> None:
    ledger.put("a")
    (entry,) = ledger.claim()
    ledger.record(Result(entry=entry, state="queued", reason=Reason.RELAY_UNREACHABLE))
    row = ledger.rows()["a"]
    assert (row.tries, row.attempt, row.reason) == (0, 1, Reason.RELAY_UNREACHABLE)


def test_each_attempt_is_kept_with_the_address_and_the_servers_words(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    ledger.put("a")
    for number, (state, code) in enumerate([("queued", 451), ("sent", 250)], 1):
        (entry,) = ledger.claim()
        reply_values = {"address": "ana@stmark.example.org", "outcome": "x", "code": code, "reply": "r" * 600}
        ledger.record(Result(entry=entry, state=state, counts_as_try=True, **reply_values))  # type: ignore[arg-type]
        assert entry.attempt == number
    with database.read() as session:
        stored_attempts = attempts.list_for_row(session, entry.id)
        assert [(attempt.attempt, attempt.code, attempt.address) for attempt in stored_attempts] == [
            (1, 451, "ana@stmark.example.org"),
            (2, 250, "ana@stmark.example.org"),
        ]
        assert {len(attempt.reply) for attempt in stored_attempts} == {attempts.REPLY_LENGTH}


def requeue_overdue(session: Session, *, real: datetime) -> int:
    """Return overdue rows to the queue, as if they had not been begun."""
    entries = due_rows.list_overdue(session, real=real, limit=100)
    outbox.give_back(session, entries)
    return len(entries)


def test_who_lost_a_claim_changes_nothing_any_more(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    ledger.put("a")
    (stale,) = ledger.claim(worker="first")
    clock.advance(seconds=46)
    with database.write() as session:
        assert requeue_overdue(session, real=clock.real()) == 1
    (fresh,) = ledger.claim(worker="second")
    assert ledger.record(Result(entry=stale, state="failed")) == []
    with database.write() as session:
        outbox.give_back(session, [stale])
        due_rows.renew(session, worker="first", lease_until=clock.real() + 2 * LEASE)
    row = ledger.rows()["a"]
    assert (row.state, row.worker, row.attempt) == ("sending", "second", 2)
    assert row.lease_until == clock.real() + LEASE
    assert ledger.record(Result(entry=fresh, state="sent")) == ["a"]


def test_what_a_late_worker_knows_to_be_sent_is_not_sent_again(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    """The database was locked for longer than the lease, and no other worker has claimed the row since."""
    ledger.put("a")
    (late,) = ledger.claim()
    clock.advance(seconds=46)
    with database.write() as session:
        requeue_overdue(session, real=clock.real())
    assert ledger.record(Result(entry=late, state="sent", counts_as_try=True)) == ["a"]
    assert ledger.claim() == []
    assert ledger.states() == {"a": "sent"}


def test_a_lease_holds_until_its_last_instant(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    ledger.put("a")
    ledger.claim()
    clock.advance(seconds=45)
    with database.write() as session:
        assert requeue_overdue(session, real=clock.real()) == 0
        assert requeue_overdue(session, real=clock.real() + timedelta(microseconds=1)) == 1


def test_what_a_worker_holds_is_found_by_its_name(ledger: Ledger, database: Database) -> None:
    ledger.put("a", "b")
    ledger.claim(limit=1, worker="dead")
    ledger.claim(limit=1, worker="alive")
    with database.read() as session:
        assert [entry.key for entry in due_rows.list_claimed_by(session, "dead")] == ["a"]
        assert due_rows.list_claimed_by(session, "nobody") == []


def test_what_a_stopping_worker_did_not_begin_is_free(ledger: Ledger, database: Database) -> None:
    ledger.put("a", "b")
    entries = ledger.claim()
    with database.write() as session:
        outbox.give_back(session, entries[1:])
        outbox.give_back(session, [])
    assert [entry.key for entry in ledger.claim(worker="second")] == ["b"]


def test_what_is_too_late_is_given_up_a_few_at_a_time(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    ledger.put("a", "b", "c", kind="already")
    ledger.put("lasting")
    (entry,) = ledger.claim(limit=1)
    ledger.record(Result(entry=entry, state="held", reason="paused"))
    clock.advance(days=1, microseconds=-1)
    with database.write() as session:
        assert outbox.expire(session, now=clock.now(), limit=9) == []
        clock.advance(microseconds=1)
        assert len(outbox.expire(session, now=clock.now(), limit=2)) == 2
        assert len(outbox.expire(session, now=clock.now(), limit=2)) == 1
    rows = ledger.rows()
    assert [(rows[key].state, rows[key].reason) for key in "abc"] == [("expired", Reason.TOO_LATE)] * 3
    assert rows["lasting"].state == "queued"


@on_postgresql
@pytest.mark.parametrize("end", ["expire", "cancel"])
def test_nobody_gives_up_or_cancels_what_a_worker_is_just_taking(
    ledger: Ledger, database: Database, clock: StoppedClock, end: str
) -> None:
    def close_rows(session: Session) -> Sequence[Result]:
        if end == "expire":
            return outbox.expire(session, now=clock.now() + timedelta(minutes=1), limit=9)
        return outbox.cancel(session, OutboxRow.kind == "already", reason="recalled")

    ledger.put("a", "b", kind="already")
    clock.advance(days=1, minutes=-1)
    results = behind(database, holding=partial(ledger.claimed, limit=1), then=close_rows)
    assert [result.entry.key for result in results] == ["b"]
    assert ledger.states()["a"] == "sending"


def test_only_what_waits_or_is_held_can_be_cancelled(ledger: Ledger, database: Database) -> None:
    ledger.put("a", "b", "c", "d")
    first, second = ledger.claim(limit=2)
    ledger.record(Result(entry=first, state="sent"), Result(entry=second, state="held", reason="paused"))
    ledger.claim(limit=1)
    with database.write() as session:
        results = outbox.cancel(session, OutboxRow.list == "interest", reason="recalled")
    assert [(result.entry.key, result.state, result.reason) for result in results] == [
        ("b", "cancelled", "recalled"),
        ("d", "cancelled", "recalled"),
    ]
    assert ledger.states() == {"a": "sent", "b": "cancelled", "c": "sending", "d": "cancelled"}


def test_only_what_is_held_can_be_let_go_with_a_newer_edition_too(ledger: Ledger, database: Database) -> None:
    ledger.put("a", "b")
    first, second = ledger.claim()
    ledger.record(
        Result(entry=first, state="held", reason="missing_link"), Result(entry=second, state="failed")
    )
    with database.write() as session:
        newer = edition(session, digest=b"y" * 16)
        assert outbox.requeue(session, OutboxRow.list == "interest", edition_id=newer) == 1
    assert ledger.states() == {"a": "queued", "b": "failed"}
    (entry,) = ledger.claim()
    assert (entry.edition_id, entry.queued_at, entry.key) == (newer, first.queued_at, "a")


def test_a_forgotten_persons_messages_are_gone_and_their_worker_is_told_nothing(
    ledger: Ledger, database: Database, ben: Person
) -> None:
    ledger.put("a")
    ledger.put("b", person=1)
    entries = ledger.claim()
    with database.write() as session:
        contacts.erase(session, ben.id)
    results = [Result(entry=entry, state="sent", address="x@example.org") for entry in entries]
    assert ledger.record(*results) == ["a"]
    assert ledger.states() == {"a": "sent"}


def test_the_sums_and_the_next_moment_are_those_of_the_rows(
    ledger: Ledger, database: Database, clock: StoppedClock
) -> None:
    ledger.put("a", "b", "c")
    ledger.put("d", kind="sequence")
    entries = {entry.key: entry for entry in ledger.claim()}
    soon, late = clock.now() + timedelta(minutes=5), clock.now() + timedelta(minutes=10)
    ledger.record(
        Result(entry=entries["a"], state="sent"),
        Result(entry=entries["b"], state="queued", due_at=late),
        Result(entry=entries["d"], state="queued", due_at=soon),
    )
    with database.read() as session:
        assert stats.count_by_kind_and_state(session, kind="broadcast", ref=0) == {
            ("broadcast", "sent"): 1,
            ("broadcast", "queued"): 1,
            ("broadcast", "sending"): 1,
        }
        assert sum(stats.count_by_kind_and_state(session).values()) == 4
        assert stats.count_by_kind_and_state(session, kind="broadcast", ref=7) == {}
        assert stats.find_next_due(session, after=clock.now()) == soon
        assert stats.find_next_due(session, after=soon) == late
        assert stats.find_next_due(session, after=late) is None
        assert (
            due_rows.count_waiting(session, now=clock.now()),
            due_rows.count_waiting(session, now=late),
        ) == (
            1,
            3,
        )
        assert not due_rows.is_anything_due(session, now=clock.now())
        assert due_rows.is_anything_due(session, now=soon)


def test_a_state_that_nobody_knows_is_refused_by_the_database(ledger: Ledger) -> None:
    ledger.put("a")
    (entry,) = ledger.claim()
    with pytest.raises(IntegrityError):
        ledger.record(Result(entry=entry, state="lost"))
    assert "lost" not in STATES
    assert ledger.states() == {"a": "sending"}


def test_claiming_and_recording_take_as_many_statements_for_many_rows_as_for_one(
    ledger: Ledger, database: Database
) -> None:
    def count_statements(*keys: str) -> int:
        ledger.put(*keys)
        with recorded(database) as executed:
            entries = ledger.claim()
            results = [Result(entry=entry, state="sent", address="a@example.org") for entry in entries]
            assert len(ledger.record(*results)) == len(keys)
        return len(executed)

    assert count_statements("a") == count_statements(*(str(number) for number in range(100)))


def test_the_ledgers_moments_are_those_it_was_given(ledger: Ledger, clock: StoppedClock) -> None:
    earlier = clock.set(START - timedelta(days=1))
    ledger.put("a")
    (entry,) = ledger.claim()
    assert entry.queued_at == earlier
    clock.set(START - timedelta(days=2))
    ledger.put("b")
    assert [again.key for again in ledger.claim()] == ["b"]
