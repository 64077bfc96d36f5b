"""Delivery: runs one worker that claims, composes and sends messages, and records their results.

```
feeder    _feed: claims work for half a second, composes a few messages at a time, queues each for dispatch
senders   _send: one task for each connection of each pool; the result of a message goes to the recorder
recorder  _record_repeatedly: writes results in batches, and settles each with its source
keeper    _renew_lease: renews the lease while claimed rows are in progress
```
Database work runs in a separate thread, everything else in one event loop, independent of a message's kind.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from lists.clock import Clock
from lists.db import Database
from lists.errors import StorageError
from mailer.compose.composer import Composer, ReadyMessage
from mailer.coordination import suspensions
from mailer.coordination.suspensions import NOT_SUSPENDED, RelaySuspension
from mailer.delivery import results
from mailer.delivery.claims import Batch, Claims
from mailer.delivery.database_thread import DatabaseThread
from mailer.delivery.dispatcher import ANY_TIME, Dispatcher, WaitingMessage
from mailer.delivery.journal import Journal
from mailer.delivery.recorder import Recorder
from mailer.delivery.relay_pool import BACKOFF_FIRST, BACKOFF_LONGEST, RelayPool, select_active
from mailer.delivery.sending import MessageSender
from mailer.delivery.worker_lease import LEASE, WorkerLease
from mailer.outbox import held_messages
from mailer.outbox.outbox import Entry, Result
from mailer.policy import is_urgent
from mailer.smtp.rate import Rate

RENEW_SECONDS = 10.0
TICK_SECONDS = 0.01
POLL_SECONDS = 0.25  # how soon a new message is noticed while the worker is idle
RECORD_SECONDS = 0.1
CLAIM_SECONDS = 0.5  # the work of one claim; a short one lets a more urgent message begin soon
MAX_CLAIM = 2_000
MAX_COMPOSE = 50
DRAIN_SECONDS = 30.0

log = structlog.get_logger()


@dataclass(kw_only=True)
class Delivery:
    """One worker: sends the due rows of the outbox to the relays and records their results.

    `pools` hold the connections to the relays; `domains` are the rates of recipients' domains; `executor`
    runs database work, one call at a time; `journal` holds what must not be lost when the process is killed.
    """

    database: Database
    clock: Clock
    composer: Composer
    pools: Sequence[RelayPool]
    executor: Executor
    journal: Journal
    worker: str
    domains: Mapping[str, Rate] = field(default_factory=dict)
    _thread: DatabaseThread = field(init=False, repr=False)
    _claims: Claims = field(init=False, repr=False)
    _claim_size: float = field(default=0.0, init=False)
    _lease: WorkerLease = field(init=False, repr=False)
    _dispatcher: Dispatcher = field(init=False, repr=False)
    _message_sender: MessageSender = field(init=False, repr=False)
    _recorder: Recorder = field(init=False, repr=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _feeding_ended: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _result_ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _progress: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _time: Callable[[], float] = field(init=False, repr=False)
    _relay_suspensions: Mapping[str, RelaySuspension] = field(default_factory=dict, init=False)

    @property
    def sent(self) -> int:
        """How many messages were sent."""
        return sum(pool.sent for pool in self.pools)

    @property
    def trouble(self) -> str:
        """Why no message can be sent by any relay, "" while one can."""
        return self.pools[0].closed_reason if all(pool.closed_reason for pool in self.pools) else ""

    @property
    def stalled(self) -> bool:
        """Whether messages wait, and all connections have waited long for replies."""
        return self._dispatcher.is_stuck

    @property
    def _all_unreachable(self) -> bool:
        return all(pool.trouble for pool in self.pools)

    @property
    def _connections(self) -> int:
        return sum(pool.connections for pool in self.pools)

    @property
    def _is_busy(self) -> bool:
        return any(pool.busy for pool in self.pools) or not self._dispatcher.empty

    def stop(self) -> None:
        """Start no new message; `run` returns once the results of those begun are recorded."""
        self._stop.set()
        self._feeding_ended.set()
        self._progress.set()

    async def run(self, *, until_empty: bool = False) -> None:
        """Deliver until `stop()`, or until no row is due any more, and record all results.

        Messages that were begun are finished; messages that were composed but not begun are given back.
        """
        self._begin()
        finished, lease_renewed = asyncio.Event(), asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:  # a fault in one task ends all; the process is restarted
                start = group.create_task
                senders = [
                    start(self._send(pool)) for pool in self.pools for _ in range(pool.connections_most)
                ]
                start(self._record_repeatedly(finished))
                start(self._renew_lease(finished, lease_renewed))
                drain_task = start(self._cancel_late_senders(senders))
                await lease_renewed.wait()
                await self._feed(until_empty=until_empty)
                self._feeding_ended.set()
                self._dispatcher.close()
                await asyncio.wait(senders)
                drain_task.cancel()
                finished.set()
                self._result_ready.set()
        finally:
            self._withdraw()
            await self._record()
        if any(pool.shared for pool in self.pools):
            await self._thread.run(self._lease.end)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._time, self._claim_size = loop.time, float(self._connections)
        self._thread = DatabaseThread(executor=self.executor, is_stopped=self._stop.is_set)
        self._claims = Claims(
            database=self.database, clock=self.clock, worker=self.worker, lease=LEASE, domains=self.domains
        )
        self._lease = WorkerLease(
            database=self.database,
            clock=self.clock,
            worker=self.worker,
            on_renewed=self._claims.compare_count,
            pools=self.pools,
        )
        self._recorder = Recorder(
            database=self.database,
            clock=self.clock,
            sources=self.composer.sources,
            on_result=self._result_ready.set,
            on_recorded=self._claims.end,
        )
        self._dispatcher = Dispatcher(
            pools=self.pools,
            loop=loop,
            on_progress=self._progress.set,
            postpone=lambda ready: self._recorder.note(results.postpone(ready.entry)),
        )
        self._message_sender = MessageSender(
            sender=self.composer.sender.address,
            journal=self.journal,
            compose=self._compose_again,
            is_stopping=self._must_give_back,
            deadline=self._lease.find_dot_deadline,
            time=self._time,
            find_limit=self._dispatcher.find_limit,
            note_capabilities=self._recorder.note_capabilities,
            note=self._recorder.note,
        )

    async def _cancel_late_senders(self, senders: Sequence[asyncio.Task[None]]) -> None:
        await self._stop.wait()
        _, late = await asyncio.wait(senders, timeout=DRAIN_SECONDS)
        for sender in late:
            sender.cancel()

    async def _feed(self, *, until_empty: bool) -> None:
        while not self._stop.is_set():
            if self._all_unreachable:
                if until_empty:
                    return
                await self._wait_for_relay()
            if self._lease.lapsed:
                await self._restart()
            self._withdraw_slotless()
            batch = await self._thread.run(self._claim)
            self._apply_batch(batch)
            has_work = self._is_busy or self._recorder.has_pending
            if batch.entries:
                await self._dispatch_batch(batch)
            elif until_empty and self.trouble and not self._is_busy:
                return
            elif not self._dispatcher.empty or (until_empty and has_work and not batch.waits_for_slot):
                await self._wait_for_progress()  # rows in progress may return to the queue
            elif not until_empty or batch.waits_for_slot:
                await _wait(self._stop, POLL_SECONDS)
            elif not self._lease.lapsed:
                return

    def _apply_batch(self, batch: Batch) -> None:
        for row, scope in batch.row_trials.items():
            self._recorder.note_trial(row, scope)
        for pool in self.pools:
            pool.slots.extend(batch.slots.get(pool.name, ()))
            if batch.paused is not None:
                pool.paused, pool.urgent_exempt = batch.paused.get(pool.name, NOT_SUSPENDED)
                pool.trial = bool(pool.paused) and (pool.trial or pool.name in batch.relay_trials)
        for urgent in (True, False):
            if not self._is_reachable(urgent=urgent):
                self._withdraw(urgent=urgent)

    async def _wait_for_relay(self) -> None:
        """While no relay can be reached, give everything back and wait until one may be tried, or was."""
        self._withdraw()
        while not self._must_give_back() and not self._is_reachable(urgent=True):
            self._progress.clear()
            backoff_seconds = min(pool.backoff_until for pool in self.pools) - self._time()
            await _wait(self._progress, backoff_seconds if backoff_seconds > 0 else RENEW_SECONDS)

    async def _dispatch_batch(self, batch: Batch) -> None:
        """Compose claimed rows, a few at a time, as senders take them, for CLAIM_SECONDS; give back the rest.

        The claims grow while no row remains, and shrink to the number that was dispatched.
        """
        entries = batch.entries
        started_at, is_full = self._time(), len(entries) >= int(self._claim_size)
        step = max(1, min(MAX_COMPOSE, int(self._claim_size / 5)))
        for first in range(0, len(entries), step):
            is_late = self._time() - started_at > CLAIM_SECONDS
            if is_late or self._must_give_back() or not self._is_reachable(urgent=True):
                if is_late:
                    self._claim_size = max(float(first), float(self._connections))
                await self._thread.run(self._claims.give_back, entries[first:])
                self._recorder.release_trials(entries[first:])
                return
            composed_at, chunk = self._time(), entries[first : first + step]
            for message in await self._compose_in_thread(chunk):
                if not isinstance(message, ReadyMessage):
                    self._recorder.note(message)
                elif limit := self._dispatcher.find_limit(message):
                    self._recorder.note(results.hold_for_limit(message.entry, limit))
                else:
                    window = batch.windows.get(message.entry.id, ANY_TIME)
                    self._dispatcher.put(WaitingMessage(message, composed_at, window))
            for urgent in {is_urgent(entry.kind) for entry in chunk}:
                await self._wait_until_fewer(urgent=urgent)
        if is_full:
            self._claim_size = min(self._claim_size * 1.25, MAX_CLAIM)

    async def _wait_until_fewer(self, *, urgent: bool) -> None:
        """Wait until few messages wait for a connection, but at most for CLAIM_SECONDS."""
        end = self._time() + CLAIM_SECONDS
        while self._has_enough_waiting(urgent=urgent) and not self._must_give_back() and self._time() < end:
            for entry in self._dispatcher.withdraw_stranded():
                self._recorder.note(results.requeue_for_capable_relay(entry, now=self.clock.now()))
            await self._wait_for_progress()

    def _has_enough_waiting(self, *, urgent: bool) -> bool:
        """Tell whether enough messages wait for a connection, so that no more need be claimed."""
        enough = max(1, min(self._connections, int(self._claim_size / 10)))
        return self._dispatcher.count_waiting(urgent=urgent) >= enough

    def _withdraw(self, *, before: float = float("inf"), urgent: bool = True) -> None:
        """Give back the messages that were composed before this moment and not dispatched."""
        for message in self._dispatcher.withdraw(before=before, urgent=urgent):
            self._recorder.note(results.give_back(message.ready.entry))

    def _withdraw_slotless(self) -> None:
        """Give back the messages whose slot became void while all connections were busy."""
        if any(pool.rate for pool in self.pools):
            self._withdraw(before=self._time() - 2 * CLAIM_SECONDS)

    def _must_give_back(self) -> bool:
        """Tell whether a message that is claimed and not begun must not begin now."""
        return self._stop.is_set() or self._lease.lapsed

    def _is_reachable(self, *, urgent: bool) -> bool:
        """Tell whether some relay accepts such mail, or may be tested by a message now."""
        return any(pool.is_usable(self._time(), urgent=urgent) for pool in self.pools)

    async def _restart(self) -> None:
        """Give back the messages that were not begun before the lease ended; continue once it is renewed."""
        self._withdraw()
        while self._lease.may_have_expired and not self._stop.is_set():
            await self._wait_for_progress()
        if not self._stop.is_set():
            self._lease.restart(self._time())
            await _wait(self._stop, TICK_SECONDS)  # what is composed from now on is later in the loop's time

    async def _wait_for_progress(self) -> None:
        """Wait briefly until a message is dispatched or ends: slots become void, urgent mail arrives."""
        self._progress.clear()
        await _wait(self._progress, POLL_SECONDS)

    async def _send(self, pool: RelayPool) -> None:
        connection = pool.connect()
        scope, backoff = f"{suspensions.RELAY_SCOPE}{pool.name}", BACKOFF_FIRST
        try:
            while (dispatched := await self._dispatcher.take(pool)) is not None:
                if pool.paused and dispatched.in_flight.is_probe:
                    self._recorder.note_trial(dispatched.message.ready.entry.id, scope)
                result = None
                try:
                    result = await self._message_sender.send(connection, pool, dispatched)
                finally:
                    self._dispatcher.finish(dispatched.in_flight, was_answered=results.was_answered(result))
                self._recorder.note(result)
                if result.outcome != "unreachable":
                    backoff = BACKOFF_FIRST
                elif not pool.trouble:
                    # Its place is unused meanwhile; otherwise the next connection would fail at once.
                    pool.backing_off += 1
                    await _wait(self._feeding_ended, backoff)
                    pool.backing_off -= 1
                    backoff = min(backoff * 2, BACKOFF_LONGEST)
        finally:
            await connection.close()

    async def _compose_again(self, entry: Entry) -> ReadyMessage | Result:
        return (await self._compose_in_thread([entry]))[0]

    async def _compose_in_thread(self, entries: Sequence[Entry]) -> Sequence[ReadyMessage | Result]:
        """Compose, and apply suspensions again: no message begins more than a second after one."""
        messages = await self._thread.run(self._compose, entries)
        for pool in self.pools:
            if not pool.paused or pool.urgent_exempt:
                present = (pool.paused, pool.urgent_exempt)
                pool.paused, pool.urgent_exempt = self._relay_suspensions.get(pool.name, present)
        return messages

    async def _record_repeatedly(self, finished: asyncio.Event) -> None:
        while not finished.is_set():
            await self._result_ready.wait()
            self._result_ready.clear()
            await _wait(finished, RECORD_SECONDS)
            await self._record()

    async def _record(self) -> None:
        if self._recorder.has_pending:
            await self._thread.run(self._recorder.flush)

    async def _renew_lease(self, finished: asyncio.Event, lease_renewed: asyncio.Event) -> None:
        while not finished.is_set():
            for pool, places in (await self._thread.run(self._lease.renew)).items():
                pool.places = places
            self._dispatcher.dispatch_waiting()
            self._lease.lapsed |= self._lease.may_have_expired
            self._lease.extend()
            self._progress.set()
            lease_renewed.set()
            await _wait(finished, RENEW_SECONDS)

    def _claim(self) -> Batch:
        """Claim due rows; none while a claim may have been rescued before its result was recorded."""
        self._recorder.flush()
        self._lease.lapsed |= self._lease.may_have_expired
        if self._lease.lapsed or self._has_enough_waiting(urgent=True):
            return Batch()
        urgent = self._has_enough_waiting(urgent=False)
        size = 1 if self._all_unreachable else int(self._claim_size)  # one message tests unreachable relays
        relays = {
            pool.name: pool.rate for pool in select_active(self.pools) if pool.can_be_reached(self._time())
        }
        trying = {pool.name for pool in self.pools if pool.trial}
        return self._claims.take(size, relays=relays, trying=trying, time=self._time, urgent=urgent)

    def _compose(self, entries: Sequence[Entry]) -> Sequence[ReadyMessage | Result]:
        try:
            with self.database.read() as session:
                messages = self.composer.compose(session, entries, now=self.clock.now())
                active = suspensions.read_all(session)
            self._relay_suspensions = suspensions.select_relays(active)
            return self._recorder.give_back_suspended(messages, active) if active else messages
        except StorageError:
            raise
        except Exception as fault:
            # A fault of the program in one message must not stop the others, nor the worker again and again.
            if len(entries) == 1:
                log.exception("a message cannot be composed", row=entries[0].id)
                reason = f"the program failed at it: {type(fault).__name__}"
                return [held_messages.hold_for_fault(entries[0], reason)]
        return [message for entry in entries for message in self._compose([entry])]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
