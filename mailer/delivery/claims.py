"""Claims: the outbox rows that a worker claims at a time, no more than may begin within half a second.

Where a relay has a rate limit, its slots are taken first and no more rows are claimed than there are slots,
so that a more urgent row that comes a moment later gets the next slot. Where a recipient's domain has a rate
limit and every relay has one, the slot of the domain is also a slot of a relay; otherwise the moment would
suit only one of the two limits. Rows without a slot are *parked*: they return to the queue, cost no attempt,
and fall due at moments one spacing apart. A million parked rows fall due one after the other, each at its
slot, and are not read before. Each priority is parked separately, so urgent rows do not wait behind a
broadcast.
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
from mailer.outbox import due_rows, outbox
from mailer.outbox.outbox import HAS_REASON, QUEUED, Entry, OutboxRow
from mailer.policy import POLICY, URGENT_PRIORITY
from mailer.reasons import Reason
from mailer.smtp.rate import ANY_OTHER_DOMAIN, Rate

STAFF_PAUSE_RECHECK = timedelta(minutes=1)  # how often mail to a domain that staff paused is claimed again
RESUME_RATE = Rate(limit=100, period=timedelta(seconds=1))  # how fast mail falls due after a suspension
MAX_PARK, PARK_SECONDS = 2_000, 0.05  # rows in one transaction, and its duration: its slots become void
LONG_QUEUE = timedelta(minutes=1)  # a parking queue longer than this is checked: all of it may be cancelled
LEAST_URGENT = max(policy.priority for policy in POLICY.values())

LONG_AGO = datetime.min.replace(tzinfo=UTC)

LoopTime = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Claimed rows, most urgent first.

    `windows` holds when each row may begin whose domain has a rate limit or a suspension, `slots` when each
    relay with a rate may begin a message; both in the loop's time. `waits_for_slot`: a row is due, and no
    relay has a slot for it. `paused` holds the suspension of each relay, and is None where the suspensions
    were not read. For each of `relay_trials` one message may test whether the suspension has ended; the rows
    of `row_trials` test this for the scope of a domain.
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
    """The claims of one worker; `domains` are the rates of recipients' domains.

    A claim may be committed although its result never arrives, because the connection to the database breaks.
    No worker processes such rows, and no other worker claims them while this one runs. They are given back.
    """

    database: Database
    clock: Clock
    worker: str
    lease: timedelta
    domains: Mapping[str, Rate]
    _held: set[tuple[int, int]] = field(default_factory=set, init=False)  # (row, attempt)
    _is_unsure: bool = field(default=False, init=False)  # the database may hold claims missing in _held
    claim_duration: timedelta = field(default=timedelta(0), init=False)  # of the last claim, with its commit

    def take(
        self,
        size: int,
        *,
        relays: Mapping[str, Rate | None],
        trying: Collection[str],
        time: LoopTime,
        urgent: bool = False,
    ) -> Batch:
        """Claim up to `size` rows for these relays, each with its rate or None; only urgent rows if `urgent`.

        To each relay in `trying` this worker may send one message even while the relay is suspended.
        """
        if self._is_unsure:
            self._give_back_unknown()
        now = self.clock.now()
        least = URGENT_PRIORITY if urgent else LEAST_URGENT
        with self.database.read() as session:
            if not relays or not due_rows.is_anything_due(session, now=now, least=least):
                return Batch()
            active_suspensions = suspensions.read_all(session)
        self._is_unsure = True
        started_at = time()
        with self.database.write() as session:
            real = self.clock.real()
            transaction = _ClaimTransaction(
                claims=self,
                session=session,
                now=now,
                real=real,
                time=time(),
                clock=time,
                paused=active_suspensions,
                least=least,
            )
            batch = transaction.take(size, relays, trying)
        self._is_unsure = False
        self.claim_duration = timedelta(seconds=time() - started_at)
        self._held |= _row_attempts(batch.entries)
        return batch

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Return rows to the queue whose messages were not begun."""
        with self.database.write() as session:
            outbox.give_back(session, entries)
        self.end(entries)

    def end(self, entries: Iterable[Entry]) -> None:
        """Note that these claims have ended: their results are recorded."""
        self._held -= _row_attempts(entries)

    def compare_count(self, number: int) -> None:
        """Compare with the number of claims in the database: a commit may end long after its result is lost.

        Called from the thread that claims, so no claim of this worker is in progress.
        """
        self._is_unsure |= number > len(self._held)

    def _give_back_unknown(self) -> None:
        with self.database.write() as session:
            entries = due_rows.list_claimed_by(session, self.worker)
            outbox.give_back(
                session, [entry for entry in entries if (entry.id, entry.attempt) not in self._held]
            )
        self._is_unsure = False


