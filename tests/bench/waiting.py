"""What must stay short while there is much work: a tick, a web write during filling, the help."""

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from lists import addresses, contacts, subscriptions
from lists.errors import StorageError
from mailer.outbox import stats
from mailer.service import Service
from tests.bench.installation import JOURNEYS, broadcast, installation, micros
from tests.bench.table import Line, at_most, octets

TICK, WEB_WRITE, HELP = 0.05, 0.25, 0.4
ROW = 300
TICKS = 20
HELPS = 5
BETWEEN_WRITES = 0.03  # seconds: about thirty sign-ups a second, far more than a campaign sees


def ticks(people: int) -> Iterator[Line]:
    """Measure a tick over a million journeys of which none is due."""
    with installation(people=people) as service:
        now = service.clock.now()
        schedule = service.schedules[0]
        values = {"sequence": schedule.name, "steps": len(schedule.steps), "now": micros(now)}
        values["due"] = micros(now + timedelta(days=7))
        with service.database.write() as session:
            for place, step in enumerate(schedule.steps):
                session.execute(text(JOURNEYS), {**values, "step": step.name, "place": place})
        fill = service.jobs.get("fill-sequence")
        fill.run()
        duration = statistics.median(_seconds(fill.run) for _ in range(TICKS))
        yield at_most(f"a tick over {people:,} idle journeys", duration, TICK)
        frequent = [job for job in service.jobs.all() if job.every < timedelta(hours=1)]
        durations = {job.name: statistics.median(_seconds(job.run) for _ in range(TICKS)) for job in frequent}
        slowest = max(durations, key=lambda name: durations[name])
        about = f"{slowest} {durations[slowest] * 1000:.1f} ms"
        yield at_most("every job that runs within a minute, once", sum(durations.values()), TICK, about=about)


def filling(people: int) -> Iterator[Line]:
    """Measure web writes while an update to a million people is queued."""
    with installation(people=people) as service:
        broadcast(service, paragraphs=1)
        size_before = _size(service)
        is_filled = threading.Event()
        began = time.perf_counter()
        thread = threading.Thread(target=_fill, args=(service, is_filled))
        thread.start()
        waits, refusal_count = [], 0
        while not is_filled.is_set():
            write_began = time.perf_counter()
            try:
                _sign_up(service, len(waits))
            except StorageError:
                refusal_count += 1
            waits.append(time.perf_counter() - write_began)
            time.sleep(BETWEEN_WRITES)
        thread.join()
        duration = time.perf_counter() - began
        with service.database.read() as session:
            assert stats.count_by_kind_and_state(session) == {("broadcast", "queued"): people}
        about = f"the longest of {len(waits)}, median {statistics.median(waits) * 1000:.0f} ms"
        about += f", {refusal_count} gave up" if refusal_count else ""
        yield at_most(f"a web write while {people:,} rows are filled", max(waits), WEB_WRITE, about=about)
        size_after = _size(service)
        rate = (
            f"{duration:.1f} s, {people / duration:,.0f} a second, database {size_after / 1_000_000:,.0f} MB"
        )
        yield Line(what=f"{people:,} recipients put into the outbox", found=rate)
        yield octets("a waiting row, with its part of every index", (size_after - size_before) / people, ROW)


def _size(service: Service) -> int:
    """Return the size of the database in octets, including its part in the write-ahead log."""
    with service.database.read() as session:
        return int(
            session.scalar(text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"))
        )


def helping() -> Iterator[Line]:
    """Measure the help of the command line."""
    command = [str(Path(sys.executable).with_name("mailer")), "--help"]
    if not Path(command[0]).exists():
        command = [sys.executable, "-c", "from mailer.cli import main; main()", "--help"]
    call = lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    took = statistics.median(_seconds(call) for _ in range(HELPS))
    yield at_most("mailer --help", took, HELP)


def _fill(service: Service, is_filled: threading.Event) -> None:
    try:
        service.jobs.get("fill-broadcast").run()
    finally:
        is_filled.set()


def _sign_up(service: Service, number: int) -> None:
    """Write what a join writes: a contact and a subscription that waits to be confirmed."""
    address = addresses.parse(f"newcomer{number}@example.org", pepper=service.keys.pepper)
    with service.database.write() as session:
        now = service.clock.now()
        contact = contacts.find_or_add(session, address, now=now, language="en", name="", place=None)
        subscriptions.ask(session, contact_id=contact.id, list="interest", now=now)


def _seconds(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began
