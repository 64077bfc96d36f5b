"""How fast mail leaves: the bare door, and the whole way from the ledger to the relay and back."""

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
from mailer.smtp.relay import Relay
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
    """The door alone, with one finished message: what delivery cannot be faster than."""
    for name, factory in _loops():
        with sink() as port:
            ratio, about = _compared(port, messages, lambda: _push_all(port, messages, factory))  # noqa: B023
        yield Line(what=f"the door alone, {name}", found=f"{ratio:.2f} × ({about})")


def delivered(messages: int) -> Iterator[Line]:
    """Personalised messages of 8 kB, claimed, composed, sent and recorded in SQLite."""
    for name, factory in _loops():
        with sink() as port, installation(people=messages, smtp_port=port) as built:
            broadcast(built, paragraphs=PARAGRAPHS)
            _fill(built)
            octets = _octets(built)
            ratio, about = _compared(port, messages, lambda: run(built, factory))  # noqa: B023
            _check(built, messages)
        target = TARGET_UVLOOP if name == "uvloop" else TARGET
        what = f"{messages:,} messages of {octets:,} octets delivered, {name}"
        yield at_least(what, ratio, target, about=about)


def safety(messages: int) -> Iterator[Line]:
    """What it costs that a kill loses and repeats nobody: the same delivery with and without the journal."""
    ways: dict[str, Way] = {
        "with": run,
        "without": lambda built, factory: run(built, factory, journaled=False),
    }
    rates = by_turns(messages, ways)
    about = f"messages for each second of CPU, median of {ROUNDS} runs by turns"
    yield at_least(
        "delivering with the journal, against without", rates["with"] / rates["without"], SAFE, about=about
    )


def by_turns(messages: int, ways: Mapping[str, Way]) -> Mapping[str, float]:
    """How many messages each way delivers for a second of CPU: the median of a few runs, by turns."""
    (_, factory) = list(_loops())[-1]
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for name, way in [*ways.items()] * ROUNDS:
        with sink() as port, installation(people=messages, smtp_port=port) as built:
            broadcast(built, paragraphs=PARAGRAPHS)
            _fill(built)
            begun = time.process_time()
            way(built, factory)
            rates[name].append(messages / (time.process_time() - begun))
            _check(built, messages)
    return {name: statistics.median(found) for name, found in rates.items()}


def _compared(port: int, messages: int, work: Callable[[], None]) -> tuple[float, str]:
    """How fast `work` sends, against smtp-source right before and right after it, and the same in words."""
    before = source(port, messages)
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    rate = messages / (time.perf_counter() - begun)
    cpu = (time.process_time() - cpu) / messages * 1_000_000
    compared = (before + source(port, messages)) / 2
    return rate / compared, f"{rate:,.0f} of {compared:,.0f} a second, {cpu:.0f} µs of CPU each"


def run(built: Service, factory: Loop, *, journaled: bool = True) -> None:
    """Deliver what is due, with this kind of event loop."""
    with (
        built.relays() as relays,
        built.delivery(relays) as delivery,
        asyncio.Runner(loop_factory=factory) as runner,
    ):
        if not journaled:
            delivery.journal = Forgetful(built.settings.home / "none", worker="bench")
        runner.run(delivery.run(until_empty=True))


class Forgetful(Journal):
    """A journal that writes nothing down."""

    def record_dot(self, row: int, attempt: int) -> None:
        """Forget it."""

    def record_outcome(self, row: int, attempt: int, state: str) -> None:
        """Forget it."""


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

    async def one() -> None:
        door = SmtpConnection(relay, helo="lists.example")
        for _ in numbers:
            outcome = await door.send(
                sender="campaign@lists.example", recipient="ben@neighbor.example", message=message
            )
            assert outcome.state == "sent", outcome
        await door.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


def _fill(built: Service) -> None:
    fill = built.jobs.get("fill-broadcast")
    while fill.run():
        pass


def _octets(built: Service) -> int:
    """How large the first message is, as it will leave."""
    with built.database.read() as session:
        row = session.execute(select(*outbox.ENTRY_COLUMNS).order_by(OutboxRow.id).limit(1)).one()
        letter = built.composer.compose(session, [Entry(**row._mapping)], now=built.clock.now())[0]
    assert isinstance(letter, ReadyMessage), letter
    return len(letter.message)


def _check(built: Service, messages: int) -> None:
    with built.database.read() as session:
        assert stats.count_by_kind_and_state(session) == {("broadcast", "sent"): messages}
        assert session.scalar(select(func.count(Attempt.id))) == messages
