"""Rescue: what a worker left that died or was lost, settled by what its journal says.

Who may move a claimed row, and when; every move names the row's attempt, so none can undo a later claim's:

```
its worker                       how that is known                     who moves the row  to
works                            its lease is renewed again and again  its worker         what became of it
dead, on this machine            its journal's lock is free            rescue             as its journal says
stands still, or woke just now,  its journal's lock is held            only its worker,   what became of it,
  on this machine                                                        as it wakes        queued: not begun
out of reach, on another         no journal here, the lease is over,   rescue             unknown (LOST)
  machine or cut off               neither lease nor pulse moved
  … and heard again              it records, or its journal is read    its worker,        what became of it,
                                   on its own machine                    rescue there       queued: not begun
any, but staff or a policy       the state, or a newer attempt         only what is       sent, failed
  decided meanwhile                                                      final counts

the journal says    answered          → what was answered
                    begun, no answer  → unknown: at most one message per connection
                    nothing           → queued; unknown after a reboot, when lines may be missing
```
**Why nothing leaves twice.** A row goes back to the queue only when its worker is dead, which a lock proves,
or says itself that it did not begin. A worker that stood still for longer than its lease writes no final dot
any more (mailer/delivery/worker_lease.py counts the machine's sleep, too), and gives back what it had not
begun. It may have been stopped between its last look at the lease and the dot; so while it lives nobody on
its machine touches its rows, and elsewhere they are unknown, which says that they may have left.

**Why nobody is stranded.** What becomes unknown without having been begun is corrected by whoever knows,
however late: the worker, or its journal. A process that stands still for good holds what it had claimed until
it is ended; /health says so.

**Clocks.** All go by the database's clock (mailer/coordination/clock_skew.py), and still a lease counts as
over only when its worker was silent, too, while this process watched. Watching counts no time in which this
process stood still itself: who wakes from an hour's sleep judges nobody for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import structlog

from lists.clock import Clock
from lists.db import Database
from mailer.compose.source import Source
from mailer.coordination import heartbeat
from mailer.delivery import journal, results
from mailer.delivery.journal import JournalContents
from mailer.outbox import outbox
from mailer.outbox.outbox import Entry, Result
from mailer.smtp import doubt

AT_ONCE = 1_000
SILENT_SECONDS = 20.0  # twice as long as a worker takes between two signs of life
OBSERVED_SECONDS_MOST = 5.0  # what one look may count for: as often as the job runs
UNRENEWED_SECONDS = 600.0  # a worker that beats, but cannot renew its lease for so long, is lost as well

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _SignsOfLife:
    """The last signs of life of a worker, and for how many seconds of watching it gave no newer ones."""

    until: datetime
    beat: datetime
    at: float
    unrenewed: float = 0.0
    silent: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rescue:
    """Settles what dead workers left behind; `folder` holds the journals of this machine's workers."""

    database: Database
    clock: Clock
    sources: Mapping[str, Source]
    folder: Path
    _signs_of_life: dict[str, _SignsOfLife] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def settle_dead(self) -> int:
        """Settle the claims of each worker of this machine whose journal proves it dead; returns how many."""
        moved = 0
        with journal.settle_dead(self.folder) as told:
            for testimony in told:
                with self.database.read() as session:
                    claimed = outbox.list_claimed_by(session, testimony.worker)
                moved += self._settle([_result_from_journal(entry, testimony) for entry in claimed])
        return moved

    def settle_overdue(self) -> int:
        """Settle claims whose lease is over and whose worker is lost with its machine; returns how many."""
        real, alive = self.clock.real(), journal.list_living_workers(self.folder)
        with self.database.read() as session:
            holders = outbox.list_holders(session)
            beats = heartbeat.read_last_beats(session)
            elsewhere = {worker: until for worker, until in holders.items() if worker not in alive}
            workers = list(self._find_lost(elsewhere, beats, real=real))
            overdue = (
                outbox.list_overdue(session, real=real, limit=AT_ONCE, workers=workers) if workers else ()
            )
        return self._settle(
            [results.from_outcome_state(entry, "unknown", why=doubt.LOST) for entry in overdue]
        )

    def _find_lost(
        self, holders: Mapping[str, datetime], beats: Mapping[str, datetime], *, real: datetime
    ) -> Iterator[str]:
        """Yield those that are lost; who never beat, or ended as it should, needs no watching."""
        for gone in self._signs_of_life.keys() - holders.keys():
            del self._signs_of_life[gone]
        for worker, until in holders.items():
            if worker not in beats:
                if until < real:
                    yield worker
                continue
            watched = self._observe(worker, until, beats[worker])
            silent = watched.silent >= SILENT_SECONDS or watched.unrenewed >= UNRENEWED_SECONDS
            if until < real and silent:
                yield worker

    def _observe(self, worker: str, until: datetime, beat: datetime) -> _SignsOfLife:
        """Compare the signs of life of a worker with those that were last seen."""
        now = _SignsOfLife(until=until, beat=beat, at=self.clock.monotonic())
        before = self._signs_of_life.get(worker, now)
        passed = min(now.at - before.at, OBSERVED_SECONDS_MOST)
        if until == before.until:
            now = replace(now, unrenewed=before.unrenewed + passed)
            if beat == before.beat:
                now = replace(now, silent=before.silent + passed)
        self._signs_of_life[worker] = now
        return now

    def _settle(self, rows: Sequence[Result]) -> int:
        if rows:
            results.record_and_settle(self.database, self.clock, self.sources, rows)
            states = [row.state for row in rows]
            log.warning("rescued", **{state: states.count(state) for state in sorted(set(states))})
        return len(rows)


def _result_from_journal(entry: Entry, contents: JournalContents) -> Result:
    """Say what became of one claimed row, as far as its worker's journal can tell."""
    attempt = (entry.id, entry.attempt)
    if attempt in contents.outcomes:
        return results.from_outcome_state(entry, contents.outcomes[attempt])
    if attempt in contents.started_attempts:
        return results.from_outcome_state(entry, "unknown", why=doubt.DIED)
    if not contents.is_complete:
        return results.from_outcome_state(entry, "unknown", why=doubt.STOPPED)
    return results.give_back(entry)
