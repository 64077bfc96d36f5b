"""Hand-over: one composed message through one connection, and what is certain of it whatever happens."""

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
from mailer.smtp import doubt
from mailer.smtp.capabilities import Capabilities
from mailer.smtp.outcome import Outcome

FRESH_SECONDS = 0.5  # a message composed longer ago is composed again: its reader may have left meanwhile
BEGIN_SECONDS = 0.9  # one composed longer ago does not begin: a connection may take long to open

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class MessageSender:
    """Hands over one message at a time for each connection.

    `stops` tells whether nothing may begin any more, `deadline` until when (in the loop's time) what was
    composed at a moment may write its final dot, `compose` composes one row anew, `lack` tells why no relay
    is known to carry a message, "" while one may, `hears` is told what a relay says that it can carry, and
    `note` what became of a message whose hand-over was cancelled.
    """

    sender: str
    journal: Journal
    compose: Callable[[Entry], Awaitable[ReadyMessage | Result]]
    is_stopping: Callable[[], bool]
    deadline: Callable[[float], float]
    time: Callable[[], float]
    find_unsupported_reason: Callable[[ReadyMessage], str]
    record_capabilities: Callable[[str, Capabilities], None]
    note: Callable[[Result], None]

    async def send(
        self, connection: RelayConnection, pool: RelayPool, dispatched: DispatchedMessage
    ) -> Result:
        """Hand over one message; says what became of its row."""
        (letter, asked, turn), flight = dispatched
        deadline = partial(self.deadline, asked)
        if self.time() - asked > FRESH_SECONDS and not self._must_give_back(flight):
            asked = self.time()
            try:
                again = await self.compose(letter.entry)
            except StorageError:  # only after we were told to stop
                return results.give_back(letter.entry)
            if isinstance(again, Result):
                return again
            letter = again

        def may_begin() -> bool:
            last = min(deadline(), asked + BEGIN_SECONDS, turn.until)
            return not self._must_give_back(flight) and self.time() <= last

        moved = turn.domain is not None and domain_of(letter.recipient) != turn.domain
        if moved or not may_begin():  # who has a new address may have moved to another limit
            return results.give_back(letter.entry)
        began = self.time()
        flight.connection = connection
        outcome = await self._send(connection, pool, letter, may_begin, deadline)
        if outcome is None:
            return results.give_back(letter.entry)
        if connection.dot_written:
            self._write_outcome(letter.entry, outcome)
        if connection.capabilities is not None and pool.update_capabilities(
            connection.capabilities, self.time()
        ):
            self.record_capabilities(pool.name, connection.capabilities)
        if outcome.state == "unsupported" and not self.find_unsupported_reason(letter):
            return results.give_back(letter.entry)  # another relay may carry it
        alone = pool.note_outcome(outcome, began=began, now=self.time())
        return results.from_outcome(letter, outcome, relay=pool.name, only_this_connection=alone)

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
                before_dot=partial(self.journal.record_dot, entry.id, entry.attempt),
            )
        except asyncio.CancelledError:
            unsure = Outcome(state="unknown", reply="No answer in time.", doubt=doubt.LATE)
            told = results.from_outcome(ready, unsure, relay=pool.name)
            self.note(told if connection.dot_written else results.give_back(entry))
            raise
        except Exception as fault:  # nobody can say how far it came, and it must not end the worker
            log.exception("a fault while a message was handed over", row=entry.id)
            connection.abort()
            reply = f"a fault of the program: {type(fault).__name__}"
            return Outcome(state="unknown", reply=reply, doubt=doubt.FAULT)

    def _must_give_back(self, in_flight: InFlightMessage) -> bool:
        away = in_flight.pool.would_probe(urgent=in_flight.urgent) and not in_flight.is_probe
        return self.is_stopping() or away

    def _write_outcome(self, entry: Entry, outcome: Outcome) -> None:
        try:
            ours = results.refuses_us(outcome) or outcome.too_large
            state = "deferred" if ours else outcome.state
            self.journal.record_outcome(entry.id, entry.attempt, state)
        except OSError as trouble:  # recorded in the database a moment later all the same
            log.error("the journal cannot be written", trouble=str(trouble))
