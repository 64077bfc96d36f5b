"""Recorder: outcomes that are known and not yet written down, and what they say about relays and domains.

A server's refusal of us, and not of its recipient, punishes nobody; but when such refusals repeat, more mail
would only harm our name further. So each relay's answers are watched, and those of each domain that refused
us. A relay is suspended when within an hour five people of three domains were refused for what we are, and
these are more than a fifth of those that were answered; a domain when five of its own people were. Whoever is
refused again and again is counted once, by what was said last.
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

REPLIES_MOST, WINDOW_SECONDS = 200, 3_600.0  # answers, and how long one counts
REFUSALS_LEAST, REFUSAL_SHARE = (
    5,
    0.2,
)  # so many people refused for what we are, and more than this part, are a suspension
DOMAINS_LEAST = 3  # at least, of those whom a relay refuses
AFTERMATH_SECONDS = 60.0  # after a pause, for answers to what had begun before it
ONE_DOMAIN_SHARE = 0.8  # where one domain refuses more than this part of them, it is that domain alone
DOMAINS_MOST = 1_000  # watched; the one that refused us first is forgotten first

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _ServerReply:
    at: float
    address: str
    is_about_us: bool

    @property
    def domain(self) -> str:
        return domain_of(self.address)


_ReplyHistory = partial(deque[_ServerReply], maxlen=REPLIES_MOST)


@dataclass(kw_only=True)
class Recorder:
    """Collects results and writes them down.

    `told` is called when there is one, `recorded` with the rows whose outcome is committed.
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
        """Whether something is to be written down."""
        return bool(
            self._results
            or self._new_suspensions
            or self._ended_suspensions
            or self._unused_trials
            or self._new_capabilities
        )

    def note(self, result: Result) -> None:
        """Take down what became of a claimed row."""
        self._results.append(result)
        if result.outcome in ("sent", "deferred", "refused"):
            self._track_refusals(result)
        self.on_result()

    def record_capabilities(self, relay: str, capabilities: Capabilities) -> None:
        """Take down what a relay said it can carry."""
        self._new_capabilities[relay] = capabilities
        self.on_result()

    def note_trial(self, row: int, scope: str) -> None:
        """Note that this row's message tries whether the pause of a scope is over."""
        self._trials[row] = scope

    def give_back_paused(
        self, letters: ComposedBatch, active_suspensions: Mapping[str, Suspension]
    ) -> ComposedBatch:
        """Put back what goes to a domain that was paused meanwhile, but for what tries if that is over."""

        def waits(letter: ReadyMessage | Result) -> bool:
            domain = domain_of(letter.recipient) if isinstance(letter, ReadyMessage) else ""
            pause = active_suspensions.get(f"{suspensions.DOMAIN_SCOPE}{domain}")
            held = pause is not None and pause.applies_to(letter.entry.kind)
            return held and letter.entry.id not in self._trials

        return [results.give_back(letter.entry) if waits(letter) else letter for letter in letters]

    def release_trials(self, entries: Iterable[Entry]) -> None:
        """Note that these rows go back before any server was asked, so that others may try for them."""
        self._unused_trials += [scope for entry in entries if (scope := self._trials.pop(entry.id, ""))]

    def flush(self) -> None:
        """Record every outcome known by now, and forget it once that is committed."""
        if self._new_capabilities:  # before the results, which were made with what was said
            self._write_capabilities()
        known = self._results[:]
        if known:
            results.record_and_settle(self.database, self.clock, self.sources, known)
            del self._results[: len(known)]
            self.on_recorded(result.entry for result in known)
        for result in known:
            scope = self._trials.pop(result.entry.id, "")
            if scope and result.outcome == "sent":
                self._ended_suspensions.append(scope)
            elif scope and not result.outcome:
                self._unused_trials.append(scope)
        if self._new_suspensions or self._ended_suspensions or self._unused_trials:
            self._write_suspensions()

    def _write_capabilities(self) -> None:
        said = dict(self._new_capabilities)
        with self.database.write() as session:
            now = self.clock.now()
            freed = sum(
                held_messages.record_capabilities(session, relay, said[relay], now=now)
                for relay in sorted(said)
            )
        for relay, offers in said.items():
            if self._new_capabilities.get(relay) is offers:
                del self._new_capabilities[relay]
        if freed:
            log.info("mail that no server could carry is tried again", rows=freed)

    def _write_suspensions(self) -> None:
        pausing, over, untried = (
            dict(self._new_suspensions),
            list(self._ended_suspensions),
            list(self._unused_trials),
        )
        with self.database.write() as session:
            real = self.clock.real()
            begun = [
                scope
                for scope, why in pausing.items()
                if suspensions.begin(session, scope, why=why, real=real)
            ]
            ended = [scope for scope in over if suspensions.end(session, scope)]
            for scope in untried:
                suspensions.reset_trial(session, scope, real=real)
        for scope in pausing:
            self._new_suspensions.pop(scope)
        del self._ended_suspensions[: len(over)], self._unused_trials[: len(untried)]
        for scope in begun:
            log.error("paused, because servers refuse our mail", what=scope.partition("/")[0])
        for scope in ended:
            log.warning("a pause is over, our mail is taken again", what=scope.partition("/")[0])

    def _track_refusals(self, result: Result) -> None:
        domain, now = domain_of(result.address), self.clock.monotonic()
        here, there = f"{suspensions.RELAY_SCOPE}{result.relay}", f"{suspensions.DOMAIN_SCOPE}{domain}"
        if now < self._ignored_until.get(here, 0.0):
            return
        answer = _ServerReply(at=now, address=result.address, is_about_us=result.is_about_us)
        self._replies[here].append(answer)
        if result.is_about_us or there in self._replies:
            self._replies[there].append(answer)
        if not result.is_about_us:
            return
        for scope, domains, most_by_one in ((here, DOMAINS_LEAST, ONE_DOMAIN_SHARE), (there, 1, 1.0)):
            last = {each.address: each for each in self._replies[scope] if each.at > now - WINDOW_SECONDS}
            refused = Counter(each.domain for each in last.values() if each.is_about_us)
            number = refused.total()
            enough = (
                number >= REFUSALS_LEAST and number > REFUSAL_SHARE * len(last) and len(refused) >= domains
            )
            if enough and max(refused.values()) <= most_by_one * number:
                self._new_suspensions[scope] = result.reply
                self._replies.clear()
                self._ignored_until[here] = now + AFTERMATH_SECONDS
                return
        if len(self._replies) > DOMAINS_MOST:
            del self._replies[
                next(each for each in self._replies if each.startswith(suspensions.DOMAIN_SCOPE))
            ]
