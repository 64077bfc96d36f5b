"""Delivery: outbox → SMTP → record.

```
feeder    claims about half a second's work, composes a few at a time, hands them to the senders
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
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import structlog

from lists.clock import Clock
from lists.db import Database
from lists.errors import StorageTrouble
from mailer import outbox, verdicts
from mailer.composer import Composer, Ready
from mailer.journal import Journal
from mailer.outbox import Entry, Result
from mailer.outcomes import Outcome

LEASE = timedelta(seconds=45)
RENEW_SECONDS = 10.0
POLL_SECONDS = 0.25  # how soon a new message is noticed while nothing else is to do
RECORD_SECONDS = 0.1
CLAIM_SECONDS = 0.5  # a claim holds about this much work, so that what is more urgent is soon noticed
CLAIM_MOST = 2_000
COMPOSE_MOST = 50
FRESH_SECONDS = 0.5  # a message composed longer ago is composed again: its reader may have left meanwhile
DRAIN_SECONDS = 30.0
REST_FIRST, REST_LONGEST = 1.0, 60.0  # seconds to leave a relay alone that cannot be reached
ALONE_SECONDS = 5.0  # while others got through so lately, a connection that fails is its own trouble
SAFETY_SECONDS = 5.0  # before the lease is over no final dot is written any more
STORAGE_REST_SECONDS = 1.0
LAST_TRIES = 10

T = TypeVar("T")

log = structlog.get_logger()


class Connection(Protocol):
    """A reused conversation with a relay; see mailer/smtp.py for the real one.

    `dotted` is true from the moment the final dot of the present message may have left.
    """

    dotted: bool

    async def send(
        self,
        *,
        sender: str,
        recipient: str,
        message: bytes,
        deadline: float | None = None,
        before_dot: Callable[[], None],
    ) -> Outcome:
        """Hand over one message, calling `before_dot` right before its final dot; say what became of it."""

    async def close(self) -> None:
        """Say goodbye."""

    def abort(self) -> None:
        """Drop the connection at once."""


class Composed(NamedTuple):
    """A message that waits for a sender, and when it was composed, in the loop's time."""

    letter: Ready
    at: float


