"""Health: /health reports in sentences whether everything automatic works, without personal data."""

import json
import shutil
from collections import namedtuple
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from lists.db import EPOCH, MICROSECOND, Database
from lists.errors import StorageError
from mailer.coordination import counters, heartbeat, job_runs, leases, send_hold, signup_throttle, suspensions
from mailer.coordination.job_runs import FinishedRun
from mailer.coordination.rate_limits import RateLimit
from mailer.delivery.worker_lease import LEASE
from mailer.library import law_cards
from mailer.monitoring import health
from mailer.outbox import due_rows
from mailer.service import Service
from mailer.tryout import time_machine
from tests.clocks import StoppedClock
from tests.mailer.web.visitor import Visitor
from tests.people import Person
from tests.relays import DOWN, LATER, World, broadcast, confirmation, deliver
from tests.statements import recorded

USAGE = namedtuple("USAGE", "total used free")


def record_processes(service: Service) -> None:
    """Record what running processes record: a worker's heartbeat, and the scheduler's lease."""
    real = service.clock.real()
    with service.database.write() as session:
        heartbeat.beat(session, "worker", real=real)
        leases.acquire(session, leases.SCHEDULER, owner="us", real=real, length=timedelta(seconds=30))


def read_health(visitor: Visitor) -> tuple[int, dict[str, Any]]:
    answer = visitor.get("/health")
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, Any] = json.loads(answer.content)
    assert (body["status"] == "ok") == (answer.status_code == 200)
    return answer.status_code, body["checks"]


def list_troubles(visitor: Visitor) -> dict[str, str]:
    status, checks = read_health(visitor)
    sentences = {name: check["sentence"] for name, check in checks.items() if check["status"] == "trouble"}
    assert status == (503 if sentences else 200)
    return sentences


def list_notices(visitor: Visitor) -> list[str]:
    return [name for name, check in read_health(visitor)[1].items() if check["status"] == "notice"]


def test_all_is_well_where_a_worker_beats_and_the_schedule_is_kept(
    service: Service, visitor: Visitor, ana: Person, ben: Person, cleo: Person
) -> None:
    record_processes(service)
    assert (list_troubles(visitor), list_notices(visitor)) == ({}, [])
    assert visitor.ask("HEAD", "/health").status_code == 200


def test_it_tells_no_numbers_no_addresses_and_no_versions(
    service: Service, visitor: Visitor, ana: Person, ben: Person, cleo: Person
) -> None:
    confirmation(service, ben)
    for _ in range(2):
        body = visitor.get("/health").text
        assert not any(character.isdigit() for character in body)
        assert "@" not in body
        record_processes(service)


def test_a_new_installation_says_that_nobody_works_in_it_yet(visitor: Visitor) -> None:
    assert set(list_troubles(visitor)) == {"delivery", "schedule"}


def queue_for(service: Service, clock: StoppedClock, *, for_seconds: float) -> None:
    """Let messages be due for so long; then record the running processes."""
    broadcast(service)
    clock.advance(seconds=for_seconds)
    record_processes(service)


def test_nothing_moves_though_a_worker_beats(
    service: Service, visitor: Visitor, clock: StoppedClock, world: World, ben: Person, cleo: Person
) -> None:
    queue_for(service, clock, for_seconds=80)
    assert list_troubles(visitor) == {}
    queue_for(service, clock, for_seconds=11)
    assert list_troubles(visitor) == {
        "delivery": "Messages are due, delivery is running, and yet nothing moves."
    }
    deliver(service, world)
    assert list_troubles(visitor) == {}


def test_what_is_being_sent_or_was_a_moment_ago_moves(
    service: Service, visitor: Visitor, clock: StoppedClock, ben: Person
) -> None:
    queue_for(service, clock, for_seconds=91)
    with service.database.write() as session:
        counters.add(session, {"refused": 1}, slot=1, now=clock.now() - timedelta(seconds=30))
    assert list_troubles(visitor) == {}
    clock.advance(seconds=91)
    record_processes(service)
    assert "delivery" in list_troubles(visitor)
    with service.database.write() as session:
        until = clock.real() + LEASE
        assert due_rows.claim(session, worker="worker", limit=1, now=clock.now(), lease_until=until)
    broadcast(service)
    clock.advance(seconds=29)
    record_processes(service)
    assert list_troubles(visitor) == {}, "a slow server is waited for"


@pytest.mark.parametrize("why", ["a slow rate", "a pause", "a restore"])
def test_what_waits_for_a_reason_of_its_own_does_not_stand_still(
    service: Service, visitor: Visitor, clock: StoppedClock, ben: Person, why: str
) -> None:
    queue_for(service, clock, for_seconds=3_600)
    with service.database.write() as session:
        if why == "a slow rate":
            session.add(
                RateLimit(scope="relay/relay.example:25", free_at=clock.real() + timedelta(minutes=20))
            )
        elif why == "a pause":
            suspensions.begin_by_staff(session, "relay/relay.example:25", real=clock.real())
        else:
            send_hold.begin(session, backup_at=clock.now(), run="a", now=clock.now())
    assert "delivery" not in list_troubles(visitor)


