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
from lists.errors import StorageTrouble
from mailer.compose.composer import Composer, Ready
from mailer.coordination import suspensions
from mailer.coordination.suspensions import NO_HALT, Halt
from mailer.delivery import results
from mailer.delivery.claims import Batch, Claims
from mailer.delivery.database_thread import DatabaseThread
from mailer.delivery.dispatcher import ANY_TIME, Composed, Handout
from mailer.delivery.journal import Journal
from mailer.delivery.recorder import Recorder
from mailer.delivery.relay_pool import REST_FIRST, REST_LONGEST, Lane, in_turn
from mailer.delivery.sending import HandOver
from mailer.delivery.worker_lease import LEASE, Tenure
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
    lanes: Sequence[Lane]
    executor: Executor
    journal: Journal
    worker: str
    domains: Mapping[str, Rate] = field(default_factory=dict)
    _thread: DatabaseThread = field(init=False, repr=False)
    _claims: Claims = field(init=False, repr=False)
    _claim_size: float = field(default=0.0, init=False)
    _tenure: Tenure = field(init=False, repr=False)
    _handout: Handout = field(init=False, repr=False)
    _hand_over: HandOver = field(init=False, repr=False)
    _recorder: Recorder = field(init=False, repr=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _fed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _known: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _moved: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _time: Callable[[], float] = field(init=False, repr=False)
    _paused: Mapping[str, Halt] = field(default_factory=dict, init=False)  # relays, as last seen

    @property
    def sent(self) -> int:
        """How many messages were sent."""
        return sum(lane.sent for lane in self.lanes)

    @property
    def trouble(self) -> str:
        """Why nothing can leave by any relay, "" while something can."""
        return self.lanes[0].closed if all(lane.closed for lane in self.lanes) else ""

    @property
    def stalled(self) -> bool:
        """Whether messages wait, and all connections have waited for answers for long."""
        return self._handout.stuck

    @property
    def _away(self) -> bool:
        return all(lane.trouble for lane in self.lanes)

    @property
    def _connections(self) -> int:
        return sum(lane.connections for lane in self.lanes)

    @property
    def _busy(self) -> bool:
        return any(lane.busy for lane in self.lanes) or not self._handout.empty

    def stop(self) -> None:
        """Start nothing new; `run` returns once what was begun is recorded."""
        self._stop.set()
        self._fed.set()
        self._moved.set()

    async def run(self, *, until_empty: bool = False) -> None:
        """Deliver until `stop()`, or until nothing is due any more, and record what became of it all.

        Messages begun are finished, messages composed but not begun are given back.
        """
        self._begin()
        over, held = asyncio.Event(), asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:  # a fault in one ends all; the process is started anew
                senders = [
                    group.create_task(self._send(lane)) for lane in self.lanes for _ in range(lane.most)
                ]
                group.create_task(self._record_often(over))
                group.create_task(self._keep(over, held))
                patience = group.create_task(self._lose_patience(senders))
                await held.wait()
                await self._feed(until_empty=until_empty)
                self._fed.set()
                self._handout.close()
                await asyncio.wait(senders)
                patience.cancel()
                over.set()
                self._known.set()
        finally:
            self._take_back()
            await self._record()
        if any(lane.shared for lane in self.lanes):
            await self._thread.run(self._tenure.end)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._claim_size = float(self._connections)
        self._thread = DatabaseThread(executor=self.executor, stopped=self._stop.is_set)
        self._claims = Claims(
            database=self.database, clock=self.clock, worker=self.worker, lease=LEASE, domains=self.domains
        )
        self._tenure = Tenure(
            database=self.database,
            clock=self.clock,
            worker=self.worker,
            renewed=self._claims.look_for_more,
            lanes=self.lanes,
        )
        self._recorder = Recorder(
            database=self.database,
            clock=self.clock,
            sources=self.composer.sources,
            told=self._known.set,
            recorded=self._claims.end,
        )
        put_off = lambda letter: self._recorder.note(results.put_off(letter.entry))  # noqa: E731
        self._handout = Handout(lanes=self.lanes, loop=loop, moved=self._moved.set, put_off=put_off)
        self._hand_over = HandOver(
            sender=self.composer.sender.address,
            journal=self.journal,
            compose=self._compose_again,
            stops=self._gives_back,
            deadline=self._tenure.until,
            time=self._time,
            lack=self._handout.lack,
            hears=self._recorder.hears,
            note=self._recorder.note,
        )

    async def _lose_patience(self, senders: Sequence[asyncio.Task[None]]) -> None:
        await self._stop.wait()
        _, late = await asyncio.wait(senders, timeout=DRAIN_SECONDS)
        for sender in late:
            sender.cancel()

    async def _feed(self, *, until_empty: bool) -> None:
        while not self._stop.is_set():
            if self._away:
                if until_empty:
                    return
                await self._rest()
            if self._tenure.lapsed:
                await self._begin_anew()
            self._take_back_slotless()
            batch = await self._thread.run(self._claim)
            self._heed(batch)
            under_way = self._busy or self._recorder.knows
            if batch.entries:
                await self._hand_on(batch)
            elif until_empty and self.trouble and not self._busy:
                return
            elif not self._handout.empty or (until_empty and under_way and not batch.waits):
                await self._something_moved()  # what is under way may come back
            elif not until_empty or batch.waits:
                await _wait(self._stop, POLL_SECONDS)
            elif not self._tenure.lapsed:
                return

    def _heed(self, batch: Batch) -> None:
        for row, scope in batch.row_trials.items():
            self._recorder.tries(row, scope)
        for lane in self.lanes:
            lane.slots.extend(batch.slots.get(lane.name, ()))
            if batch.paused is not None:
                lane.paused, lane.suspended = batch.paused.get(lane.name, NO_HALT)
                lane.trial = bool(lane.paused) and (lane.trial or lane.name in batch.relay_trials)
        for urgent in (True, False):
            if not self._reachable(urgent=urgent):
                self._take_back(urgent=urgent)

    async def _rest(self) -> None:
        """While no relay can be reached, hold nothing and wait until one may be tried, or was."""
        self._take_back()
        while not self._gives_back() and not self._reachable(urgent=True):
            self._moved.clear()
            left_to_rest = min(lane.rests_until for lane in self.lanes) - self._time()
            await _wait(self._moved, left_to_rest if left_to_rest > 0 else RENEW_SECONDS)

    async def _hand_on(self, batch: Batch) -> None:
        """Compose claimed rows, a few at a time, as senders take them, for CLAIM_SECONDS; give back the rest.

        The claims grow while there is nothing left, and shrink to what was handed on.
        """
        entries = batch.entries
        began, full = self._time(), len(entries) >= int(self._claim_size)
        step = max(1, min(COMPOSE_MOST, int(self._claim_size / 5)))
        for first in range(0, len(entries), step):
            late = self._time() - began > CLAIM_SECONDS
            if late or self._gives_back() or not self._reachable(urgent=True):
                if late:
                    self._claim_size = max(float(first), float(self._connections))
                await self._thread.run(self._claims.give_back, entries[first:])
                self._recorder.gives_back(entries[first:])
                return
            asked = self._time()
            these = entries[first : first + step]
            for letter in await self._composed(these):
                if not isinstance(letter, Ready):
                    self._recorder.note(letter)
                elif lack := self._handout.lack(letter):
                    self._recorder.note(results.uncarried(letter.entry, lack))
                else:
                    self._handout.put(Composed(letter, asked, batch.turns.get(letter.entry.id, ANY_TIME)))
            for urgent in {is_urgent(entry.kind) for entry in these}:
                await self._until_fewer(urgent=urgent)
        if full:
            self._claim_size = min(self._claim_size * 1.25, CLAIM_MOST)

    async def _until_fewer(self, *, urgent: bool) -> None:
        """Wait until few messages wait for a connection, but no longer than for as much as a claim holds."""
        until = self._time() + CLAIM_SECONDS
        while self._enough_wait(urgent=urgent) and not self._gives_back() and self._time() < until:
            for entry in self._handout.take_back_stranded():
                self._recorder.note(results.elsewhere(entry, now=self.clock.now()))
            await self._something_moved()

    def _enough_wait(self, *, urgent: bool) -> bool:
        """Tell whether so many messages wait for a connection that no more need be claimed."""
        ahead = max(1, min(self._connections, int(self._claim_size / 10)))
        return self._handout.ripe(urgent=urgent) >= ahead

    def _take_back(self, *, before: float = float("inf"), urgent: bool = True) -> None:
        """Give back what was composed before this moment and nobody has taken."""
        for left in self._handout.take_back(before=before, urgent=urgent):
            self._recorder.note(results.back(left.letter.entry))

    def _take_back_slotless(self) -> None:
        """Give back what no slot was left for, as all connections were busy when it came."""
        if any(lane.rate for lane in self.lanes):
            self._take_back(before=self._time() - 2 * CLAIM_SECONDS)

    def _gives_back(self) -> bool:
        """Tell whether what is claimed and not begun must not be begun now."""
        return self._stop.is_set() or self._tenure.lapsed

    def _reachable(self, *, urgent: bool) -> bool:
        """Tell whether some lane works for such mail, or may be tried by a message now."""
        return any(lane.works(self._time(), urgent=urgent) for lane in self.lanes)

    async def _begin_anew(self) -> None:
        """Give back what was not begun before the lease was over, and go on once it is renewed."""
        self._take_back()
        while self._tenure.late and not self._stop.is_set():
            await self._something_moved()
        if not self._stop.is_set():
            self._tenure.begin_anew(self._time())
            await _wait(self._stop, TICK_SECONDS)  # what is composed from here on is later by the loop's time

    async def _something_moved(self) -> None:
        """Wait until a message was taken or done, but only for a moment: slots pass, urgent mail comes."""
        self._moved.clear()
        await _wait(self._moved, POLL_SECONDS)

    async def _send(self, lane: Lane) -> None:
        connection = lane.connect()
        rest = REST_FIRST
        try:
            while (handed := await self._handout.take(lane)) is not None:
                if lane.paused and handed.flight.probes:
                    self._recorder.tries(handed.composed.letter.entry.id, f"{suspensions.RELAY}{lane.name}")
                result = None
                try:
                    result = await self._hand_over.give(connection, lane, handed)
                finally:
                    self._handout.over(handed.flight, answered=results.answered(result))
                self._recorder.note(result)
                if result.outcome != "unreachable":
                    rest = REST_FIRST
                elif not lane.trouble:
                    lane.resting += 1  # its place rests, too: else the next connection tries in vain at once
                    await _wait(self._fed, rest)
                    lane.resting -= 1
                    rest = min(rest * 2, REST_LONGEST)
        finally:
            await connection.close()

    async def _compose_again(self, entry: Entry) -> Ready | Result:
        return (await self._composed([entry]))[0]

    async def _composed(self, entries: Sequence[Entry]) -> Sequence[Ready | Result]:
        """Compose, and heed pauses once more: nothing begins later than a second after one."""
        letters = await self._thread.run(self._compose, entries)
        for lane in self.lanes:
            if not lane.paused or lane.suspended:
                lane.paused, lane.suspended = self._paused.get(lane.name, (lane.paused, lane.suspended))
        return letters

    async def _record_often(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self._known.wait()
            self._known.clear()
            await _wait(over, RECORD_SECONDS)
            await self._record()

    async def _record(self) -> None:
        if self._recorder.knows:
            await self._thread.run(self._recorder.write_down)

    async def _keep(self, over: asyncio.Event, held: asyncio.Event) -> None:
        while not over.is_set():
            for lane, places in (await self._thread.run(self._tenure.renew)).items():
                lane.places = places
            self._handout.share_out()
            self._tenure.lapsed |= self._tenure.late
            self._tenure.extend()
            self._moved.set()
            held.set()
            await _wait(over, RENEW_SECONDS)

    def _claim(self) -> Batch:
        """Claim due rows; none while one of ours may have been rescued before its outcome was recorded."""
        self._recorder.write_down()
        if self._tenure.lapsed or self._tenure.late:
            self._tenure.lapsed = True
            return Batch()
        if self._enough_wait(urgent=True):
            return Batch()
        urgent = self._enough_wait(urgent=False)
        size = 1 if self._away else int(self._claim_size)  # one message tries what could not be reached
        relays = {lane.name: lane.rate for lane in in_turn(self.lanes) if lane.can_be_reached(self._time())}
        trying = {lane.name for lane in self.lanes if lane.trial}
        return self._claims.take(size, relays=relays, trying=trying, time=self._time, urgent=urgent)

    def _compose(self, entries: Sequence[Entry]) -> Sequence[Ready | Result]:
        try:
            with self.database.read() as session:
                letters = self.composer.compose(session, entries, now=self.clock.now())
                paused = suspensions.all_of_them(session)
            self._paused = suspensions.of_relays(paused)
            return self._recorder.unless_paused(letters, paused) if paused else letters
        except StorageTrouble:
            raise
        except Exception as fault:
            # A fault of ours in one message must not stop the others, nor the worker again and again.
            if len(entries) == 1:
                log.exception("a message cannot be composed", row=entries[0].id)
                return [held_messages.ours(entries[0], f"the program failed at it: {type(fault).__name__}")]
        return [letter for entry in entries for letter in self._compose([entry])]


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
