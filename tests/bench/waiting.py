"""What must stay short while there is much to do: a tick, a web write while filling, the help."""

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
    """One look at a million journeys of which none is due."""
    with installation(people=people) as built:
        now = built.clock.now()
        schedule = built.schedules[0]
        values = {"sequence": schedule.name, "steps": len(schedule.steps), "now": micros(now)}
        values["due"] = micros(now + timedelta(days=7))
        with built.database.write() as session:
            for place, step in enumerate(schedule.steps):
                session.execute(text(JOURNEYS), {**values, "step": step.name, "place": place})
        fill = built.jobs.get("fill-sequence")
        fill.run()
        took = statistics.median(_seconds(fill.run) for _ in range(TICKS))
        yield at_most(f"a tick over {people:,} idle journeys", took, TICK)
        frequent = [job for job in built.jobs.all() if job.every < timedelta(hours=1)]
        each = {job.name: statistics.median(_seconds(job.run) for _ in range(TICKS)) for job in frequent}
        slowest = max(each, key=lambda name: each[name])
        about = f"{slowest} {each[slowest] * 1000:.1f} ms"
        yield at_most("every job that runs within a minute, once", sum(each.values()), TICK, about=about)


def filling(people: int) -> Iterator[Line]:
    """An update to a million people is put into the outbox while others sign up on the web."""
    with installation(people=people) as built:
        broadcast(built, paragraphs=1)
        before = _size(built)
        filled = threading.Event()
        begun = time.perf_counter()
        thread = threading.Thread(target=_fill, args=(built, filled))
        thread.start()
        waits, refused = [], 0
        while not filled.is_set():
            asked = time.perf_counter()
            try:
                _sign_up(built, len(waits))
            except StorageError:
                refused += 1
            waits.append(time.perf_counter() - asked)
            time.sleep(BETWEEN_WRITES)
        thread.join()
        took = time.perf_counter() - begun
        with built.database.read() as session:
            assert stats.count_by_kind_and_state(session) == {("broadcast", "queued"): people}
        about = f"the longest of {len(waits)}, median {statistics.median(waits) * 1000:.0f} ms"
        about += f", {refused} gave up" if refused else ""
        yield at_most(f"a web write while {people:,} rows are filled", max(waits), WEB_WRITE, about=about)
        after = _size(built)
        rate = f"{took:.1f} s, {people / took:,.0f} a second, database {after / 1_000_000:,.0f} MB"
        yield Line(what=f"{people:,} recipients put into the outbox", found=rate)
        yield octets("a waiting row, with its part of every index", (after - before) / people, ROW)


def _size(built: Service) -> int:
    """How large the database is, in octets, whatever part of it the write-ahead log still holds."""
    with built.database.read() as session:
        return int(
            session.scalar(text("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"))
        )


def helping() -> Iterator[Line]:
    """The command line, asked for help."""
    command = [str(Path(sys.executable).with_name("mailer")), "--help"]
    if not Path(command[0]).exists():
        command = [sys.executable, "-c", "from mailer.cli import main; main()", "--help"]
    call = lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: E731
    took = statistics.median(_seconds(call) for _ in range(HELPS))
    yield at_most("mailer --help", took, HELP)


def _fill(built: Service, filled: threading.Event) -> None:
    try:
        built.jobs.get("fill-broadcast").run()
    finally:
        filled.set()


def _sign_up(built: Service, number: int) -> None:
    """What a join writes: a contact and a subscription that waits to be confirmed."""
    address = addresses.parse(f"newcomer{number}@example.org", pepper=built.keys.pepper)
    with built.database.write() as session:
        now = built.clock.now()
        contact = contacts.find_or_add(session, address, now=now, language="en", name="", place=None)
        subscriptions.ask(session, contact_id=contact.id, list="interest", now=now)


def _seconds(work: object) -> float:
    begun = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - begun