@pytest.mark.parametrize(("minutes", "sentence"), [(10, "behind"), (-10, "ahead of"), (1, ""), (-1, "")])
def test_a_clock_that_is_wrong_is_told_whichever_way(
    service: Service, visitor: Visitor, clock: StoppedClock, minutes: int, sentence: str
) -> None:
    record_processes(service)
    with service.database.write() as session:
        heartbeat.beat(session, "far away", real=clock.real(), skew=timedelta(minutes=minutes))
    _, checks = read_health(visitor)
    assert checks["clock"]["status"] == ("notice" if sentence else "ok")
    assert f"minutes {sentence}" in checks["clock"]["sentence"] or not sentence
    with service.database.write() as session:
        heartbeat.beat(session, "far away", real=clock.real())
    assert list_notices(visitor) == [], "it was set right"


def test_a_worker_that_is_silent_is_dead(service: Service, visitor: Visitor, clock: StoppedClock) -> None:
    record_processes(service)
    clock.advance(seconds=36)
    assert list_troubles(visitor)["delivery"] == "No delivery process is running."
    record_processes(service)
    assert list_troubles(visitor) == {}
    with service.database.write() as session:
        heartbeat.end(session, "worker")
    assert "delivery" in list_troubles(visitor)


def test_a_schedule_that_nobody_keeps_is_told_except_while_the_time_machine_moves(
    service: Service, visitor: Visitor, clock: StoppedClock
) -> None:
    record_processes(service)
    with service.database.write() as session:
        leases.release(session, leases.SCHEDULER, owner="us", real=clock.real() - timedelta(seconds=1))
    assert set(list_troubles(visitor)) == {"schedule"}
    with service.database.write() as session:
        leases.acquire(
            session, time_machine.LEASE_NAME, owner="machine", real=clock.real(), length=timedelta(minutes=10)
        )
    assert list_troubles(visitor) == {}


def test_a_job_that_failed_is_told_until_it_runs_well(
    service: Service, visitor: Visitor, clock: StoppedClock
) -> None:
    record_processes(service)
    for fault, names in [("KeyError", {"schedule"}), ("", set())]:
        with service.database.write() as session:
            job_runs.record(session, [FinishedRun(job="expire", at=clock.real(), seconds=0.1, fault=fault)])
        assert set(list_troubles(visitor)) == names