@dataclass(kw_only=True)
class _ClaimTransaction:
    """One transaction that claims rows."""

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
    # The slots of all relays, in order; None: some relay has no rate.
    free_slots: list[tuple[datetime, str]] | None = None
    # By relay, the last slot that a message needs.
    last_slots: dict[str, datetime] = field(default_factory=dict)

    def take(self, size: int, relays: Mapping[str, Rate | None], trying: Collection[str]) -> Batch:
        """Claim for the relays that are not suspended, and for those that one message may test."""
        suspended_relays = {
            name: self.paused[f"{RELAY_SCOPE}{name}"]
            for name in relays
            if f"{RELAY_SCOPE}{name}" in self.paused
        }
        trials = [
            name
            for name, suspension in suspended_relays.items()
            if name in trying or suspensions.claim_trial(self.session, suspension, real=self.real)
        ]
        usable_relays = {
            name: rate for name, rate in relays.items() if name not in suspended_relays or name in trials
        }
        if len(usable_relays) == len(trials):  # all are suspended: a message for each trial, or urgent rows
            size = len(trials) or size
        if not usable_relays and due_rows.is_anything_due(self.session, now=self.now, least=URGENT_PRIORITY):
            usable_relays = {
                name: rate for name, rate in relays.items() if suspended_relays[name].is_automatic
            }
            self.least = URGENT_PRIORITY
        batch = self._claim_for(size, usable_relays) if usable_relays else Batch()
        relay_suspensions = suspensions.select_relays(self.paused)
        return replace(batch, paused=relay_suspensions, relay_trials=trials, row_trials=self.row_trials)

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
            for name, rate in sorted(relays.items())  # the same order in every worker: no deadlock
            if rate is not None
        }
        capacity = size
        if all(relays.values()):
            self.free_slots = sorted(
                (slot, name) for name, relay_slots in slots.items() for slot in relay_slots
            )
            capacity = len(self.free_slots)
        if self._has_domain_limits:
            # Otherwise two workers may deadlock.
            rate_limits.lock_next_slot(self.session, "domains", real=self.real)
        entries = self._claim_entries(min(size, capacity))
        if self.free_slots is not None:
            # Rows whose domain has no rate take any slot.
            unlimited_count = len(entries) - (capacity - len(self.free_slots))
            self._reserve_slots([slot for slot, _ in self.free_slots[:unlimited_count]])
        used_slots: dict[str, Sequence[float]] = {}
        for name, relay_slots in slots.items():
            needed_count = (
                len(entries)
                if self.free_slots is None
                else bisect_right(relay_slots, self.last_slots.get(name, LONG_AGO))
            )
            if needed_count < len(relay_slots):  # unused slots would delay later messages
                rate_limits.release_slots(self.session, f"{RELAY_SCOPE}{name}", relay_slots[needed_count])
            used_slots[name] = [self._to_loop_time(slot) for slot in relay_slots[:needed_count]]
        return Batch(entries=entries, windows=self.windows, slots=used_slots, waits_for_slot=capacity == 0)

    def _reserve_slots(self, slots: Sequence[datetime]) -> None:
        """Reserve these slots of relays for messages of this claim."""
        assert self.free_slots is not None
        for slot in slots:
            _, name = self.free_slots.pop(bisect_left(self.free_slots, (slot, "")))
            self.last_slots[name] = max(slot, self.last_slots.get(name, slot))

    def _claim_entries(self, capacity: int) -> Sequence[Entry]:
        """Claim rows until each slot has one; park the rows whose domain has no slot."""
        entries: list[Entry] = []
        parked_count = 0
        deadline = self.time + PARK_SECONDS
        while (
            len(entries) < capacity
            and parked_count < MAX_PARK
            and (not parked_count or self.clock() <= deadline)
        ):
            candidates = due_rows.claim(
                self.session,
                worker=self.claims.worker,
                limit=capacity - len(entries),
                now=self.now,
                lease_until=self.real + self.claims.lease,
                least=self.least,
            )
            admitted = self._assign_domain_slots(candidates) if self._has_domain_limits else candidates
            entries += admitted
            parked_count += len(candidates) - len(admitted)
            if len(candidates) == len(admitted):
                break
        return entries

    @property
    def _has_domain_limits(self) -> bool:
        return bool(self.claims.domains) or any(scope.startswith(DOMAIN_SCOPE) for scope in self.paused)

    def _assign_domain_slots(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Assign each row a slot of its domain, and park the rows without one."""
        query = select(Contact.id, Contact.email).where(
            Contact.id.in_([entry.contact_id for entry in entries])
        )
        domains = {row.id: domain_of(row.email) for row in self.session.execute(query)}
        by_domain: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            by_domain[domains.get(entry.contact_id, "")].append(entry)
        for domain, group in sorted(by_domain.items()):
            if (suspension := self.paused.get(f"{DOMAIN_SCOPE}{domain}")) is not None:
                group = self._park_suspended(domain, group, suspension)
            rate = self.claims.domains.get(domain, self.claims.domains.get(ANY_OTHER_DOMAIN))
            if rate is None:
                self.windows |= {entry.id: SendWindow(domain, float("-inf"), float("inf")) for entry in group}
                continue
            slots = rate_limits.take_slots(
                self.session,
                f"{DOMAIN_SCOPE}{domain}",
                rate=rate,
                number=len(group),
                real=self.real,
                candidates=None if self.free_slots is None else [slot for slot, _ in self.free_slots],
                lead=self.claims.claim_duration,
            )
            if self.free_slots is not None:
                self._reserve_slots(slots)
            for entry, slot in zip(group, slots, strict=False):
                begins = self._to_loop_time(slot)
                self.windows[entry.id] = SendWindow(domain, begins, begins + rate.grace.total_seconds())
            if len(slots) < len(group):
                self._park(domain, group[len(slots) :], rate)
        return [entry for entry in entries if entry.id in self.windows]

    def _park(self, domain: str, entries: Sequence[Entry], rate: Rate) -> None:
        after = rate_limits.lock_next_slot(self.session, f"{DOMAIN_SCOPE}{domain}", real=self.real)
        self._postpone_rows(entries, Reason.DOMAIN_RATE_LIMIT, domain, scope=domain, rate=rate, after=after)

    def _park_suspended(self, domain: str, entries: list[Entry], suspension: Suspension) -> list[Entry]:
        """Park the rows to a suspended domain; returns urgent rows, and the row that tests the suspension."""
        next_try = suspensions.claim_trial(self.session, suspension, real=self.real)
        proceeding = entries[-1:] if next_try else []
        for entry in proceeding:
            self.row_trials[entry.id] = suspension.scope
        to_park = entries[: len(entries) - len(proceeding)]
        proceeding = [entry for entry in to_park if not suspension.applies_to(entry.kind)] + proceeding
        to_park = [entry for entry in to_park if suspension.applies_to(entry.kind)]
        after = next_try or suspension.try_at or self.real + STAFF_PAUSE_RECHECK
        if to_park:
            reason = Reason.DOMAIN_SUSPENDED if suspension.is_automatic else Reason.DOMAIN_PAUSED
            scope = f"paused/{domain}"
            self._postpone_rows(to_park, reason, domain, scope=scope, rate=RESUME_RATE, after=after)
        return proceeding

    def _postpone_rows(
        self,
        entries: Sequence[Entry],
        reason: Reason,
        domain: str,
        *,
        scope: str,
        rate: Rate,
        after: datetime,
    ) -> None:
        """Return rows to the queue at no attempt, due one spacing apart from `after` on."""

        def priority(entry: Entry) -> int:
            return POLICY[entry.kind].priority

        moments: list[dict[str, object]] = []
        for level, members in groupby(sorted(entries, key=priority), key=priority):
            group = list(members)
            parking_scope = f"parked/{level}/{scope}"
            is_long = (
                rate_limits.lock_next_slot(self.session, parking_scope, real=self.real) > after + LONG_QUEUE
            )
            retry_times = rate_limits.plan_retry_times(
                self.session,
                parking_scope,
                rate=rate,
                number=len(group),
                real=self.real,
                after=after,
                restart=is_long and not self._is_anything_parked(reason, domain),
            )
            # Rows fall due early enough for their slot; but a relay's slot taken so early would be void.
            lead = timedelta(0) if level == LEAST_URGENT or self.free_slots is not None else LOOKAHEAD
            moments += [
                {"row": entry.id, "moment": self.now + (moment - self.real) - lead}
                for entry, moment in zip(group, retry_times, strict=True)
            ]
        table = cast(Table, OutboxRow.__table__)
        statement = update(table).where(table.c.id == bindparam("row"))
        reason_values = outbox.reason_values(reason, domain)
        queued_values = {"state": "queued", "worker": None, "lease_until": None, **reason_values}
        self.session.execute(statement.values(due_at=bindparam("moment"), **queued_values), moments)

    def _is_anything_parked(self, reason: Reason, domain: str) -> bool:
        query = select(OutboxRow.id).where(OutboxRow.state == QUEUED, HAS_REASON)
        query = query.filter_by(**outbox.reason_values(reason, domain))
        return self.session.scalar(query.limit(1)) is not None

    def _to_loop_time(self, moment: datetime) -> float:
        return self.time + (moment - self.real).total_seconds()


def _row_attempts(entries: Iterable[Entry]) -> set[tuple[int, int]]:
    return {(entry.id, entry.attempt) for entry in entries}
