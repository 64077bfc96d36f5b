"""Delivery: outbox → SMTP → record.

```
feeder    claims about a second's work, composes a few at a time, hands them to the senders
senders   one connection each; what became of a message goes to the recorder
recorder  writes outcomes down in batches, with what they mean to their source, in one transaction
keeper    renews the lease while claimed rows are being worked on
```
Database work is synchronous and runs in one thread of its own; everything else is one event loop. Nothing
here knows what a message is about.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, TypeVar

import structlog

from lists.clock import Clock
from lists.db import Database
from lists.errors import StorageTrouble
from mailer import outbox
from mailer.composer import Composer, Ready
from mailer.outbox import Entry, Result
from mailer.smtp import Outcome
from mailer.source import settle_all

LEASE = timedelta(seconds=45)
RENEW_SECONDS = 10.0
POLL_SECONDS = 0.25  # how soon a new message is noticed while nothing else is to do
RECORD_SECONDS = 0.1
CLAIM_LEAST, CLAIM_MOST = 50, 2_000
COMPOSE_MOST = 50
DRAIN_SECONDS = 30.0
FIRST_RETRY, LONGEST_RETRY = timedelta(minutes=5), timedelta(minutes=66)  # Postfix's schedule, doubling
REST_FIRST, REST_LONGEST = 1.0, 60.0  # seconds to leave a relay alone that cannot be reached
SAFETY_SECONDS = 5.0  # before the lease is over no final dot is written any more
STORAGE_REST_SECONDS = 1.0
LAST_TRIES = 10

# What the relay said → the row's next state, and why. Connections that fail cost no message an attempt.
AFTER = {
    "sent": ("sent", ""),
    "deferred": ("queued", "their server asked us to try again later"),
    "refused": ("failed", "their server refused it"),
    "unreachable": ("queued", "the relay cannot be reached"),
    "unknown": ("unknown", "the connection broke after the last byte"),
}

T = TypeVar("T")

log = structlog.get_logger()


class Connection(Protocol):
    """A reused conversation with a relay; see mailer/smtp.py for the real one."""

    async def send(
        self, *, sender: str, recipient: str, message: bytes, deadline: float | None = None
    ) -> Outcome:
        """Hand over one message and say what became of it."""

    async def close(self) -> None:
        """Say goodbye."""

    def abort(self) -> None:
        """Drop the connection at once."""


@dataclass(kw_only=True)
class Delivery:
    """One worker: takes due rows of the ledger to the relay and records what became of them.

    `connect` makes one connection and is called `connections` times; `executor` runs database work and must
    run one piece at a time.
    """

    database: Database
    clock: Clock
    composer: Composer
    connect: Callable[[], Connection]
    connections: int
    executor: Executor
    worker: str
    sent: int = field(default=0, init=False)
    trouble: str = field(default="", init=False)
    _rate: float = field(default=CLAIM_LEAST, init=False)
    _rest: float = field(default=0.0, init=False)
    _deadline: float = field(default=0.0, init=False)
    _results: list[Result] = field(default_factory=list, init=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def stop(self) -> None:
        """Start nothing new; `run` returns once what was begun is recorded."""
        self._stop.set()

    async def run(self, *, until_empty: bool = False) -> None:
        """Deliver until `stop()`, or until nothing is due any more.

        Messages begun are finished and recorded, messages composed but not begun are given back.
        """
        queue: asyncio.Queue[Ready | None] = asyncio.Queue(maxsize=self.connections)
        over = asyncio.Event()
        self._deadline = asyncio.get_running_loop().time() + LEASE.total_seconds() - SAFETY_SECONDS
        async with asyncio.TaskGroup() as group:  # a fault in one ends all, and the process is started anew
            senders = [group.create_task(self._send(queue)) for _ in range(self.connections)]
            group.create_task(self._record_often(over))
            group.create_task(self._keep(over))
            await self._feed(queue, until_empty=until_empty)
            for _ in senders:
                await queue.put(None)
            _, late = await asyncio.wait(senders, timeout=DRAIN_SECONDS if self._stop.is_set() else None)
            for sender in late:
                sender.cancel()
            over.set()
        await self._record()

    async def _feed(self, queue: asyncio.Queue[Ready | None], *, until_empty: bool) -> None:
        while not self._stop.is_set():
            if self.trouble:
                if until_empty:
                    return
                await _wait(self._stop, self._rest)
                self.trouble = ""
            entries = await self._stored(self._claim)
            if not entries:
                if until_empty:
                    return
                await _wait(self._stop, POLL_SECONDS)
                continue
            started = self.clock.monotonic()
            await self._hand_on(entries, queue)
            spent = max(self.clock.monotonic() - started, 0.001)
            self._rate = 0.5 * self._rate + 0.5 * len(entries) / spent

    async def _hand_on(self, entries: Sequence[Entry], queue: asyncio.Queue[Ready | None]) -> None:
        """Compose claimed rows, a few at a time, as the senders take them."""
        step = max(self.connections, min(COMPOSE_MOST, int(self._rate / 4)))
        for first in range(0, len(entries), step):
            if self._stop.is_set() or self.trouble:
                await self._stored(self._give_back, entries[first:])
                return
            for letter in await self._stored(self._compose, entries[first : first + step]):
                if isinstance(letter, Ready):
                    await queue.put(letter)
                else:
                    self._results.append(letter)

    async def _send(self, queue: asyncio.Queue[Ready | None]) -> None:
        connection = self.connect()
        try:
            while (letter := await queue.get()) is not None:
                if self.trouble or self._stop.is_set():
                    self._results.append(Result(entry=letter.entry, state="queued"))
                    continue
                outcome = await connection.send(
                    sender=self.composer.sender.address,
                    recipient=letter.recipient,
                    message=letter.message,
                    deadline=self._deadline,
                )
                self._results.append(self._result(letter, outcome))
        finally:
            await connection.close()

    def _result(self, letter: Ready, outcome: Outcome) -> Result:
        """Turn what the relay said into the row's next state."""
        tries = letter.entry.tries
        state, why = AFTER[outcome.state]
        due_at = None
        if outcome.state == "unreachable":
            if not self.trouble:
                self._rest = min(max(self._rest * 2, REST_FIRST), REST_LONGEST)
                log.warning("relay unreachable", reply=outcome.reply, rest_seconds=self._rest)
            self.trouble = outcome.reply
        else:
            self._rest = 0.0
        if outcome.state == "sent":
            self.sent += 1
        elif outcome.state == "deferred":
            due_at = self.clock.now() + min(FIRST_RETRY * 2**tries, LONGEST_RETRY)
        return Result(
            entry=letter.entry,
            state=state,
            why=why,
            due_at=due_at,
            tried=outcome.state != "unreachable",
            address=letter.recipient,
            outcome=outcome.state,
            code=outcome.code,
            reply=outcome.reply,
        )

    async def _record_often(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await _wait(over, RECORD_SECONDS)
            await self._record()

    async def _record(self) -> None:
        results, self._results = self._results, []
        if results:
            await self._stored(self._write_down, results)

    async def _keep(self, over: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while not over.is_set():
            asked = loop.time()
            await self._stored(self._renew)
            self._deadline = asked + LEASE.total_seconds() - SAFETY_SECONDS
            await _wait(over, RENEW_SECONDS)

    async def _stored(self, work: Callable[..., T], *args: object) -> T:
        """Run database work in its thread; while the disk is full or the database locked, try again.

        Nothing is given up meanwhile: outcomes wait in memory, claimed rows stay claimed. Only a worker that
        was told to stop gives up after a while, and then its claims run out and are rescued.
        """
        loop = asyncio.get_running_loop()
        tries = 0
        while True:
            try:
                return await loop.run_in_executor(self.executor, work, *args)
            except StorageTrouble as trouble:
                tries += 1
                log.error("the database cannot be used, trying again", trouble=str(trouble), tries=tries)
                if self._stop.is_set() and tries >= LAST_TRIES:
                    raise
                await asyncio.sleep(STORAGE_REST_SECONDS)

    def _claim(self) -> Sequence[Entry]:
        now, limit = self.clock.now(), min(max(int(self._rate), CLAIM_LEAST), CLAIM_MOST)
        with self.database.read() as session:
            if not outbox.anything_due(session, now=now):
                return []
        with self.database.write() as session:
            until = self.clock.real() + LEASE
            return outbox.claim(session, worker=self.worker, limit=limit, now=now, lease_until=until)

    def _compose(self, entries: Sequence[Entry]) -> Sequence[Ready | Result]:
        with self.database.read() as session:
            now = self.clock.now()
            try:
                return self.composer.compose(session, entries, now=now)
            except StorageTrouble:
                raise
            except Exception as fault:
                # A fault of ours in one message must not stop the others, nor the worker again and again.
                if len(entries) == 1:
                    log.exception("a message cannot be composed", row=entries[0].id)
                    why = f"a fault of the program: {type(fault).__name__}"
                    return [Result(entry=entries[0], state="failed", why=why)]
        return [letter for entry in entries for letter in self._compose([entry])]

    def _give_back(self, entries: Sequence[Entry]) -> None:
        with self.database.write() as session:
            outbox.give_back(session, entries)

    def _renew(self) -> None:
        with self.database.write() as session:
            outbox.renew(session, worker=self.worker, lease_until=self.clock.real() + LEASE)

    def _write_down(self, results: Sequence[Result]) -> None:
        with self.database.write() as session:
            now = self.clock.now()
            kept = outbox.record(session, results, now=now)
            settle_all(session, self.composer.sources, kept, now=now)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than this."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
