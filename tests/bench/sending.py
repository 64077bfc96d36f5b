"""How fast mail is sent: one bare connection, and the whole way from the outbox to the relay and back."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

from sqlalchemy import func, select

from mailer.compose.composer import ReadyMessage
from mailer.delivery.journal import Journal
from mailer.outbox import outbox, stats
from mailer.outbox.attempts import Attempt
from mailer.outbox.outbox import Entry, OutboxRow
from mailer.service import Service
from mailer.smtp.connection import SmtpConnection
from mailer.smtp.relay_settings import Relay
from tests.bench.installation import broadcast, installation
from tests.bench.sink import CONNECTIONS, OCTETS, sink, source
from tests.bench.table import Line, at_least

Loop = Callable[[], asyncio.AbstractEventLoop]
Way = Callable[[Service, Loop], None]

TARGET, TARGET_UVLOOP = 0.12, 0.2
SAFE = 0.85
ROUNDS = 5
PARAGRAPHS = 1  # makes messages of about 8,000 octets, text and HTML


def bare(messages: int) -> Iterator[Line]:
    """Measure the connection alone, with one finished message: an upper limit for delivery."""
    for name, factory in _loops():
        with sink() as port:
            ratio, about = _compared(port, messages, lambda: _push_all(port, messages, factory))  # noqa: B023
        yield Line(what=f"the door alone, {name}", found=f"{ratio:.2f} × ({about})")


def delivered(messages: int) -> Iterator[Line]:
    """Measure personalised messages of 8 kB, claimed, composed, sent and recorded in SQLite."""
    for name, factory in _loops():
        with sink() as port, installation(people=messages, smtp_port=port) as service:
            broadcast(service, paragraphs=PARAGRAPHS)
            _fill(service)
            octets = _octets(service)
            ratio, about = _compared(port, messages, lambda: run(service, factory))  # noqa: B023
            _check(service, messages)
        target = TARGET_UVLOOP if name == "uvloop" else TARGET
        what = f"{messages:,} messages of {octets:,} octets delivered, {name}"
        yield at_least(what, ratio, target, about=about)


def safety(messages: int) -> Iterator[Line]:
    """Measure the cost of safety against kills: the same delivery with and without the journal."""
    ways: dict[str, Way] = {
        "with": run,
        "without": lambda service, factory: run(service, factory, journaled=False),
    }
    rates = by_turns(messages, ways)
    about = f"messages for each second of CPU, median of {ROUNDS} runs by turns"
    yield at_least(
        "delivering with the journal, against without", rates["with"] / rates["without"], SAFE, about=about
    )


def by_turns(messages: int, ways: Mapping[str, Way]) -> Mapping[str, float]:
    """Return how many messages each way delivers for a second of CPU: the median of a few runs, by turns."""
    (_, factory) = list(_loops())[-1]
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in [*ways.items()] * ROUNDS:
        with sink() as port, installation(people=messages, smtp_port=port) as service:
            broadcast(service, paragraphs=PARAGRAPHS)
            _fill(service)
            began = time.process_time()
            way(service, factory)
            rates[name].append(messages / (time.process_time() - began))
            _check(service, messages)
    return {name: statistics.median(rate_list) for name, rate_list in rates.items()}


def _compared(port: int, messages: int, work: Callable[[], None]) -> tuple[float, str]:
    """Return the rate of `work` relative to smtp-source right before and after it, and the same in words."""
    rate_before = source(port, messages)
    began, cpu = time.perf_counter(), time.process_time()
    work()
    rate = messages / (time.perf_counter() - began)
    cpu = (time.process_time() - cpu) / messages * 1_000_000
    reference = (rate_before + source(port, messages)) / 2
    return rate / reference, f"{rate:,.0f} of {reference:,.0f} a second, {cpu:.0f} µs of CPU each"


def run(service: Service, factory: Loop, *, journaled: bool = True) -> None:
    """Deliver what is due, with this kind of event loop."""
    with (
        service.relays() as relays,
        service.delivery(relays) as delivery,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        if not journaled:
            delivery.journal = Forgetful(service.settings.home / "none", worker="bench")
        runner.run(delivery.run(until_empty=True))


class Forgetful(Journal):
    """A journal that writes nothing."""

    def record_start(self, row: int, attempt: int) -> None:
        """Write nothing."""

    def record_outcome(self, row: int, attempt: int, state: str) -> None:
        """Write nothing."""


def _loops() -> Iterator[tuple[str, Loop]]:
    yield "asyncio", asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:
        print("uvloop is not installed: its lines are left out")
    else:
        yield "uvloop", uvloop.new_event_loop


def _push_all(port: int, messages: int, factory: Loop) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_push(port, messages))


async def _push(port: int, messages: int) -> None:
    relay = Relay(host="127.0.0.1", port=port, tls="none")
    head = b"From: campaign@lists.example\r\nTo: ben@neighbor.example\r\nSubject: Hello\r\n\r\n"
    line = b"Dear neighbor, three more congregations sat down with their officials.\r\n"
    message = (head + line * OCTETS)[: OCTETS - 2] + b"\r\n"
    numbers = iter(range(messages))

    async def send_messages() -> None:
        connection = SmtpConnection(relay, helo="lists.example")
        for _ in numbers:
            outcome = await connection.send(
                sender="campaign@lists.example", recipient="ben@neighbor.example", message=message
            )
            assert outcome.state == "sent", outcome
        await connection.close()

    await asyncio.gather(*(send_messages() for _ in range(CONNECTIONS)))


def _fill(service: Service) -> None:
    fill = service.jobs.get("fill-broadcast")
    while fill.run():
        pass


def _octets(service: Service) -> int:
    """Return the size of the first message, as it will be sent."""
    with service.database.read() as session:
        row = session.execute(select(*outbox.ENTRY_COLUMNS).order_by(OutboxRow.id).limit(1)).one()
        message = service.composer.compose(session, [Entry(**row._mapping)], now=service.clock.now())[0]
    assert isinstance(message, ReadyMessage), message
    return len(message.message)


def _check(service: Service, messages: int) -> None:
    with service.database.read() as session:
        assert stats.count_by_kind_and_state(session) == {("broadcast", "sent"): messages}
        assert session.scalar(select(func.count(Attempt.id))) == messages
