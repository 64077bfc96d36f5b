"""Recorder: writes results to the database in batches, and suspends relays and domains that refuse us.

A refusal that is about the sender and not about the recipient does not count for the recipient; but when such
refusals repeat, more mail would harm the sender's reputation further. So the recorder keeps the replies of
each relay, and those of each domain that refused the sender. A relay is suspended when within an hour five
recipients of three domains were refused because of the sender, and these are more than a fifth of those with
a reply; a domain is suspended when five of its recipients were. A recipient that is refused several times
counts once, by the last reply.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from lists.addresses import domain_of
from lists.clock import Clock
from lists.db import Database
from mailer.compose.composer import ComposedBatch, ReadyMessage
from mailer.compose.source import Source
from mailer.coordination import suspensions
from mailer.coordination.suspensions import Suspension
from mailer.delivery import results
from mailer.outbox import held_messages
from mailer.outbox.outbox import Entry, Result
from mailer.smtp.capabilities import Capabilities

MAX_REPLIES, WINDOW_SECONDS = 200, 3_600.0  # replies of one scope, and how long one counts
# A suspension needs so many recipients refused because of the sender, and more than this part of all.
MIN_REFUSALS, REFUSAL_SHARE = 5, 0.2
MIN_DOMAINS = 3  # domains of the recipients that a relay refuses
AFTERMATH_SECONDS = 60.0  # after a suspension, for replies to messages that had begun before it
ONE_DOMAIN_SHARE = 0.8  # where one domain refuses more than this part of them, only that domain is suspended
MAX_DOMAINS = 1_000  # domains observed; the one that refused the sender first is forgotten first

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _ServerReply:
    at: float
    address: str
    blames_sender: bool

    @property
    def domain(self) -> str:
        return domain_of(self.address)


_ReplyHistory = partial(deque[_ServerReply], maxlen=MAX_REPLIES)


@dataclass(kw_only=True)
class Recorder:
    """Collects results and records them.

    `on_result` is called when there is one, `on_recorded` with the rows whose results are committed.
    """

    database: Database
    clock: Clock
    sources: Mapping[str, Source]
    on_result: Callable[[], None]
    on_recorded: Callable[[Iterable[Entry]], None]
    _results: list[Result] = field(default_factory=list, init=False)
    _replies: defaultdict[str, deque[_ServerReply]] = field(
        default_factory=lambda: defaultdict(_ReplyHistory), init=False
    )
    _ignored_until: dict[str, float] = field(default_factory=dict, init=False)
    _trials: dict[int, str] = field(default_factory=dict, init=False)
    _new_suspensions: dict[str, str] = field(default_factory=dict, init=False)
    _new_capabilities: dict[str, Capabilities] = field(default_factory=dict, init=False)
    _ended_suspensions: list[str] = field(default_factory=list, init=False)
    _unused_trials: list[str] = field(default_factory=list, init=False)

    @property
    def has_pending(self) -> bool:
        """Whether something waits to be recorded."""
        return bool(
            self._results
            or self._new_suspensions
            or self._ended_suspensions
            or self._unused_trials
            or self._new_capabilities
        )

    def note(self, result: Result) -> None:
        """Note the result of a claimed row."""
        self._results.append(result)
        if result.outcome in ("sent", "deferred", "refused"):
            self._track_refusals(result)
        self.on_result()

    def note_capabilities(self, relay: str, capabilities: Capabilities) -> None:
        """Note the capabilities of a relay."""
        self._new_capabilities[relay] = capabilities
        self.on_result()

    def note_trial(self, row: int, scope: str) -> None:
        """Note that this row's message tests whether the suspension of a scope has ended."""
        self._trials[row] = scope

    def give_back_suspended(
        self, messages: ComposedBatch, active_suspensions: Mapping[str, Suspension]
    ) -> ComposedBatch:
        """Give back messages to a domain that is suspended by now, except those that test the suspension."""

        def waits(message: ReadyMessage | Result) -> bool:
            domain = domain_of(message.recipient) if isinstance(message, ReadyMessage) else ""
            suspension = active_suspensions.get(f"{suspensions.DOMAIN_SCOPE}{domain}")
            must_wait = suspension is not None and suspension.applies_to(message.entry.kind)
            return must_wait and message.entry.id not in self._trials

        return [results.give_back(message.entry) if waits(message) else message for message in messages]

    def release_trials(self, entries: Iterable[Entry]) -> None:
        """Note that these rows return unsent, so that other messages may test the suspensions."""
        self._unused_trials += [scope for entry in entries if (scope := self._trials.pop(entry.id, ""))]

    def flush(self) -> None:
        """Record every result collected by now, and remove it once it is committed."""
        if self._new_capabilities:  # before the results, which depend on them
            self._write_capabilities()
        pending = self._results[:]
        if pending:
            results.record_and_settle(self.database, self.clock, self.sources, pending)
            del self._results[: len(pending)]
            self.on_recorded(result.entry for result in pending)
        for result in pending:
            scope = self._trials.pop(result.entry.id, "")
            if scope and result.outcome == "sent":
                self._ended_suspensions.append(scope)
            elif scope and not result.outcome:
                self._unused_trials.append(scope)
        if self._new_suspensions or self._ended_suspensions or self._unused_trials:
            self._write_suspensions()

    def _write_capabilities(self) -> None:
        new_capabilities = dict(self._new_capabilities)
        with self.database.write() as session:
            now = self.clock.now()
            requeued_count = sum(
                held_messages.record_capabilities(session, relay, new_capabilities[relay], now=now)
                for relay in sorted(new_capabilities)
            )
        for relay, capabilities in new_capabilities.items():
            if self._new_capabilities.get(relay) is capabilities:
                del self._new_capabilities[relay]
        if requeued_count:
            log.info("mail that no server could carry is tried again", rows=requeued_count)

    def _write_suspensions(self) -> None:
        new_suspensions, unused_trials = dict(self._new_suspensions), list(self._unused_trials)
        trial_successes = list(self._ended_suspensions)
        with self.database.write() as session:
            real = self.clock.real()
            suspended_scopes = [
                scope
                for scope, reply in new_suspensions.items()
                if suspensions.begin(session, scope, reply=reply, real=real)
            ]
            resumed_scopes = [scope for scope in trial_successes if suspensions.end(session, scope)]
            for scope in unused_trials:
                suspensions.reset_trial(session, scope, real=real)
        for scope in new_suspensions:
            self._new_suspensions.pop(scope)
        del self._ended_suspensions[: len(trial_successes)], self._unused_trials[: len(unused_trials)]
        for scope in suspended_scopes:
            log.error("paused, because servers refuse our mail", what=scope.partition("/")[0])
        for scope in resumed_scopes:
            log.warning("a pause is over, our mail is taken again", what=scope.partition("/")[0])

    def _track_refusals(self, result: Result) -> None:
        domain, now = domain_of(result.address), self.clock.monotonic()
        relay_scope, domain_scope = (
            f"{suspensions.RELAY_SCOPE}{result.relay}",
            f"{suspensions.DOMAIN_SCOPE}{domain}",
        )
        if now < self._ignored_until.get(relay_scope, 0.0):
            return
        reply = _ServerReply(at=now, address=result.address, blames_sender=result.blames_sender)
        self._replies[relay_scope].append(reply)
        if result.blames_sender or domain_scope in self._replies:
            self._replies[domain_scope].append(reply)
        if not result.blames_sender:
            return
        for scope, domains_least, one_domain_share in (
            (relay_scope, MIN_DOMAINS, ONE_DOMAIN_SHARE),
            (domain_scope, 1, 1.0),
        ):
            latest = {each.address: each for each in self._replies[scope] if each.at > now - WINDOW_SECONDS}
            refusals = Counter(each.domain for each in latest.values() if each.blames_sender)
            refusal_count = refusals.total()
            is_enough = (
                refusal_count >= MIN_REFUSALS
                and refusal_count > REFUSAL_SHARE * len(latest)
                and len(refusals) >= domains_least
            )
            if is_enough and max(refusals.values()) <= one_domain_share * refusal_count:
                self._new_suspensions[scope] = result.reply
                self._replies.clear()
                self._ignored_until[relay_scope] = now + AFTERMATH_SECONDS
                return
        if len(self._replies) > MAX_DOMAINS:
            oldest = next(scope for scope in self._replies if scope.startswith(suspensions.DOMAIN_SCOPE))
            del self._replies[oldest]
