"""Claim: what a worker takes from the ledger at a time, and no more than may begin within half a second.

Where a relay has a rate, its slots are taken first and no more rows are claimed than there are slots, so that
what is more urgent a moment later gets the next slot. Where a recipient's domain has one, its slot is also a
slot of a relay, if every relay has a rate, or the moment would be right for only one of them. Rows that find
no slot are *parked*: put back at no attempt, due at moments one spacing apart. A million of them come due one
after the other, each when it has its slot, and none is looked at again before. Each priority is parked by
itself, so nobody who waits stands behind a broadcast.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session

from lists.addresses import domain_of
from lists.clock import Clock
from lists.contacts import Contact
from lists.db import Database
from mailer.coordination import rate_limits, suspensions
from mailer.coordination.rate_limits import LOOKAHEAD, SendWindow
from mailer.coordination.suspensions import DOMAIN_SCOPE, RELAY_SCOPE, RelaySuspension, Suspension
from mailer.outbox import outbox
from mailer.outbox.outbox import HAS_REASON, QUEUED, Entry, OutboxRow
from mailer.policy import POLICY, URGENT_PRIORITY
from mailer.smtp.rate import ANY_OTHER_DOMAIN, Rate

STAFF_PAUSE_RECHECK = timedelta(minutes=1)  # how often mail to a domain that staff paused is looked at
RESUME_RATE = Rate(limit=100, period=timedelta(seconds=1))  # how fast mail comes due after a pause
PARK_MOST, PARK_SECONDS = 2_000, 0.05  # rows in one transaction, and how long it may take: its slots pass
LONG_QUEUE = timedelta(minutes=1)  # a queue longer than this is looked at: perhaps all of it was cancelled
LEAST_URGENT = max(policy.priority for policy in POLICY.values())

LONG_AGO = datetime.min.replace(tzinfo=UTC)

LoopTime = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Claimed rows, most urgent first.

    `turns` says when each row may begin whose domain is limited or could be, `slots` when each relay that has
    a rate may begin one; both in the loop's time. `waits`: something is due, and no relay has a slot for it.
    `paused` says why, by relay, None where nobody asked; one message may try whether it is over for each of
    `relay_trials`, and the rows of `row_trials` do so for the scope of a domain.
    """

    entries: Sequence[Entry] = ()
    windows: Mapping[int, SendWindow] = field(default_factory=dict)
    slots: Mapping[str, Sequence[float]] = field(default_factory=dict)
    waits_for_slot: bool = False
    paused: Mapping[str, RelaySuspension] | None = None
    relay_trials: Collection[str] = ()
    row_trials: Mapping[int, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Claims:
    """Claims for one worker, and knows what it holds; `domains` are the rates of recipients' domains.

    A claim may be committed though its answer never comes, because the connection to the database breaks:
    such rows nobody works at, and nobody else would take them while this worker lives. They are given back.
    """

    database: Database
    clock: Clock
    worker: str
    lease: timedelta
    domains: Mapping[str, Rate]
    _held: set[tuple[int, int]] = field(default_factory=set, init=False)  # row and attempt
    _unsure: bool = field(default=False, init=False)
    claim_duration: timedelta = field(default=timedelta(0), init=False)  # by the last claim, with its commit

    def take(
        self,
        size: int,
        *,
        relays: Mapping[str, Rate | None],
        trying: Collection[str],
        time: LoopTime,
        urgent: bool = False,
    ) -> Batch:
        """Claim up to `size` rows for these relays, each with its rate, if it has one; or only `urgent` ones.

        For those in `trying` this worker may send one message even while they are paused.
        """
        if self._unsure:
            self._give_back_unknown()
        now = self.clock.now()
        least = URGENT_PRIORITY if urgent else LEAST_URGENT
        with self.database.read() as session:
            if not relays or not outbox.is_anything_due(session, now=now, least=least):
                return Batch()
            paused = suspensions.read_all(session)
        self._unsure = True
        began = time()
        with self.database.write() as session:
            real = self.clock.real()
            claiming = _ClaimTransaction(
                claims=self,
                session=session,
                now=now,
                real=real,
                time=time(),
                clock=time,
                paused=paused,
                least=least,
            )
            batch = claiming.take(size, relays, trying)
        self._unsure = False
        self.claim_duration = timedelta(seconds=time() - began)
        self._held |= _row_attempts(batch.entries)
        return batch

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Put back what was not begun."""
        with self.database.write() as session:
            outbox.give_back(session, entries)
        self.end(entries)

    def end(self, entries: Iterable[Entry]) -> None:
        """Note that these claims are over, as what became of them is recorded."""
        self._held -= _row_attempts(entries)

    def compare_count(self, number: int) -> None:
        """Compare with how many claims the database has: a commit may be done long after its answer is lost.

        Called from the thread that claims, so nothing of ours is under way.
        """
        self._unsure |= number > len(self._held)

    def _give_back_unknown(self) -> None:
        with self.database.write() as session:
            mine = outbox.list_claimed_by(session, self.worker)
            outbox.give_back(session, [each for each in mine if (each.id, each.attempt) not in self._held])
        self._unsure = False


@dataclass(kw_only=True)
class _ClaimTransaction:
    """One transaction that claims."""

    claims: Claims
    session: Session
    now: datetime
    real: datetime
    time: float
    clock: LoopTime
    paused: Mapping[str, Suspension]
    least: int  # the least urgent priority that is claimed
    windows: dict[int, SendWindow] = field(default_factory=dict)
    row_trials: dict[int, str] = field(default_factory=dict)
    free_slots: list[tuple[datetime, str]] | None = (
        None  # relays' slots, in order; None: some relay needs none
    )
    last_slots: dict[str, datetime] = field(
        default_factory=dict
    )  # of each relay's slots that a message needs

    def take(self, size: int, relays: Mapping[str, Rate | None], trying: Collection[str]) -> Batch:
        """Claim for the relays that are not paused, and for those of which one message may try."""
        paused = {
            name: self.paused[f"{RELAY_SCOPE}{name}"]
            for name in relays
            if f"{RELAY_SCOPE}{name}" in self.paused
        }
        trials = [
            name
            for name, pause in paused.items()
            if name in trying or suspensions.claim_trial(self.session, pause, real=self.real)
        ]
        going = {name: rate for name, rate in relays.items() if name not in paused or name in trials}
        if len(going) == len(trials):  # all are paused: of one message, or only of urgent ones
            size = len(trials) or size
        if not going and outbox.is_anything_due(self.session, now=self.now, least=URGENT_PRIORITY):
            going = {name: rate for name, rate in relays.items() if paused[name].is_automatic}
            self.least = URGENT_PRIORITY
        batch = self._claim_for(size, going) if going else Batch()
        why = suspensions.select_relays(self.paused)
        return replace(batch, paused=why, relay_trials=trials, row_trials=self.row_trials)

    def _claim_for(self, size: int, relays: Mapping[str, Rate | None]) -> Batch:
        slots = {
            name: rate_limits.take_slots(
                self.session,
                f"{RELAY_SCOPE}{name}",
                rate=rate,
                number=size,
                real=self.real,
                lead=self.claims.claim_duration,
            )
            for name, rate in sorted(relays.items())  # everybody in this order: nobody waits in a ring
            if rate is not None
        }
        room = size
        if all(relays.values()):
            self.free_slots = sorted((slot, name) for name, taken in slots.items() for slot in taken)
            room = len(self.free_slots)
        if self._has_domain_limits:
            rate_limits.lock_next_slot(
                self.session, "domains", real=self.real
            )  # else two workers may wait in a ring
        entries = self._claim_entries(min(size, room))
        if self.free_slots is not None:
            others = len(entries) - (
                room - len(self.free_slots)
            )  # whose domain has no rate: any slot will do
            self._reserve_slots([slot for slot, _ in self.free_slots[:others]])
        used: dict[str, Sequence[float]] = {}
        for name, taken in slots.items():
            needed = (
                len(entries)
                if self.free_slots is None
                else bisect_right(taken, self.last_slots.get(name, LONG_AGO))
            )
            if needed < len(taken):  # else the message after the next would wait for what nobody needs
                rate_limits.release_slots(self.session, f"{RELAY_SCOPE}{name}", taken[needed])
            used[name] = [self._to_loop_time(slot) for slot in taken[:needed]]
        return Batch(entries=entries, windows=self.windows, slots=used, waits_for_slot=room == 0)

    def _reserve_slots(self, slots: Sequence[datetime]) -> None:
        """Keep these slots of relays for messages of this claim."""
        assert self.free_slots is not None
        for slot in slots:
            _, name = self.free_slots.pop(bisect_left(self.free_slots, (slot, "")))
            self.last_slots[name] = max(slot, self.last_slots.get(name, slot))

    def _claim_entries(self, room: int) -> Sequence[Entry]:
        """Claim rows until there is one for each slot, parking those whose domain has none."""
        kept: list[Entry] = []
        parked = 0
        until = self.time + PARK_SECONDS
        while len(kept) < room and parked < PARK_MOST and (not parked or self.clock() <= until):
            claimed = outbox.claim(
                self.session,
                worker=self.claims.worker,
                limit=room - len(kept),
                now=self.now,
                lease_until=self.real + self.claims.lease,
                least=self.least,
            )
            going = self._assign_domain_slots(claimed) if self._has_domain_limits else claimed
            kept += going
            parked += len(claimed) - len(going)
            if len(claimed) == len(going):
                break
        return kept

    @property
    def _has_domain_limits(self) -> bool:
        return bool(self.claims.domains) or any(scope.startswith(DOMAIN_SCOPE) for scope in self.paused)

    def _assign_domain_slots(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Give each row a slot of its domain, and park those that find none."""
        emails = select(Contact.id, Contact.email).where(
            Contact.id.in_([entry.contact_id for entry in entries])
        )
        domains = {row.id: domain_of(row.email) for row in self.session.execute(emails)}
        by_domain: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_domain[domains.get(entry.contact_id, "")].append(entry)
        for domain, same in sorted(by_domain.items()):
            if (pause := self.paused.get(f"{DOMAIN_SCOPE}{domain}")) is not None:
                same = self._park_suspended(domain, same, pause)
            rate = self.claims.domains.get(domain, self.claims.domains.get(ANY_OTHER_DOMAIN))
            if rate is None:
                self.windows |= {entry.id: SendWindow(domain, float("-inf"), float("inf")) for entry in same}
                continue
            slots = rate_limits.take_slots(
                self.session,
                f"{DOMAIN_SCOPE}{domain}",
                rate=rate,
                number=len(same),
                real=self.real,
                candidates=None if self.free_slots is None else [slot for slot, _ in self.free_slots],
                lead=self.claims.claim_duration,
            )
            if self.free_slots is not None:
                self._reserve_slots(slots)
            for entry, slot in zip(same, slots, strict=False):
                begins = self._to_loop_time(slot)
                self.windows[entry.id] = SendWindow(domain, begins, begins + rate.grace.total_seconds())
            if len(slots) < len(same):
                self._park(domain, same[len(slots) :], rate)
        return [entry for entry in entries if entry.id in self.windows]

    def _park(self, domain: str, entries: Sequence[Entry], rate: Rate) -> None:
        after = rate_limits.lock_next_slot(self.session, f"{DOMAIN_SCOPE}{domain}", real=self.real)
        self._postpone_rows(
            entries, f"waits for the limit of {domain}", domain=domain, rate=rate, after=after
        )

    def _park_suspended(self, domain: str, entries: list[Entry], pause: Suspension) -> list[Entry]:
        """Put back what goes to a domain that refuses us; returns urgent rows, and the one that tries."""
        next_try = suspensions.claim_trial(self.session, pause, real=self.real)
        trying = entries[-1:] if next_try else []
        for entry in trying:
            self.row_trials[entry.id] = pause.scope
        waiting = entries[: len(entries) - len(trying)]
        trying = [entry for entry in waiting if not pause.applies_to(entry.kind)] + trying
        waiting = [entry for entry in waiting if pause.applies_to(entry.kind)]
        after = next_try or pause.try_at or self.real + STAFF_PAUSE_RECHECK
        if waiting:
            why = f"{domain} refuses our mail" if pause.try_at else f"mail to {domain} is paused by staff"
            self._postpone_rows(waiting, why, domain=f"paused/{domain}", rate=RESUME_RATE, after=after)
        return trying

    def _postpone_rows(
        self, entries: Sequence[Entry], why: str, *, domain: str, rate: Rate, after: datetime
    ) -> None:
        """Put rows back at no attempt, due one after the other from a moment on."""
        why = why[:200]

        def priority(entry: Entry) -> int:
            return POLICY[entry.kind].priority

        moments: list[dict[str, object]] = []
        for level, same in groupby(sorted(entries, key=priority), key=priority):
            group = list(same)
            scope = f"parked/{level}/{domain}"
            long = rate_limits.lock_next_slot(self.session, scope, real=self.real) > after + LONG_QUEUE
            comes = rate_limits.plan_retry_times(
                self.session,
                scope,
                rate=rate,
                number=len(group),
                real=self.real,
                after=after,
                restart=long and not self._is_anything_parked(why),
            )
            # The first to see the slot; but a limited relay's slot, taken so early, would be void by then.
            early = timedelta(0) if level == LEAST_URGENT or self.free_slots is not None else LOOKAHEAD
            moments += [
                {"row": entry.id, "moment": self.now + (moment - self.real) - early}
                for entry, moment in zip(group, comes, strict=True)
            ]
        rows = cast(Table, OutboxRow.__table__)
        park = update(rows).where(rows.c.id == bindparam("row"))
        back = {"state": "queued", "worker": None, "lease_until": None, "why": why}
        self.session.execute(park.values(due_at=bindparam("moment"), **back), moments)

    def _is_anything_parked(self, why: str) -> bool:
        parked = select(OutboxRow.id).where(OutboxRow.state == QUEUED, OutboxRow.why == why, HAS_REASON)
        return self.session.scalar(parked.limit(1)) is not None

    def _to_loop_time(self, moment: datetime) -> float:
        return self.time + (moment - self.real).total_seconds()


def _row_attempts(entries: Iterable[Entry]) -> set[tuple[int, int]]:
    return {(entry.id, entry.attempt) for entry in entries}
