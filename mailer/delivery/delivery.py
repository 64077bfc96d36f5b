"""Delivery: outbox → SMTP → record.

```
feeder    claims about half a second's work, composes a few at a time, gives them to the dispatcher
senders   one connection each, of one lane or another; what became of a message goes to the recorder
recorder  writes outcomes down in batches, with what they mean to their source
keeper    renews the lease while claimed rows are being worked on
```
Database work runs in one thread of its own, everything else in one event loop, and nothing here knows a kind.
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
POLL_SECONDS = 0.25  # how soon a new message is noticed while nothing else is to do
RECORD_SECONDS = 0.1
CLAIM_SECONDS = 0.5  # a claim holds about this much work, so that what is more urgent is soon noticed
CLAIM_MOST = 2_000
COMPOSE_MOST = 50
DRAIN_SECONDS = 30.0

log = structlog.get_logger()


@dataclass(kw_only=True)
class Delivery:
    """One worker: takes due rows of the ledger to the relays and records what became of them.

    `lanes` lead to the relays; `domains` are the rates of recipients' domains; `executor` runs database work,
    one piece at a time; `journal` holds what a kill must not make anybody forget.
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
    _feeding_over: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _result_ready: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _progress: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _time: Callable[[], float] = field(init=False, repr=False)
    _relay_suspensions: Mapping[str, RelaySuspension] = field(
        default_factory=dict, init=False
    )  # relays, as last seen

    @property
    def sent(self) -> int:
        """How many messages were sent."""
        return sum(lane.sent for lane in self.pools)

    @property
    def trouble(self) -> str:
        """Why nothing can leave by any relay, "" while something can."""
        return self.pools[0].closed_reason if all(lane.closed_reason for lane in self.pools) else ""

    @property
    def stalled(self) -> bool:
        """Whether messages wait, and all connections have waited for answers for long."""
        return self._dispatcher.is_stuck

    @property
    def _all_unreachable(self) -> bool:
        return all(lane.trouble for lane in self.pools)

    @property
    def _connections(self) -> int:
        return sum(lane.connections for lane in self.pools)

    @property
    def _is_busy(self) -> bool:
        return any(lane.busy for lane in self.pools) or not self._dispatcher.empty

    def stop(self) -> None:
        """Start nothing new; `run` returns once what was begun is recorded."""
        self._stop.set()
        self._feeding_over.set()
        self._progress.set()

    async def run(self, *, until_empty: bool = False) -> None:
        """Deliver until `stop()`, or until nothing is due any more, and record what became of it all.

        Messages begun are finished, messages composed but not begun are given back.
        """
        self._begin()
        over, held = asyncio.Event(), asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:  # a fault in one ends all; the process is started anew
                senders = [
                    group.create_task(self._send(lane))
                    for lane in self.pools
                    for _ in range(lane.connections_most)
                ]
                group.create_task(self._record_repeatedly(over))
                group.create_task(self._renew_lease(over, held))
                patience = group.create_task(self._cancel_late_senders(senders))
                await held.wait()
                await self._feed(until_empty=until_empty)
                self._feeding_over.set()
                self._dispatcher.close()
                await asyncio.wait(senders)
                patience.cancel()
                over.set()
                self._result_ready.set()
        finally:
            self._withdraw()
            await self._record()
        if any(lane.shared for lane in self.pools):
            await self._thread.run(self._lease.end)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._claim_size = float(self._connections)
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
        put_off = lambda letter: self._recorder.note(results.postpone(letter.entry))  # noqa: E731
        self._dispatcher = Dispatcher(
            pools=self.pools, loop=loop, on_progress=self._progress.set, postpone=put_off
        )
        self._message_sender = MessageSender(
            sender=self.composer.sender.address,
            journal=self.journal,
            compose=self._compose_again,
            is_stopping=self._must_give_back,
            deadline=self._lease.find_dot_deadline,
            time=self._time,
            find_unsupported_reason=self._dispatcher.find_unsupported_reason,
            record_capabilities=self._recorder.record_capabilities,
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
            under_way = self._is_busy or self._recorder.has_pending
            if batch.entries:
                await self._dispatch_batch(batch)
            elif until_empty and self.trouble and not self._is_busy:
                return
            elif not self._dispatcher.empty or (until_empty and under_way and not batch.waits_for_slot):
                await self._wait_for_progress()  # what is under way may come back
            elif not until_empty or batch.waits_for_slot:
                await _wait(self._stop, POLL_SECONDS)
            elif not self._lease.lapsed:
                return

    def _apply_batch(self, batch: Batch) -> None:
        for row, scope in batch.row_trials.items():
            self._recorder.note_trial(row, scope)
        for lane in self.pools:
            lane.slots.extend(batch.slots.get(lane.name, ()))
            if batch.paused is not None:
                lane.paused, lane.urgent_exempt = batch.paused.get(lane.name, NOT_SUSPENDED)
                lane.trial = bool(lane.paused) and (lane.trial or lane.name in batch.relay_trials)
        for urgent in (True, False):
            if not self._is_reachable(urgent=urgent):
                self._withdraw(urgent=urgent)

    async def _wait_for_relay(self) -> None:
        """While no relay can be reached, hold nothing and wait until one may be tried, or was."""
        self._withdraw()
        while not self._must_give_back() and not self._is_reachable(urgent=True):
            self._progress.clear()
            left_to_rest = min(lane.backoff_until for lane in self.pools) - self._time()
            await _wait(self._progress, left_to_rest if left_to_rest > 0 else RENEW_SECONDS)

    async def _dispatch_batch(self, batch: Batch) -> None:
        """Compose claimed rows, a few at a time, as senders take them, for CLAIM_SECONDS; give back the rest.

        The claims grow while there is nothing left, and shrink to what was handed on.
        """
        entries = batch.entries
        began, full = self._time(), len(entries) >= int(self._claim_size)
        step = max(1, min(COMPOSE_MOST, int(self._claim_size / 5)))
        for first in range(0, len(entries), step):
            late = self._time() - began > CLAIM_SECONDS
            if late or self._must_give_back() or not self._is_reachable(urgent=True):
                if late:
                    self._claim_size = max(float(first), float(self._connections))
                await self._thread.run(self._claims.give_back, entries[first:])
                self._recorder.release_trials(entries[first:])
                return
            asked = self._time()
            these = entries[first : first + step]
            for letter in await self._compose_in_thread(these):
                if not isinstance(letter, ReadyMessage):
                    self._recorder.note(letter)
                elif lack := self._dispatcher.find_unsupported_reason(letter):
                    self._recorder.note(results.hold_unsupported(letter.entry, lack))
                else:
                    self._dispatcher.put(
                        WaitingMessage(letter, asked, batch.windows.get(letter.entry.id, ANY_TIME))
                    )
            for urgent in {is_urgent(entry.kind) for entry in these}:
                await self._wait_until_fewer(urgent=urgent)
        if full:
            self._claim_size = min(self._claim_size * 1.25, CLAIM_MOST)

    async def _wait_until_fewer(self, *, urgent: bool) -> None:
        """Wait until few messages wait for a connection, but no longer than for as much as a claim holds."""
        until = self._time() + CLAIM_SECONDS
        while self._has_enough_waiting(urgent=urgent) and not self._must_give_back() and self._time() < until:
            for entry in self._dispatcher.withdraw_stranded():
                self._recorder.note(results.requeue_for_capable_relay(entry, now=self.clock.now()))
            await self._wait_for_progress()

    def _has_enough_waiting(self, *, urgent: bool) -> bool:
        """Tell whether so many messages wait for a connection that no more need be claimed."""
        ahead = max(1, min(self._connections, int(self._claim_size / 10)))
        return self._dispatcher.count_waiting(urgent=urgent) >= ahead

    def _withdraw(self, *, before: float = float("inf"), urgent: bool = True) -> None:
        """Give back what was composed before this moment and nobody has taken."""
        for left in self._dispatcher.withdraw(before=before, urgent=urgent):
            self._recorder.note(results.give_back(left.ready.entry))

    def _withdraw_slotless(self) -> None:
        """Give back what no slot was left for, as all connections were busy when it came."""
        if any(lane.rate for lane in self.pools):
            self._withdraw(before=self._time() - 2 * CLAIM_SECONDS)

    def _must_give_back(self) -> bool:
        """Tell whether what is claimed and not begun must not be begun now."""
        return self._stop.is_set() or self._lease.lapsed

    def _is_reachable(self, *, urgent: bool) -> bool:
        """Tell whether some lane works for such mail, or may be tried by a message now."""
        return any(lane.is_usable(self._time(), urgent=urgent) for lane in self.pools)

    async def _restart(self) -> None:
        """Give back what was not begun before the lease was over, and go on once it is renewed."""
        self._withdraw()
        while self._lease.may_have_expired and not self._stop.is_set():
            await self._wait_for_progress()
        if not self._stop.is_set():
            self._lease.restart(self._time())
            await _wait(self._stop, TICK_SECONDS)  # what is composed from here on is later by the loop's time

    async def _wait_for_progress(self) -> None:
        """Wait until a message was taken or done, but only for a moment: slots pass, urgent mail comes."""
        self._progress.clear()
        await _wait(self._progress, POLL_SECONDS)

    async def _send(self, pool: RelayPool) -> None:
        connection = pool.connect()
        rest = BACKOFF_FIRST
        try:
            while (handed := await self._dispatcher.take(pool)) is not None:
                if pool.paused and handed.in_flight.is_probe:
                    self._recorder.note_trial(
                        handed.message.ready.entry.id, f"{suspensions.RELAY_SCOPE}{pool.name}"
                    )
                result = None
                try:
                    result = await self._message_sender.send(connection, pool, handed)
                finally:
                    self._dispatcher.finish(handed.in_flight, answered=results.was_answered(result))
                self._recorder.note(result)
                if result.outcome != "unreachable":
                    rest = BACKOFF_FIRST
                elif not pool.trouble:
                    pool.backing_off += (
                        1  # its place rests, too: else the next connection tries in vain at once
                    )
                    await _wait(self._feeding_over, rest)
                    pool.backing_off -= 1
                    rest = min(rest * 2, BACKOFF_LONGEST)
        finally:
            await connection.close()

    async def _compose_again(self, entry: Entry) -> ReadyMessage | Result:
        return (await self._compose_in_thread([entry]))[0]

    async def _compose_in_thread(self, entries: Sequence[Entry]) -> Sequence[ReadyMessage | Result]:
        """Compose, and heed pauses once more: nothing begins later than a second after one."""
        letters = await self._thread.run(self._compose, entries)
        for lane in self.pools:
            if not lane.paused or lane.urgent_exempt:
                lane.paused, lane.urgent_exempt = self._relay_suspensions.get(
                    lane.name, (lane.paused, lane.urgent_exempt)
                )
        return letters

    async def _record_repeatedly(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self._result_ready.wait()
            self._result_ready.clear()
            await _wait(over, RECORD_SECONDS)
            await self._record()

    async def _record(self) -> None:
        if self._recorder.has_pending:
            await self._thread.run(self._recorder.flush)

    async def _renew_lease(self, over: asyncio.Event, held: asyncio.Event) -> None:
        while not over.is_set():
            for lane, places in (await self._thread.run(self._lease.renew)).items():
                lane.places = places
            self._dispatcher.dispatch_waiting()
            self._lease.lapsed |= self._lease.may_have_expired
            self._lease.extend()
            self._progress.set()
            held.set()
            await _wait(over, RENEW_SECONDS)

    def _claim(self) -> Batch:
        """Claim due rows; none while one of ours may have been rescued before its outcome was recorded."""
        self._recorder.flush()
        if self._lease.lapsed or self._lease.may_have_expired:
            self._lease.lapsed = True
            return Batch()
        if self._has_enough_waiting(urgent=True):
            return Batch()
        urgent = self._has_enough_waiting(urgent=False)
        size = (
            1 if self._all_unreachable else int(self._claim_size)
        )  # one message tries what could not be reached
        relays = {
            lane.name: lane.rate for lane in select_active(self.pools) if lane.can_be_reached(self._time())
        }
        trying = {lane.name for lane in self.pools if lane.trial}
        return self._claims.take(size, relays=relays, trying=trying, time=self._time, urgent=urgent)

    def _compose(self, entries: Sequence[Entry]) -> Sequence[ReadyMessage | Result]:
        try:
            with self.database.read() as session:
                letters = self.composer.compose(session, entries, now=self.clock.now())
                paused = suspensions.read_all(session)
            self._relay_suspensions = suspensions.select_relays(paused)
            return self._recorder.give_back_paused(letters, paused) if paused else letters
        except StorageError:
            raise
        except Exception as fault:
            # A fault of ours in one message must not stop the others, nor the worker again and again.
            if len(entries) == 1:
                log.exception("a message cannot be composed", row=entries[0].id)
                return [
                    held_messages.hold_for_fault(
                        entries[0], f"the program failed at it: {type(fault).__name__}"
                    )
                ]
        return [letter for entry in entries for letter in self._compose([entry])]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
