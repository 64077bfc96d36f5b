"""A rush of people who join while an update leaves, each by the page and by the clock.

The requests are sent when each is due, whether or not those before are answered, and an answer's time counts
from there: who has to wait because others wait is not hidden.
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

ANSWERED = 0.25
A_SECOND = 100
CONNECTIONS = 64  # kept alive; at 150 ms an answer, fifteen are at work
LEAD_SECONDS = 0.5  # for the connections to be opened before the first is due
PROXY = "127.0.0.1"
LENGTH = re.compile(rb"^content-length: (\d+)\r$", re.IGNORECASE | re.MULTILINE)


@dataclass(kw_only=True)
class Rush:
    """So many joins: how long each took from when it was due, when it was answered, and with which status."""

    joins: int
    took: list[float] = field(default_factory=list)
    answered: dict[str, float] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    async def run(self, address: str) -> None:
        """Let everybody join at their moment."""
        place, begin = urlsplit(address), time.monotonic() + LEAD_SECONDS
        numbers = iter(range(self.joins))

        async def one() -> None:
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            for number in numbers:
                due = begin + number / A_SECOND
                await asyncio.sleep(max(due - time.monotonic(), 0))
                writer.write(_request(number, host=place.netloc))
                self.statuses[await _answer(reader)] += 1
                now = time.monotonic()
                self.took.append(now - due)
                self.answered[_newcomer(number)] = now
            writer.close()

        await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


def rushed(people: int, seconds: int) -> Iterator[Line]:
    """While an update to so many leaves, a hundred a second join for so many seconds."""
    rush = Rush(joins=A_SECOND * seconds)
    with running(people=people, proxies=(PROXY,)) as service:
        service.until(lambda: service.peer.total > people // 50, what="the first messages of the update")
        before = _rate(service, lambda: time.sleep(seconds))
        cpu = service.cpu("serve")
        meanwhile = _rate(service, lambda: asyncio.run(rush.run(service.address)))
        cpu = (service.cpu("serve") - cpu) / rush.joins
        if service.peer.total >= people:
            raise SystemExit("the update was over too early to say anything; measure with more people")
        if rush.statuses != {200: rush.joins}:
            raise SystemExit(f"not everybody who joined was thanked: {dict(rush.statuses)}")
        everybody = set(rush.answered)
        service.until(
            lambda: everybody <= service.peer.taken.keys(), what="the confirmations of all who joined"
        )
        waits = [service.peer.at[who] - answered for who, answered in rush.answered.items()]
    late = sum(each > ANSWERED for each in rush.took)
    floor = f"the door answers at multiples of {RESPONSE_STEP_SECONDS * 1000:.0f} ms by design"
    about = f"{floor}; median {statistics.median(rush.took) * 1000:.0f} ms, "
    about += f"slowest {max(rush.took) * 1000:.0f} ms, {late} of {rush.joins:,} later than the target"
    about += f"; the service took {cpu * 1000:.1f} ms of CPU for each"
    yield at_most(
        f"{A_SECOND} joins a second, p99 of the answers", at(rush.took, 0.99), ANSWERED, about=about
    )
    wait = f"{max(waits) * 1000:.0f} ms, median {statistics.median(waits) * 1000:.0f} ms"
    yield Line(what="the longest wait for a confirmation after the answer", found=wait)
    yield Line(what="messages a second meanwhile", found=f"{meanwhile:,.0f}; before {before:,.0f}")


def _rate(service: Running, work: Callable[[], None]) -> float:
    """How many messages a second arrive while something is done."""
    begun, taken = time.monotonic(), service.peer.total
    work()
    return (service.peer.total - taken) / (time.monotonic() - begun)


def _newcomer(number: int) -> str:
    return f"newcomer{number}@example.net"


def _request(number: int, *, host: str) -> bytes:
    """A join as a proxy hands it on, from a visitor whose network nobody shares, so that no brake closes."""
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
    """Read one answer to its end; returns its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH.search(head)
    assert length is not None, head
    await reader.readexactly(int(length[1]))
    return int(head.split(b" ", 2)[1])