def test_a_confirmation_that_waits_for_a_minute_is_told(
    service: Service, visitor: Visitor, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    confirmation(service, ben)
    clock.advance(seconds=59)
    record_processes(service)
    assert list_troubles(visitor) == {}
    clock.advance(seconds=2)
    record_processes(service)
    assert set(list_troubles(visitor)) == {"confirmations"}
    clock.advance(days=3)  # it is too late to send, and the job that gives it up has not run
    record_processes(service)
    assert list_troubles(visitor) == {}


def test_a_confirmation_that_no_server_answers_for_a_minute_is_told(
    service: Service, visitor: Visitor, clock: StoppedClock, ben: Person, cleo: Person
) -> None:
    confirmation(service, ben)
    lease = clock.real() + timedelta(minutes=9)
    with service.database.write() as session:
        due_rows.claim(session, worker="worker", limit=1, now=clock.now(), lease_until=lease)
    for seconds, is_reported in ((59, False), (2, True)):
        clock.advance(seconds=seconds)
        record_processes(service)
        assert ("does not answer" in list_troubles(visitor).get("confirmations", "")) == is_reported


def test_a_worker_whose_connections_all_wait_for_answers_is_told(
    service: Service, visitor: Visitor, clock: StoppedClock
) -> None:
    record_processes(service)
    for stalled in (True, False):
        with service.database.write() as session:
            heartbeat.beat(session, "worker", real=clock.real(), stalled=stalled)
        assert ("all connections wait" in list_troubles(visitor).get("mail server", "")) == stalled


def test_a_server_that_asks_to_wait_is_no_trouble_and_one_that_is_down_is(
    service: Service, visitor: Visitor, clock: StoppedClock, ben: Person, world: World
) -> None:
    confirmation(service, ben)
    world.answer = lambda _: LATER
    deliver(service, world)
    clock.advance(minutes=2)
    record_processes(service)
    assert list_troubles(visitor) == {}
    clock.advance(minutes=3, seconds=30)  # due again for half a minute
    world.answer = lambda _: DOWN
    deliver(service, world)
    record_processes(service)
    assert set(list_troubles(visitor)) == {"mail server"}


def test_a_confirmation_that_never_reaches_a_server_waits_though_it_is_due_anew_each_time(
    service: Service, visitor: Visitor, clock: StoppedClock, ben: Person, world: World
) -> None:
    confirmation(service, ben)
    clock.advance(seconds=61)
    world.answer = lambda _: DOWN
    deliver(service, world)
    record_processes(service)
    assert set(list_troubles(visitor)) == {"mail server", "confirmations"}


def test_what_a_dead_worker_claimed_and_nobody_put_back_is_told(
    service: Service, visitor: Visitor, clock: StoppedClock, ben: Person
) -> None:
    confirmation(service, ben)
    past = clock.real() - timedelta(minutes=2)
    with service.database.write() as session:
        session.execute(
            text("UPDATE outbox SET state = 'sending', lease_until = :past"), {"past": _micros(past)}
        )
    record_processes(service)
    assert "dead worker" in list_troubles(visitor)["delivery"]


def test_a_clock_that_was_set_back_is_told(service: Service, visitor: Visitor, clock: StoppedClock) -> None:
    record_processes(service)
    clock.set(clock.real() - timedelta(hours=1))
    assert set(list_troubles(visitor)) == {"clock"}


def test_a_disk_that_is_almost_full_is_told(
    service: Service, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_processes(service)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: USAGE(10**12, 10**12, 10**6))
    assert set(list_troubles(visitor)) == {"disk"}

    def fail(_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(shutil, "disk_usage", fail)
    assert "cannot be reached" in list_troubles(visitor)["disk"]


def test_a_database_that_is_away_or_not_ours_is_told(
    service: Service, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_processes(service)
    with service.database.write() as session:
        session.execute(text("ALTER TABLE pulses RENAME TO elsewhere"))
    assert set(list_troubles(visitor)) == {"database"}

    def fail(_self: Database) -> None:
        raise StorageError("away")

    monkeypatch.setattr(Database, "read", fail)
    assert set(list_troubles(visitor)) == {"database"}


def test_it_costs_one_question_whatever_there_is(
    service: Service, visitor: Visitor, ana: Person, ben: Person
) -> None:
    record_processes(service)
    confirmation(service, ben)
    with recorded(service.database) as statements:
        health.run_checks(service.database, StoppedClock(), home=service.settings.home)
    assert len(statements) == 1


def test_beats_are_written_and_the_long_silent_are_forgotten(database: Database, clock: StoppedClock) -> None:
    with database.write() as session:
        heartbeat.beat(session, "old", real=clock.real())
        clock.advance(days=2)
        heartbeat.beat(session, "one", real=clock.real())
        heartbeat.beat(session, "one", real=clock.advance(seconds=10))
        heartbeat.beat(session, "two", real=clock.real())
        assert heartbeat.count_alive(session, real=clock.real()) == 2
        assert set(session.scalars(text("SELECT worker FROM pulses"))) == {"one", "two"}


def _micros(moment: Any) -> int:
    return int((moment - EPOCH) // MICROSECOND)


def test_a_network_that_is_turned_away_is_told_of_and_all_who_are_turned_away_are_trouble(
    service: Service, visitor: Visitor, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signup_throttle, "SIGNUPS_PER_NETWORK", 2)
    monkeypatch.setattr(signup_throttle, "SIGNUPS_TOTAL", 4)

    def sign_up(network: int) -> None:
        with service.database.write() as session:
            signup_throttle.admit_signup(session, bytes([network] * 16), now=clock.now())

    record_processes(service)
    assert read_health(visitor)[1]["sign-ups"]["sentence"] == "Nobody who signs up is turned away."
    for _ in range(3):
        sign_up(1)
    assert (list_troubles(visitor), list_notices(visitor)) == ({}, ["sign-ups"])
    assert "from one network" in read_health(visitor)[1]["sign-ups"]["sentence"]
    for network in (2, 3, 4):
        sign_up(network)
    assert list(list_troubles(visitor)) == ["sign-ups"]
    clock.advance(hours=1)
    record_processes(service)
    assert list_troubles(visitor) == {}


def test_a_card_that_expired_is_a_notice_because_the_service_works(
    service: Service, visitor: Visitor, clock: StoppedClock
) -> None:
    with service.database.write() as session:
        law_cards.add(
            session,
            state="NY",
            text={"en": "A made-up rule.", "es": "Una regla inventada."},
            source="https://law.example.org/ny",
            checked_on="",
            checked_by="the tests",
            now=clock.now(),
            actor="staff",
        )
    clock.advance(days=91)
    record_processes(service)
    assert (list_troubles(visitor), list_notices(visitor)) == ({}, ["facts"])
    assert 'mailer_check_ok{check="facts"} 1.0' in visitor.get("/metrics").text
