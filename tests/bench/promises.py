"""What people notice while an update leaves: a leave and a recall are heeded, a confirmation overtakes."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from mailer.sources import broadcasts
from tests.bench.running import Running, running
from tests.bench.table import Line, at_most, megabytes

HEEDED, OVERTAKEN = 1.0, 1.0
MEMORY = 200.0
LEAVERS, JOINERS = 64, 8
AHEAD = (10, 15, 20, 30, 50, 100, 200, 500)  # how far those who leave stand behind who is written to now
WATCHED_SECONDS = 20.0
SILENCE_SECONDS = 5.0  # in which nothing more may begin


def timelines(people: int) -> Iterator[Line]:
    """While an update leaves, some leave the list, some join, staff recall it: how soon is each heeded?"""
    with running(people=people) as service:
        service.until(lambda: service.peer.total > people // 50, what="the first messages of the update")
        yield _leaving(service)
        yield _joining(service, people)
        if service.peer.total >= people:
            raise SystemExit("the update was over too early to say anything; measure with more people")
        yield _recalling(service, people)


def memory(people: int) -> Iterator[Line]:
    """How much memory the two processes ever took while so many messages wait and the first of them leave."""
    with running(people=people) as service:
        service.until(lambda: service.peer.total > 0, what="the first message")
        end = time.monotonic() + WATCHED_SECONDS
        service.until(lambda: time.monotonic() > end, what="the time to be over")
        for name, process in service.processes().items():
            yield megabytes(f"memory of “mailer {name}”, {people:,} messages waiting", _peak(process), MEMORY)


def _leaving(service: Running) -> Line:
    """Those leave who stand next in line, by one click, one after the other."""
    gone: dict[str, float] = {}
    asked = time.monotonic()
    for each in range(LEAVERS):
        reader = service.peer.total + AHEAD[each % len(AHEAD)]
        path = urlsplit(service.built.links.unsubscribe(reader, "interest")).path
        answered = service.post(path, {"List-Unsubscribe": "One-Click"})
        gone[f"neighbor{reader}@example.org"] = answered
    took = (time.monotonic() - asked) / len(gone)
    service.until(lambda: service.peer.total > reader + max(AHEAD), what="those after the last who left")
    late = [service.peer.begun[who] - moment for who, moment in gone.items() if who in service.peer.begun]
    after = [each for each in late if each > 0]
    spared = sum(who not in service.peer.begun for who in gone)
    about = f"of {len(gone)} who left, {took * 1000:.0f} ms each, {spared} were not written to any more"
    return at_most("a message begun after a leave's answer", max(after, default=0.0), HEEDED, about=about)


def _joining(service: Running, people: int) -> Line:
    """Newcomers ask to join; each waits for the confirmation before the next."""
    waits = []
    for each in range(JOINERS):
        newcomer = f"newcomer{each}@example.net"
        answered = service.post("/join", {"email": newcomer, "zip": "10001", "language": "en"})
        service.until(lambda: newcomer in service.peer.taken, what=f"the confirmation of {newcomer}")  # noqa: B023
        waits.append(service.peer.at[newcomer] - answered)
    about = f"the longest of {len(waits)}, median {statistics.median(waits) * 1000:.0f} ms"
    what = f"a confirmation behind {people - service.peer.total:,} waiting messages"
    return at_most(what, max(waits), OVERTAKEN, about=about)


def _recalling(service: Running, people: int) -> Line:
    """Staff recall the update in the middle of it."""
    with service.built.database.write() as session:
        (update,) = broadcasts.list_all(session)
        broadcasts.recall(session, update.id, now=service.built.clock.now(), actor="the benchmark")
    committed = time.monotonic()
    service.until(lambda: time.monotonic() > committed + SILENCE_SECONDS, what="the silence after it")
    last = max(service.peer.begun.values()) - committed
    about = f"{people - service.peer.total:,} were not written to any more"
    return at_most("a message begun after a recall", max(last, 0.0), HEEDED, about=about)


def _peak(process: int) -> float:
    """The most memory a process ever had, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not tell VmHWM")
