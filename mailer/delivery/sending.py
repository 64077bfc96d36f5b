"""Sending: sends one composed message through one connection, and returns its result whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import structlog

from lists.addresses import domain_of
from lists.errors import StorageError
from mailer.compose.composer import ReadyMessage
from mailer.delivery import results
from mailer.delivery.concurrency import InFlightMessage
from mailer.delivery.dispatcher import DispatchedMessage
from mailer.delivery.journal import Journal
from mailer.delivery.relay_pool import RelayConnection, RelayPool
from mailer.outbox.outbox import Entry, Result
from mailer.reasons import Reason
from mailer.smtp.capabilities import Capabilities, RelayLimit
from mailer.smtp.outcome import Outcome

FRESH_SECONDS = 0.5  # a message composed longer ago is composed again: its recipient may have left meanwhile
BEGIN_SECONDS = 0.9  # a message composed longer ago does not begin: a connection may open slowly

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class MessageSender:
    """Sends one message at a time for each connection.

    `is_stopping` returns whether no message may begin any more, `deadline` until when (in the loop's time) a
    message composed at a moment may write its final dot. `compose` composes one row again.
    `find_limit` returns the limit for which no relay can carry a message, None while one may.
    `note_capabilities` receives the capabilities of a relay, and `note` the result of a message whose task
    was cancelled.
    """

    sender: str
    journal: Journal
    compose: Callable[[Entry], Awaitable[ReadyMessage | Result]]
    is_stopping: Callable[[], bool]
    deadline: Callable[[float], float]
    time: Callable[[], float]
    find_limit: Callable[[ReadyMessage], RelayLimit | None]
    note_capabilities: Callable[[str, Capabilities], None]
    note: Callable[[Result], None]

    async def send(
        self, connection: RelayConnection, pool: RelayPool, dispatched: DispatchedMessage
    ) -> Result:
        """Send one message; returns the result of its row."""
        (ready, composed_at, window), in_flight = dispatched
        deadline = partial(self.deadline, composed_at)
        if self.time() - composed_at > FRESH_SECONDS and not self._must_give_back(in_flight):
            composed_at = self.time()
            try:
                newer = await self.compose(ready.entry)
            except StorageError:  # only while the worker stops
                return results.give_back(ready.entry)
            if isinstance(newer, Result):
                return newer
            ready = newer

        def may_begin() -> bool:
            latest = min(deadline(), composed_at + BEGIN_SECONDS, window.until)
            return not self._must_give_back(in_flight) and self.time() <= latest

        has_moved = window.domain is not None and domain_of(ready.recipient) != window.domain
        if has_moved or not may_begin():  # a new address may have another rate limit
            return results.give_back(ready.entry)
        started_at = self.time()
        in_flight.connection = connection
        outcome = await self._send(connection, pool, ready, may_begin, deadline)
        if outcome is None:
            return results.give_back(ready.entry)
        if connection.dot_written:
            self._write_outcome(ready.entry, outcome)
        if connection.capabilities is not None and pool.update_capabilities(
            connection.capabilities, self.time()
        ):
            self.note_capabilities(pool.name, connection.capabilities)
        if outcome.state == "unsupported" and self.find_limit(ready) is None:
            return results.give_back(ready.entry)  # another relay may carry it
        only_this_connection = pool.note_outcome(outcome, began=started_at, now=self.time())
        return results.from_outcome(
            ready, outcome, relay=pool.name, only_this_connection=only_this_connection
        )

    async def _send(
        self,
        connection: RelayConnection,
        pool: RelayPool,
        ready: ReadyMessage,
        may_begin: Callable[[], bool],
        deadline: Callable[[], float],
    ) -> Outcome | None:
        entry = ready.entry
        try:
            return await connection.send(
                sender=self.sender,
                recipient=ready.recipient,
                message=ready.message,
                may_begin=may_begin,
                deadline=deadline,
                before_dot=partial(self.journal.record_start, entry.id, entry.attempt),
            )
        except asyncio.CancelledError:
            outcome = Outcome(state="unknown", reply="No answer in time.", doubt=Reason.LATE_ANSWER)
            result = results.from_outcome(ready, outcome, relay=pool.name)
            self.note(result if connection.dot_written else results.give_back(entry))
            raise
        except Exception as fault:  # the message is in doubt, and must not end the worker
            log.exception("a fault while a message was handed over", row=entry.id)
            connection.abort()
            reply = f"a fault of the program: {type(fault).__name__}"
            return Outcome(state="unknown", reply=reply, doubt=Reason.PROGRAM_FAULT)

    def _must_give_back(self, in_flight: InFlightMessage) -> bool:
        is_unavailable = in_flight.pool.would_probe(urgent=in_flight.urgent) and not in_flight.is_probe
        return self.is_stopping() or is_unavailable

    def _write_outcome(self, entry: Entry, outcome: Outcome) -> None:
        try:
            is_temporary = results.refuses_sender(outcome) or outcome.too_large
            state = "deferred" if is_temporary else outcome.state
            self.journal.record_outcome(entry.id, entry.attempt, state)
        except OSError as trouble:  # the database receives the outcome a moment later anyway
            log.error("the journal cannot be written", trouble=str(trouble))
