"""A rush of people who join while an update is sent, measured at the page.

A request is sent when it is due, whether or not those before are answered, and its time counts from there:
waiting behind other requests is not hidden.
"""

import asyncio
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from mailer.web.routes import RESPONSE_STEP_SECONDS
from tests.bench.running import Running, running
from tests.bench.table import Line, at, at_most

ANSWER_SECONDS = 0.25
A_SECOND = 100
CONNECTIONS = 64  # kept alive; at 150 ms an answer, fifteen are at work
LEAD_SECONDS = 0.5  # for the connections to be opened before the first is due
PROXY = "127.0.0.1"
LENGTH = re.compile(rb"^content-length: (\d+)\r$", re.IGNORECASE | re.MULTILINE)


@dataclass(kw_only=True)
class Rush:
    """So many joins: the time of each from when it was due, when it was answered, and the statuses."""

    joins: int
    durations: list[float] = field(default_factory=list)
    answer_times: dict[str, float] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    async def run(self, address: str) -> None:
        """Send each join when it is due."""
        url, begin = urlsplit(address), time.monotonic() + LEAD_SECONDS
        numbers = iter(range(self.joins))

        async def send_joins() -> None:
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
            for number in numbers:
                due = begin + number / A_SECOND
                await asyncio.sleep(max(due - time.monotonic(), 0))
                writer.write(_request(number, host=url.netloc))
                self.statuses[await _answer(reader)] += 1
                now = time.monotonic()
                self.durations.append(now - due)
                self.answer_times[_newcomer(number)] = now
            writer.close()

        await asyncio.gather(*(send_joins() for _ in range(CONNECTIONS)))


def rushed(people: int, seconds: int) -> Iterator[Line]:
    """During an update to so many people, a hundred a second join for so many seconds."""
    rush = Rush(joins=A_SECOND * seconds)
    with running(people=people, proxies=(PROXY,)) as service:
        service.until(lambda: service.peer.total > people // 50, what="the first messages of the update")
        rate_before = _rate(service, lambda: time.sleep(seconds))
        cpu = service.cpu("serve")
        rate_meanwhile = _rate(service, lambda: asyncio.run(rush.run(service.address)))
        cpu = (service.cpu("serve") - cpu) / rush.joins
        if service.peer.total >= people:
            raise SystemExit("the update was over too early to say anything; measure with more people")
        if rush.statuses != {200: rush.joins}:
            raise SystemExit(f"not everybody who joined was thanked: {dict(rush.statuses)}")
        newcomers = set(rush.answer_times)
        service.until(
            lambda: newcomers <= service.peer.taken.keys(), what="the confirmations of all who joined"
        )
        waits = [
            service.peer.at[newcomer] - answered_at for newcomer, answered_at in rush.answer_times.items()
        ]
    late = sum(each > ANSWER_SECONDS for each in rush.durations)
    floor = f"the door answers at multiples of {RESPONSE_STEP_SECONDS * 1000:.0f} ms by design"
    about = f"{floor}; median {statistics.median(rush.durations) * 1000:.0f} ms, "
    about += f"slowest {max(rush.durations) * 1000:.0f} ms, {late} of {rush.joins:,} later than the target"
    about += f"; the service took {cpu * 1000:.1f} ms of CPU for each"
    yield at_most(
        f"{A_SECOND} joins a second, p99 of the answers",
        at(rush.durations, 0.99),
        ANSWER_SECONDS,
        about=about,
    )
    wait = f"{max(waits) * 1000:.0f} ms, median {statistics.median(waits) * 1000:.0f} ms"
    yield Line(what="the longest wait for a confirmation after the answer", found=wait)
    yield Line(what="messages a second meanwhile", found=f"{rate_meanwhile:,.0f}; before {rate_before:,.0f}")


def _rate(service: Running, work: Callable[[], None]) -> float:
    """Return how many messages a second arrive during the work."""
    began, total_before = time.monotonic(), service.peer.total
    work()
    return (service.peer.total - total_before) / (time.monotonic() - began)


def _newcomer(number: int) -> str:
    return f"newcomer{number}@example.net"


def _request(number: int, *, host: str) -> bytes:
    """Return a join as forwarded by a proxy, from a client in a network of its own: no throttle applies."""
    body = urlencode({"email": _newcomer(number), "zip": "10001", "language": "en"})
    lines = (
        "POST /join HTTP/1.1",
        f"Host: {host}",
        f"X-Forwarded-For: 10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", body)).encode()


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read one response to its end; returns its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH.search(head)
    assert length is not None, head
    await reader.readexactly(int(length[1]))
    return int(head.split(b" ", 2)[1])
