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
from mailer.compose.composer import Letters, Ready
from mailer.compose.source import Source
from mailer.coordination import suspensions
from mailer.coordination.suspensions import Pause
from mailer.delivery import results
from mailer.outbox import held_messages
from mailer.outbox.outbox import Entry, Result
from mailer.smtp.capabilities import Offers

WATCHED, WINDOW_SECONDS = 200, 3_600.0  # answers, and how long one counts
ENOUGH, SHARE = 5, 0.2  # so many people refused for what we are, and more than this part, are a suspension
DOMAINS = 3  # at least, of those whom a relay refuses
AFTERMATH_SECONDS = 60.0  # after a pause, for answers to what had begun before it
ONE_DOMAIN = 0.8  # where one domain refuses more than this part of them, it is that domain alone
DOMAINS_MOST = 1_000  # watched; the one that refused us first is forgotten first

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Answer:
    at: float
    address: str
    ours: bool

    @property
    def domain(self) -> str:
        return domain_of(self.address)


_Watched = partial(deque[_Answer], maxlen=WATCHED)


@dataclass(kw_only=True)
class Recorder:
    """Collects results and writes them down.

    `told` is called when there is one, `recorded` with the rows whose outcome is committed.
    """

    database: Database
    clock: Clock
    sources: Mapping[str, Source]
    told: Callable[[], None]
    recorded: Callable[[Iterable[Entry]], None]
    _results: list[Result] = field(default_factory=list, init=False)
    _answers: defaultdict[str, deque[_Answer]] = field(
        default_factory=lambda: defaultdict(_Watched), init=False
    )
    _looks_away: dict[str, float] = field(default_factory=dict, init=False)
    _trials: dict[int, str] = field(default_factory=dict, init=False)
    _pausing: dict[str, str] = field(default_factory=dict, init=False)
    _said: dict[str, Offers] = field(default_factory=dict, init=False)
    _over: list[str] = field(default_factory=list, init=False)
    _untried: list[str] = field(default_factory=list, init=False)

    @property
    def knows(self) -> bool:
        """Whether something is to be written down."""
        return bool(self._results or self._pausing or self._over or self._untried or self._said)

    def note(self, result: Result) -> None:
        """Take down what became of a claimed row."""
        self._results.append(result)
        if result.outcome in ("sent", "deferred", "refused"):
            self._watch(result)
        self.told()

    def hears(self, relay: str, offers: Offers) -> None:
        """Take down what a relay said it can carry."""
        self._said[relay] = offers
        self.told()

    def tries(self, row: int, scope: str) -> None:
        """Note that this row's message tries whether the pause of a scope is over."""
        self._trials[row] = scope

    def unless_paused(self, letters: Letters, paused: Mapping[str, Pause]) -> Letters:
        """Put back what goes to a domain that was paused meanwhile, but for what tries if that is over."""

        def waits(letter: Ready | Result) -> bool:
            domain = domain_of(letter.recipient) if isinstance(letter, Ready) else ""
            pause = paused.get(f"{suspensions.DOMAIN}{domain}")
            held = pause is not None and pause.holds(letter.entry.kind)
            return held and letter.entry.id not in self._trials

        return [results.back(letter.entry) if waits(letter) else letter for letter in letters]

    def gives_back(self, entries: Iterable[Entry]) -> None:
        """Note that these rows go back before any server was asked, so that others may try for them."""
        self._untried += [scope for entry in entries if (scope := self._trials.pop(entry.id, ""))]

    def write_down(self) -> None:
        """Record every outcome known by now, and forget it once that is committed."""
        if self._said:  # before the results, which were made with what was said
            self._write_offers()
        known = self._results[:]
        if known:
            results.write_down(self.database, self.clock, self.sources, known)
            del self._results[: len(known)]
            self.recorded(result.entry for result in known)
        for result in known:
            scope = self._trials.pop(result.entry.id, "")
            if scope and result.outcome == "sent":
                self._over.append(scope)
            elif scope and not result.outcome:
                self._untried.append(scope)
        if self._pausing or self._over or self._untried:
            self._write_pauses()

    def _write_offers(self) -> None:
        said = dict(self._said)
        with self.database.write() as session:
            now = self.clock.now()
            freed = sum(held_messages.heard(session, relay, said[relay], now=now) for relay in sorted(said))
        for relay, offers in said.items():
            if self._said.get(relay) is offers:
                del self._said[relay]
        if freed:
            log.info("mail that no server could carry is tried again", rows=freed)

    def _write_pauses(self) -> None:
        pausing, over, untried = dict(self._pausing), list(self._over), list(self._untried)
        with self.database.write() as session:
            real = self.clock.real()
            begun = [
                scope
                for scope, why in pausing.items()
                if suspensions.begin(session, scope, why=why, real=real)
            ]
            ended = [scope for scope in over if suspensions.end(session, scope)]
            for scope in untried:
                suspensions.try_again(session, scope, real=real)
        for scope in pausing:
            self._pausing.pop(scope)
        del self._over[: len(over)], self._untried[: len(untried)]
        for scope in begun:
            log.error("paused, because servers refuse our mail", what=scope.partition("/")[0])
        for scope in ended:
            log.warning("a pause is over, our mail is taken again", what=scope.partition("/")[0])

    def _watch(self, result: Result) -> None:
        domain, now = domain_of(result.address), self.clock.monotonic()
        here, there = f"{suspensions.RELAY}{result.relay}", f"{suspensions.DOMAIN}{domain}"
        if now < self._looks_away.get(here, 0.0):
            return
        answer = _Answer(at=now, address=result.address, ours=result.ours)
        self._answers[here].append(answer)
        if result.ours or there in self._answers:
            self._answers[there].append(answer)
        if not result.ours:
            return
        for scope, domains, most_by_one in ((here, DOMAINS, ONE_DOMAIN), (there, 1, 1.0)):
            last = {each.address: each for each in self._answers[scope] if each.at > now - WINDOW_SECONDS}
            refused = Counter(each.domain for each in last.values() if each.ours)
            number = refused.total()
            enough = number >= ENOUGH and number > SHARE * len(last) and len(refused) >= domains
            if enough and max(refused.values()) <= most_by_one * number:
                self._pausing[scope] = result.reply
                self._answers.clear()
                self._looks_away[here] = now + AFTERMATH_SECONDS
                return
        if len(self._answers) > DOMAINS_MOST:
            del self._answers[next(each for each in self._answers if each.startswith(suspensions.DOMAIN))]