@dataclass(kw_only=True)
class Delivery:
    """One worker: takes due rows of the ledger to the relay and records what became of them.

    `connect` makes one connection and is called `connections` times; `executor` runs database work and must
    run one piece at a time; `journal` holds what a kill must not make anybody forget.
    """

    database: Database
    clock: Clock
    composer: Composer
    connect: Callable[[], Connection]
    connections: int
    executor: Executor
    journal: Journal
    worker: str
    sent: int = field(default=0, init=False)
    trouble: str = field(default="", init=False)
    _claim_size: float = field(default=0.0, init=False)
    _rest: float = field(default=0.0, init=False)
    _deadline: float = field(default=0.0, init=False)
    _reached: float = field(default=float("-inf"), init=False)
    _lapsed: bool = field(default=False, init=False)
    _busy: int = field(default=0, init=False)
    _queue: "asyncio.Queue[Composed | None]" = field(default_factory=asyncio.Queue, init=False)
    _results: list[Result] = field(default_factory=list, init=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _fed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _known: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _moved: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _time: Callable[[], float] = field(init=False, repr=False)

    def stop(self) -> None:
        """Start nothing new; `run` returns once what was begun is recorded."""
        self._stop.set()
        self._fed.set()
        self._moved.set()

    async def run(self, *, until_empty: bool = False) -> None:
        """Deliver until `stop()`, or until nothing is due any more.

        Messages begun are finished and recorded, messages composed but not begun are given back. Whatever
        ends this, the outcomes known by then are recorded.
        """
        self._time = asyncio.get_running_loop().time
        self._claim_size = float(self.connections)
        self._deadline = self._time() + LEASE.total_seconds() - SAFETY_SECONDS
        over = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:  # a fault in one ends all; the process is started anew
                senders = [group.create_task(self._send()) for _ in range(self.connections)]
                group.create_task(self._record_often(over))
                group.create_task(self._keep(over))
                patience = group.create_task(self._lose_patience(senders))
                await self._feed(until_empty=until_empty)
                self._fed.set()
                self._queue.put_nowait(None)
                await asyncio.wait(senders)
                patience.cancel()
                over.set()
                self._known.set()
        finally:
            while not self._queue.empty():
                left = self._queue.get_nowait()
                if left is not None:
                    self._note(verdicts.back(left.letter.entry))
            await self._record()

    async def _lose_patience(self, senders: Sequence[asyncio.Task[None]]) -> None:
        """Once told to stop, wait only so long for the servers' answers."""
        await self._stop.wait()
        _, late = await asyncio.wait(senders, timeout=DRAIN_SECONDS)
        for sender in late:
            sender.cancel()

    async def _feed(self, *, until_empty: bool) -> None:
        while not self._stop.is_set():
            if self.trouble:
                if until_empty:
                    return
                await _wait(self._stop, self._rest)
                self.trouble = ""
            if self._lapsed:
                await self._quiet()
            entries = await self._stored(self._claim)
            if entries:
                await self._hand_on(entries)
            elif not until_empty:
                await _wait(self._stop, POLL_SECONDS)
            elif self._busy or self._queue.qsize():
                await self._quiet()  # what is under way may come back
            elif not self._lapsed:
                return

    async def _hand_on(self, entries: Sequence[Entry]) -> None:
        """Compose claimed rows, a few at a time, as the senders take them, for at most CLAIM_SECONDS.

        What is left then is given back. The claims grow while there is nothing left, and shrink to what
        was handed on.
        """
        began, full = self._time(), len(entries) >= int(self._claim_size)
        step = max(1, min(COMPOSE_MOST, int(self._claim_size / 5)))
        ahead = max(1, min(self.connections, int(self._claim_size / 10)))
        for first in range(0, len(entries), step):
            late = self._time() - began > CLAIM_SECONDS
            if late or self._gives_back():
                if late:
                    self._claim_size = max(float(first), float(self.connections))
                await self._stored(self._give_back, entries[first:])
                return
            for letter in await self._stored(self._compose, entries[first : first + step]):
                if isinstance(letter, Ready):
                    self._queue.put_nowait(Composed(letter, self._time()))
                else:
                    self._note(letter)
            while self._queue.qsize() >= ahead and not self._gives_back():
                await self._something_moved()
        if full:
            self._claim_size = min(self._claim_size * 1.25, CLAIM_MOST)

    def _gives_back(self) -> bool:
        """Tell whether what is claimed and not begun must not be begun now."""
        return self._stop.is_set() or bool(self.trouble) or self._lapsed

    async def _quiet(self) -> None:
        """Wait until no message is under way; then a lease that was over for a while harms nobody."""
        while (self._busy or self._queue.qsize() or self._is_late()) and not self._stop.is_set():
            await self._something_moved()
        self._lapsed = False

    async def _something_moved(self) -> None:
        self._moved.clear()
        await self._moved.wait()

    async def _send(self) -> None:
        connection = self.connect()
        rest = REST_FIRST
        try:
            while (composed := await self._queue.get()) is not None:
                self._busy += 1
                self._moved.set()
                try:
                    result = await self._hand_over(connection, composed)
                finally:
                    self._busy -= 1
                    self._moved.set()
                self._note(result)
                if result.outcome != "unreachable":
                    rest = REST_FIRST
                elif not self.trouble:
                    await _wait(self._fed, rest)
                    rest = min(rest * 2, REST_LONGEST)
            self._queue.put_nowait(None)  # for the next sender
        finally:
            await connection.close()

    async def _hand_over(self, connection: Connection, composed: Composed) -> Result:
        letter = composed.letter
        if self._time() - composed.at > FRESH_SECONDS and not self._gives_back():
            try:
                (again,) = await self._stored(self._compose, [letter.entry])
            except StorageTrouble:  # only after we were told to stop
                return verdicts.back(letter.entry)
            if isinstance(again, Result):
                return again
            letter = again
        if self._gives_back() or self._time() > self._deadline:
            return verdicts.back(letter.entry)
        began, entry = self._time(), letter.entry
        try:
            outcome = await connection.send(
                sender=self.composer.sender.address,
                recipient=letter.recipient,
                message=letter.message,
                deadline=self._deadline,
                before_dot=partial(self.journal.about, entry.id, entry.attempt),
            )
        except asyncio.CancelledError:
            unsure = Outcome(state="unknown", reply="No answer in time.")
            began_it = verdicts.of(letter, unsure) if connection.dotted else verdicts.back(letter.entry)
            self._note(began_it)
            raise
        except Exception as fault:  # nobody can say how far it came, and it must not end the worker
            log.exception("a fault while a message was handed over", row=letter.entry.id)
            connection.abort()
            outcome = Outcome(state="unknown", reply=f"a fault of the program: {type(fault).__name__}")
        if connection.dotted:
            self._answered(entry, outcome)
        return verdicts.of(letter, outcome, alone=self._learn(outcome, began))

    def _answered(self, entry: Entry, outcome: Outcome) -> None:
        try:
            state = "deferred" if verdicts.refuses_us(outcome) else outcome.state
            self.journal.answered(entry.id, entry.attempt, state)
        except OSError as trouble:  # recorded in the database a moment later all the same
            log.error("the journal cannot be written", trouble=str(trouble))

    def _learn(self, outcome: Outcome, began: float) -> bool:
        """Note whether the relay can be reached; tells when only this connection failed."""
        if outcome.state != "unreachable":
            self._rest = 0.0
            self._reached = self._time()
            self.sent += outcome.state == "sent"
            return False
        alone = self._reached >= began - ALONE_SECONDS
        if not alone:
            if not self.trouble:
                self._rest = min(max(self._rest * 2, REST_FIRST), REST_LONGEST)
                log.warning("relay unreachable", reply=outcome.reply, rest_seconds=self._rest)
            self.trouble = outcome.reply or "The relay cannot be reached."
        return alone

    def _note(self, result: Result) -> None:
        self._results.append(result)
        self._known.set()

    async def _record_often(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self._known.wait()
            self._known.clear()
            await _wait(over, RECORD_SECONDS)
            await self._record()

    async def _record(self) -> None:
        if self._results:
            await self._stored(self._write_down)

    async def _keep(self, over: asyncio.Event) -> None:
        while not over.is_set():
            asked = self._time()
            await self._stored(self._renew)
            self._lapsed = self._lapsed or self._is_late()
            self._deadline = asked + LEASE.total_seconds() - SAFETY_SECONDS
            self._moved.set()
            await _wait(over, RENEW_SECONDS)

    def _is_late(self) -> bool:
        """Tell whether the lease may be over: then others may have taken what this worker had claimed."""
        return self._time() > self._deadline + SAFETY_SECONDS

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
        """Claim due rows; none while one of ours may have been rescued before its outcome was recorded."""
        self._write_down()
        if self._lapsed or self._is_late():
            self._lapsed = True
            return []
        now = self.clock.now()
        with self.database.read() as session:
            if not outbox.anything_due(session, now=now):
                return []
        with self.database.write() as session:
            until = self.clock.real() + LEASE
            return outbox.claim(
                session, worker=self.worker, limit=int(self._claim_size), now=now, lease_until=until
            )

    def _compose(self, entries: Sequence[Entry]) -> Sequence[Ready | Result]:
        try:
            with self.database.read() as session:
                return self.composer.compose(session, entries, now=self.clock.now())
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

    def _write_down(self) -> None:
        """Record every outcome known by now, and forget it once that is committed."""
        known = self._results[:]
        if not known:
            return
        verdicts.write_down(self.database, self.clock, self.composer.sources, known)
        del self._results[: len(known)]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than this."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
