"""Broadcasts: exactly the permitted contacts get an update, once, wherever filling stops."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from lists import subscriptions, suppressions
from lists.audit import AuditEntry
from lists.contacts import Contact
from lists.db import Database
from lists.errors import NotFound
from mailer.outbox import due_rows, stats
from mailer.outbox.outbox import OutboxRow, Result
from mailer.reasons import Reason
from mailer.service import Service
from mailer.sources import broadcasts
from mailer.sources.broadcasts import Broadcast, Broadcasts
from tests import commands, crowd, relays
from tests.clocks import StoppedClock
from tests.ledger import edition
from tests.people import Person
from tests.races import at_once, behind, meanwhile, on_postgresql
from tests.statements import recorded

SOURCE = Broadcasts()


@pytest.fixture
def edition_id(database: Database) -> int:
    with database.write() as session:
        return edition(session)


def _create(session: Session, edition_id: int, clock: StoppedClock) -> Broadcast:
    return broadcasts.create(
        session, subject="News", audience="interest", edition_id=edition_id, now=clock.now(), actor="staff"
    )


def _list_recipients(database: Database) -> list[int]:
    """Return the contacts with a message in the outbox, one item per message."""
    with database.read() as session:
        return list(session.scalars(select(OutboxRow.contact_id).order_by(OutboxRow.contact_id)))


def _list_contacts(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.scalars(select(Contact.id).order_by(Contact.id)))


def _fill(database: Database, clock: StoppedClock, *, limit: int) -> list[int]:
    """Fill in batches until the broadcast is filled; returns the number of new rows of each batch."""
    batches = []
    with database.read() as session:
        assert SOURCE.next_due(session, now=clock.now()) == clock.now()
    while True:
        with database.write() as session:
            batches.append(SOURCE.fill(session, now=clock.now(), limit=limit))
            if session.scalar(select(Broadcast.id).where(Broadcast.state == "filling")) is None:
                return batches


def test_an_update_reaches_everybody_on_the_list_once_and_cleo_not(
    database: Database, clock: StoppedClock, edition_id: int, ana: Person, ben: Person, cleo: Person
) -> None:
    with database.write() as session:
        broadcast = _create(session, edition_id, clock)
    assert _fill(database, clock, limit=10) == [1, 0]
    assert _list_recipients(database) == [ben.id]
    with database.read() as session:
        stored = broadcasts.get(session, broadcast.id)
        assert (stored.state, stored.filled_at) == ("filled", clock.now())
        assert SOURCE.next_due(session, now=clock.now()) is None
        row = session.scalars(select(OutboxRow)).one()
        assert (row.kind, row.list, row.ref, row.edition_id) == (
            "broadcast",
            "interest",
            broadcast.id,
            edition_id,
        )


def test_filling_goes_on_after_a_kill_between_two_batches_and_repeats_nobody(
    database: Database, clock: StoppedClock, edition_id: int, cleo: Person
) -> None:
    with database.write() as session:
        crowd.add(session, 25, list="interest", now=clock.now())
        _create(session, edition_id, clock)
    with database.write() as session:
        assert SOURCE.fill(session, now=clock.now(), limit=10) == 10
    with pytest.raises(KeyboardInterrupt), database.write() as session:
        assert SOURCE.fill(session, now=clock.now(), limit=10) == 10
        raise KeyboardInterrupt
    assert len(_list_recipients(database)) == 10
    assert _fill(database, clock, limit=10) == [10, 5, 0]
    assert _list_recipients(database) == [number for number in _list_contacts(database) if number != cleo.id]


def test_two_who_fill_at_once_put_nobody_in_twice_and_leave_nobody_out(
    database: Database, clock: StoppedClock, edition_id: int
) -> None:
    with database.write() as session:
        crowd.add(session, 40, list="interest", now=clock.now())
        _create(session, edition_id, clock)

    def fill(session: Session) -> int:
        return SOURCE.fill(session, now=clock.now(), limit=7)

    total = sum(sum(at_once(database, fill, fill)) for _ in range(4))
    assert total == 40
    assert _list_recipients(database) == _list_contacts(database)


@on_postgresql
def test_who_comes_back_from_a_pause_while_a_batch_is_put_in_pushes_nobody_out(
    database: Database, clock: StoppedClock, edition_id: int
) -> None:
    with database.write() as session:
        crowd.add(session, 6, list="interest", now=clock.now())
        _create(session, edition_id, clock)
    everybody = _list_contacts(database)
    until = clock.now() + timedelta(days=1)
    with database.write() as session:
        subscriptions.pause(session, contact_id=everybody[1], until=until)

    def come_back(session: Session) -> None:
        subscriptions.pause(session, contact_id=everybody[1], until=None)

    with meanwhile(database, before="INSERT INTO outbox", do=come_back), database.write() as session:
        SOURCE.fill(session, now=clock.now(), limit=3)
    _fill(database, clock, limit=3)
    assert set(_list_recipients(database)) >= set(everybody) - {everybody[1]}


@on_postgresql
def test_the_one_who_waited_for_a_batch_goes_on_where_it_ended(
    database: Database, clock: StoppedClock, edition_id: int
) -> None:
    with database.write() as session:
        crowd.add(session, 6, list="interest", now=clock.now())
        _create(session, edition_id, clock)

    def fill(session: Session) -> int:
        return SOURCE.fill(session, now=clock.now(), limit=3)

    assert behind(database, holding=fill, then=fill) == 3
    assert _list_recipients(database) == _list_contacts(database)


def test_the_head_count_is_what_is_filled(
    database: Database, clock: StoppedClock, edition_id: int, ana: Person, ben: Person, cleo: Person
) -> None:
    with database.write() as session:
        crowd.add(session, 8, list="interest", now=clock.now())
        subscriptions.ask(session, contact_id=ana.id, list="interest", now=clock.now())
        someone, other, *_ = session.scalars(select(Contact.id).where(Contact.email.like("reader%"))).all()
        subscriptions.pause(session, contact_id=someone, until=clock.now() + timedelta(days=1))
        digest = session.scalar(select(Contact.email_digest).where(Contact.id == other))
        suppressions.add(session, digest or b"", reason="bounce", now=clock.now())
    with database.read() as session:
        count = broadcasts.count_recipients(session, audience="interest", now=clock.now())
    assert count.languages == {"en": 6, "es": 1}
    assert count.exclusions == {"paused": 1, "suppressed": 1, "left": 1, "not confirmed": 1}
    with database.write() as session:
        _create(session, edition_id, clock)
    assert sum(_fill(database, clock, limit=3)) == count.total == 7


def test_who_leaves_between_the_preview_and_the_filling_gets_nothing(
    database: Database, clock: StoppedClock, edition_id: int, ben: Person
) -> None:
    with database.write() as session:
        assert broadcasts.count_recipients(session, audience="interest", now=clock.now()).total == 1
        _create(session, edition_id, clock)
    with database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    assert _fill(database, clock, limit=10) == [0]
    assert _list_recipients(database) == []


def test_a_list_that_nobody_is_on_has_no_readers(
    database: Database, clock: StoppedClock, ben: Person
) -> None:
    with database.read() as session:
        count = broadcasts.count_recipients(session, audience="organizers", now=clock.now())
        assert (count.total, count.exclusions) == (0, {})


def test_updates_are_filled_one_after_another_the_oldest_first(
    database: Database, clock: StoppedClock, edition_id: int, ben: Person
) -> None:
    with database.write() as session:
        first, second = _create(session, edition_id, clock), _create(session, edition_id, clock)
        assert [broadcast.id for broadcast in broadcasts.list_all(session)] == [second.id, first.id]
    with database.write() as session:
        assert SOURCE.fill(session, now=clock.now(), limit=9) == 1
        assert stats.count_by_kind_and_state(session, kind="broadcast", ref=first.id) == {
            ("broadcast", "queued"): 1
        }
    _fill(database, clock, limit=9)
    assert _list_recipients(database) == [ben.id, ben.id]


def test_filling_takes_as_many_statements_for_many_as_for_one(
    database: Database, clock: StoppedClock, edition_id: int, ben: Person
) -> None:
    counts = []
    for number in (0, 200):
        with database.write() as session:
            crowd.add(session, number, list="interest", now=clock.now())
            _create(session, edition_id, clock)
        with database.write() as session, recorded(database) as statements:
            assert SOURCE.fill(session, now=clock.now(), limit=1_000) == number + 1
        counts.append(len(statements))
        _fill(database, clock, limit=1_000)
        with database.read() as session, recorded(database) as statements:
            broadcasts.count_recipients(session, audience="interest", now=clock.now())
        counts.append(len(statements))
    assert counts[:2] == counts[2:]
    assert counts[1] == 1


def test_what_became_of_the_messages_changes_nothing_in_the_broadcast(
    database: Database, clock: StoppedClock, edition_id: int, ben: Person
) -> None:
    with database.write() as session:
        broadcast = _create(session, edition_id, clock)
        SOURCE.fill(session, now=clock.now(), limit=9)
        until = clock.real() + timedelta(seconds=45)
        (entry,) = due_rows.claim(session, worker="w", limit=9, now=clock.now(), lease_until=until)
        SOURCE.settle(session, [Result(entry=entry, state="failed")], now=clock.now())
        assert broadcasts.get(session, broadcast.id).state == "filling"


def test_sending_is_in_the_audit_and_a_number_that_nobody_knows_is_told(
    database: Database, clock: StoppedClock, edition_id: int
) -> None:
    with database.write() as session:
        broadcast = _create(session, edition_id, clock)
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.actor, entry.action, entry.subject) == (
            "staff",
            "broadcast send",
            f"broadcast {broadcast.id}",
        )
        with pytest.raises(NotFound, match="no broadcast number 99"):
            broadcasts.get(session, 99)


def test_a_long_subject_is_cut_alike_on_both_databases(
    database: Database, clock: StoppedClock, edition_id: int
) -> None:
    with database.write() as session:
        broadcast = broadcasts.create(
            session, subject="ñ" * 400, audience="x", edition_id=edition_id, now=clock.now(), actor="staff"
        )
        assert broadcast.subject == "ñ" * 300


@on_postgresql
def test_a_recall_waits_for_the_batch_that_is_being_put_in_and_misses_none_of_it(
    database: Database, clock: StoppedClock, edition_id: int
) -> None:
    with database.write() as session:
        crowd.add(session, 6, list="interest", now=clock.now())
        number = _create(session, edition_id, clock).id

    def fill(session: Session) -> int:
        return SOURCE.fill(session, now=clock.now(), limit=3)

    def recall(session: Session) -> bool:
        return broadcasts.recall(session, number, now=clock.now(), actor="staff")

    assert behind(database, holding=fill, then=recall)
    with database.write() as session:
        assert SOURCE.fill(session, now=clock.now(), limit=3) == 0
        assert broadcasts.withdraw(session, limit=10) == 3
        assert stats.count_by_kind_and_state(session) == {("broadcast", "cancelled"): 3}


def test_a_recalled_update_is_cleared_up_in_batches_and_no_other_is_touched(
    database: Database, clock: StoppedClock, edition_id: int
) -> None:
    with database.write() as session:
        crowd.add(session, 25, list="interest", now=clock.now())
        wrong, right = (_create(session, edition_id, clock).id for _ in range(2))
    _fill(database, clock, limit=100)
    with database.write() as session:
        assert broadcasts.recall(session, wrong, now=clock.now(), actor="staff")
        assert not broadcasts.recall(session, wrong, now=clock.advance(days=1), actor="staff")
        assert [broadcasts.withdraw(session, limit=10) for _ in range(4)] == [10, 10, 5, 0]
        states = select(OutboxRow.ref, OutboxRow.state, OutboxRow.reason).distinct()
        assert {tuple(row) for row in session.execute(states)} == {
            (wrong, "cancelled", Reason.RECALLED),
            (right, "queued", ""),
        }
        actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
        assert actions[-1:] == ["broadcast recall"]
        with pytest.raises(NotFound):
            broadcasts.recall(session, 99, now=clock.now(), actor="staff")


def test_what_was_claimed_before_a_recall_does_not_leave_after_it(service: Service, ben: Person) -> None:
    number = relays.broadcast(service)
    now = service.clock.now()
    with service.database.write() as session:
        until = service.clock.real() + timedelta(minutes=1)
        (entry,) = due_rows.claim(session, worker="a worker", limit=5, now=now, lease_until=until)
        broadcasts.recall(session, number, now=now, actor="staff")
        assert broadcasts.withdraw(session, limit=10) == 0
        (result,) = service.composer.compose(session, [entry], now=now)
    assert isinstance(result, Result)
    assert (result.state, result.reason) == ("cancelled", Reason.RECALLED)


def test_an_unknown_message_of_a_recalled_update_is_not_sent_once_more(service: Service, ben: Person) -> None:
    number = relays.broadcast(service)
    with service.database.write() as session:
        session.execute(update(OutboxRow).values(state="unknown", reason=Reason.WORKER_DIED))
    mailer, (row,) = commands.mailer(service), relays.rows(service)
    assert mailer("broadcast", "recall", number, "--yes").status == 0
    assert mailer("outbox", "resolve", row.id, "--resend").status == 0
    assert service.deliver_until_empty().sent == 0
    assert relays.states(service) == {"cancelled": 1}
