"""Held rows wait until their reason ends, and rows that are too late expire, in any number."""

import re
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from lists import subscriptions
from lists.contacts import Contact
from lists.db import Database
from mailer.compose import tokens
from mailer.compose.composer import ReadyMessage
from mailer.jobs import jobs
from mailer.jobs.jobs import Jobs
from mailer.outbox import held_messages, outbox, stats
from mailer.outbox.outbox import Result
from mailer.reasons import Reason
from mailer.service import Service
from tests import crowd
from tests.clocks import StoppedClock
from tests.desk import Desk, read
from tests.people import Person
from tests.statements import recorded


@pytest.fixture
def desk(database: Database, clock: StoppedClock) -> Desk:
    return Desk(database, clock)


@pytest.fixture
def table(service: Service) -> Jobs:
    return service.jobs


def _hold(desk: Desk) -> None:
    """Put an update into the outbox, pause its recipients before it is composed, and hold it."""
    desk.update()
    _pause(desk, until=desk.clock.now() + timedelta(days=2))
    results = [result for result in desk.compose(desk.claim()) if isinstance(result, outbox.Result)]
    with desk.database.write() as session:
        outbox.record(session, results, now=desk.clock.now())
    assert results


def _pause(desk: Desk, *, until: datetime) -> None:
    with desk.database.write() as session:
        for number in session.scalars(select(Contact.id)).all():
            subscriptions.pause(session, contact_id=number, until=until)


def _states(desk: Desk) -> dict[str, int]:
    with desk.database.read() as session:
        return {state: number for (_, state), number in stats.count_by_kind_and_state(session).items()}


def _release(table: Jobs) -> int:
    return table.get("release-held").run()


def test_what_was_held_for_a_pause_leaves_when_the_pause_is_over(
    desk: Desk, table: Jobs, clock: StoppedClock, ben: Person
) -> None:
    _hold(desk)
    clock.advance(days=2, microseconds=-1)
    assert (_release(table), _states(desk)) == (0, {"held": 1})
    clock.advance(microseconds=1)
    assert (_release(table), _states(desk)) == (1, {"queued": 1})


def test_what_was_held_for_somebody_who_left_is_cancelled(
    desk: Desk, table: Jobs, clock: StoppedClock, ben: Person
) -> None:
    _hold(desk)
    with desk.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=clock.now())
    assert (_release(table), _states(desk)) == (1, {"cancelled": 1})


def test_releasing_takes_as_many_statements_for_many_as_for_one(
    desk: Desk, table: Jobs, clock: StoppedClock, ben: Person
) -> None:
    counts = []
    for number in (0, 30):
        with desk.database.write() as session:
            crowd.add(session, number, list="interest", now=clock.now())
        _hold(desk)
        with recorded(desk.database) as executed:
            assert _release(table) == 0
        counts.append(len(executed))
        clock.advance(days=2)
        _release(table)
        desk.claim()
    assert counts[0] == counts[1]


def test_everything_that_is_too_late_is_given_up_in_one_run(
    desk: Desk, table: Jobs, clock: StoppedClock, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "EXPIRE_BATCH", 4)
    with desk.database.write() as session:
        crowd.add(session, 9, list="interest", now=clock.now())
    desk.update()
    clock.advance(days=5)
    assert table.get("expire").run() == 10
    assert _states(desk) == {"expired": 10}


def test_a_mail_whose_own_link_to_leave_would_fail_is_held_until_a_version_that_reads_it(
    service: Service, desk: Desk, ben: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "clergy-az"
    with desk.database.write() as session:
        subscription = subscriptions.ask(session, contact_id=ben.id, list=name, now=desk.clock.now())
        subscriptions.confirm(session, subscription_id=subscription.id, round=0, now=desk.clock.now())
    desk.update()
    desk.update(audience=name)
    service.jobs.get("release-held").run()
    with monkeypatch.context() as patch:
        patch.setitem(tokens._PAYLOADS, "unsubscribe", re.compile(r"[0-9]+\.[a-z][a-z_]{0,29}"))
        compositions = desk.compose(desk.claim())
    ready, held = compositions
    assert isinstance(ready, ReadyMessage) and isinstance(held, Result)
    assert (held.state, held.reason) == ("held", Reason.OUR_FAULT) and name in held.detail
    with desk.database.write() as session:
        outbox.record(session, [held], now=desk.clock.now())
    assert service.jobs.get("release-held").run() == 0
    with desk.database.write() as session:  # as `mailer serve` does when it starts
        assert held_messages.retry_held(session) == 1
    (message,) = [read(ready_message) for ready_message in desk.compose(desk.claim())]
    assert f"<{name}.{desk.composer.sender.domain}>" in message["List-Id"]
    assert desk.service.links.unsubscribe_url(ben.id, name) in message["List-Unsubscribe"]
