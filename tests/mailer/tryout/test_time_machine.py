"""Time machine: it stops at every due moment, and never moves backward."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from lists.errors import BadInput, Conflict
from mailer.coordination import leases
from mailer.service import Service
from mailer.tryout import time_machine
from mailer.tryout.time_machine import MAX_ADVANCE, TimeMachine
from tests.clocks import StoppedClock
from tests.people import Person
from tests.relays import World, deliver

both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite, and PostgreSQL too where a test is marked `both`: the outbox's own tests run on each."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@dataclass
class FakeJobs:
    """Moments when something falls due; a tick completes them and records its time for each."""

    clock: StoppedClock
    moments: list[datetime] = field(default_factory=list)
    completed: list[datetime] = field(default_factory=list)
    drained: int = 0
    silent: bool = False

    def next_due(self, now: datetime) -> datetime | None:
        return min(self.moments, default=None)

    def tick(self) -> int:
        due = [moment for moment in self.moments if moment <= self.clock.now()]
        self.moments = [moment for moment in self.moments if moment not in due]
        self.completed += [self.clock.now() for _ in due]
        return 0 if self.silent else len(due)

    def drain(self) -> None:
        self.drained += 1


@pytest.fixture
def jobs(service: Service, clock: StoppedClock) -> FakeJobs:
    return FakeJobs(clock)


def machine(service: Service, jobs: FakeJobs) -> TimeMachine:
    return TimeMachine(
        database=service.database,
        clock=service.clock,
        next_due=jobs.next_due,
        tick=jobs.tick,
        drain=jobs.drain,
    )


@both
def test_advancing_stops_at_every_due_moment_on_the_way(
    service: Service, jobs: FakeJobs, clock: StoppedClock
) -> None:
    began = clock.now()
    moments = [began + timedelta(hours=hours) for hours in (1, 5, 5.001, 30, 47.9, 49)]
    jobs.moments = list(moments)
    assert machine(service, jobs).advance(timedelta(days=2)) == began + timedelta(days=2)
    assert jobs.completed == moments[:-1]
    assert jobs.moments == moments[-1:]
    assert clock.real() == began  # only the service's time moved


def test_what_is_due_exactly_at_the_target_happens_too(
    service: Service, jobs: FakeJobs, clock: StoppedClock
) -> None:
    jobs.moments = [clock.now() + timedelta(days=1)]
    machine(service, jobs).advance(timedelta(days=1))
    assert jobs.completed == [clock.now()]


def test_something_that_never_gets_done_does_not_stop_time(
    service: Service, jobs: FakeJobs, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = clock.now()
    monkeypatch.setattr(FakeJobs, "next_due", lambda self, now: stuck)
    ahead = machine(service, jobs).advance(timedelta(hours=1))
    assert ahead == stuck + timedelta(hours=1)
    assert jobs.drained < 70


@pytest.mark.parametrize(
    "length", [timedelta(0), timedelta(seconds=-1), timedelta(days=-3), MAX_ADVANCE + timedelta(seconds=1)]
)
def test_lengths_that_make_no_sense_are_refused_and_nothing_moves(
    service: Service, jobs: FakeJobs, clock: StoppedClock, length: timedelta
) -> None:
    began = clock.now()
    with pytest.raises(BadInput, match="up to 400 days at a time, and never back"):
        machine(service, jobs).advance(length)
    assert clock.now() == began
    machine(service, jobs).advance(MAX_ADVANCE)
    assert clock.now() == began + MAX_ADVANCE


def test_the_clock_never_goes_back(service: Service, clock: StoppedClock) -> None:
    real = clock.real()
    with service.database.write() as session:
        time_machine.move_clock_to(session, real + timedelta(days=3), real=real)
        time_machine.move_clock_to(session, real + timedelta(days=1), real=real)
        assert time_machine.get_offset(session) == timedelta(days=3)


def test_to_the_next_mail_goes_on_until_something_happens(
    service: Service, jobs: FakeJobs, clock: StoppedClock
) -> None:
    began = clock.now()
    jobs.moments = [began + timedelta(days=1), began + timedelta(days=9)]
    assert machine(service, jobs).advance_to_next() == began + timedelta(days=1)
    jobs.silent = True  # a pause that ends, a goal that is reached: no rows change
    assert machine(service, jobs).advance_to_next() == began + timedelta(days=9)
    assert machine(service, jobs).advance_to_next() is None
    assert clock.now() == began + timedelta(days=9)


def test_two_cannot_move_the_clock_at_once(service: Service, jobs: FakeJobs, clock: StoppedClock) -> None:
    with service.database.write() as session:
        leases.acquire(
            session, time_machine.LEASE_NAME, owner="other", real=clock.real(), length=timedelta(minutes=1)
        )
    with pytest.raises(Conflict, match="being moved already"):
        machine(service, jobs).advance(timedelta(days=1))
    assert jobs.drained == 0


def test_a_fault_on_the_way_lets_the_clock_be_moved_again(
    service: Service, jobs: FakeJobs, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: FakeJobs) -> None:
        raise Conflict("delivery is not running")

    with monkeypatch.context() as patched, pytest.raises(Conflict):
        patched.setattr(FakeJobs, "drain", broken)
        machine(service, jobs).advance(timedelta(days=1))
    began = clock.now()
    assert machine(service, jobs).advance(timedelta(days=1)) == began + timedelta(days=1)


def test_a_database_whose_clock_was_moved_is_refused_in_earnest(
    service: Service, jobs: FakeJobs, clock: StoppedClock
) -> None:
    with service.database.read() as session:
        time_machine.refuse_real_mail(session)
    machine(service, jobs).advance(timedelta(hours=1))
    with service.database.read() as session, pytest.raises(Conflict, match="used in a try-out"):
        time_machine.refuse_real_mail(session)


def test_every_process_lives_in_the_moved_moment(
    service: Service, jobs: FakeJobs, clock: StoppedClock
) -> None:
    other = time_machine.create_clock(service.database)
    before = other.now() - other.real()
    machine(service, jobs).advance(timedelta(days=2))
    assert timedelta(days=1, hours=23) < other.now() - other.real() - before < timedelta(days=2, minutes=1)


@both
def test_to_the_next_mail_brings_ben_his_next_one_on_a_monday_at_ten(
    service: Service, world: World, clock: StoppedClock, ben: Person
) -> None:
    real = service.time_machine(drain=lambda: deliver(service, world))
    real.advance(timedelta(minutes=1))
    assert world.arrived == [ben.email]
    moment = real.advance_to_next()
    assert world.arrived == [ben.email] * 2
    assert moment is not None and moment.isoformat() == "2026-10-26T17:00:00+00:00"
