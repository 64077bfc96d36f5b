"""What people notice while an update is sent: leaving and recalling take effect, a confirmation overtakes."""

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
AHEAD = (10, 15, 20, 30, 50, 100, 200, 500)  # how far the leaving people are behind the present recipient
WATCHED_SECONDS = 20.0
SILENCE_SECONDS = 5.0  # in which nothing more may begin


def timelines(people: int) -> Iterator[Line]:
    """During an update, some people leave the list, some join, staff recall it: the delay of each effect."""
    with running(people=people) as service:
        service.until(lambda: service.peer.total > people // 50, what="the first messages of the update")
        yield _leaving(service)
        yield _joining(service, people)
        if service.peer.total >= people:
            raise SystemExit("the update was over too early to say anything; measure with more people")
        yield _recalling(service, people)


def memory(people: int) -> Iterator[Line]:
    """Return the highest memory of the two processes while so many messages wait and the first are sent."""
    with running(people=people) as service:
        service.until(lambda: service.peer.total > 0, what="the first message")
        end = time.monotonic() + WATCHED_SECONDS
        service.until(lambda: time.monotonic() > end, what="the time to be over")
        for name, process in service.processes().items():
            yield megabytes(f"memory of “mailer {name}”, {people:,} messages waiting", _peak(process), MEMORY)


def _leaving(service: Running) -> Line:
    """Let people leave who are next in the outbox, by one click, one after the other."""
    left_at: dict[str, float] = {}
    began = time.monotonic()
    for each in range(LEAVERS):
        reader = service.peer.total + AHEAD[each % len(AHEAD)]
        path = urlsplit(service.service.links.unsubscribe_url(reader, "interest")).path
        answered_at = service.post(path, {"List-Unsubscribe": "One-Click"})
        left_at[f"neighbor{reader}@example.org"] = answered_at
    duration = (time.monotonic() - began) / len(left_at)
    service.until(lambda: service.peer.total > reader + max(AHEAD), what="those after the last who left")
    delays = [
        service.peer.begun[address] - moment
        for address, moment in left_at.items()
        if address in service.peer.begun
    ]
    positive_delays = [each for each in delays if each > 0]
    spared_count = sum(address not in service.peer.begun for address in left_at)
    about = f"of {len(left_at)} who left, {duration * 1000:.0f} ms each,"
    about += f" {spared_count} were not written to any more"
    return at_most(
        "a message begun after a leave's answer", max(positive_delays, default=0.0), HEEDED, about=about
    )


def _joining(service: Running, people: int) -> Line:
    """Let newcomers sign up; each waits for the confirmation before the next."""
    waits = []
    for each in range(JOINERS):
        newcomer = f"newcomer{each}@example.net"
        answered_at = service.post("/join", {"email": newcomer, "zip": "10001", "language": "en"})
        service.until(lambda: newcomer in service.peer.taken, what=f"the confirmation of {newcomer}")  # noqa: B023
        waits.append(service.peer.at[newcomer] - answered_at)
    about = f"the longest of {len(waits)}, median {statistics.median(waits) * 1000:.0f} ms"
    what = f"a confirmation behind {people - service.peer.total:,} waiting messages"
    return at_most(what, max(waits), OVERTAKEN, about=about)


def _recalling(service: Running, people: int) -> Line:
    """Recall the update in the middle of it."""
    with service.service.database.write() as session:
        (update,) = broadcasts.list_all(session)
        broadcasts.recall(session, update.id, now=service.service.clock.now(), actor="the benchmark")
    committed = time.monotonic()
    service.until(lambda: time.monotonic() > committed + SILENCE_SECONDS, what="the silence after it")
    last = max(service.peer.begun.values()) - committed
    about = f"{people - service.peer.total:,} were not written to any more"
    return at_most("a message begun after a recall", max(last, 0.0), HEEDED, about=about)


def _peak(process: int) -> float:
    """Return the highest memory of a process, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not tell VmHWM")
