"""Rescue: settles the claims of workers that ended or were lost, by their journals.

Which process may change a claimed row, and when. Every change names the row's attempt, so none can undo a
later claim:

```
its worker                       evidence                              changed by         new state
runs                             its lease is renewed regularly        its worker         by its result
ended, on this machine           its journal's lock is free            rescue             by its journal
frozen, or just continued,       its journal's lock is held            only its worker,   by its result,
  on this machine                                                        once it continues  queued: not begun
unreachable, on another          no journal on this machine, the       rescue             unknown (LOST)
  machine or without network       lease has ended, neither lease
                                   nor heartbeat was renewed
  … and reachable again          it records, or its journal is read    its worker,        by its result,
                                   on its own machine                    rescue there       queued: not begun
any, but staff or a policy       the state, or a newer attempt         only a final       sent, failed
  decided meanwhile                                                      result

the journal holds   an outcome              → by that outcome
                    a dot, without outcome  → unknown: at most one message per connection
                    no line                 → queued; unknown after a reboot, when lines may be missing
```
**Why no message is sent twice.** A row returns to the queue only when its worker has ended, which a lock
proves, or when the worker itself reports that it did not begin. A worker that was frozen for longer than its
lease writes no final dot any more (mailer/delivery/worker_lease.py counts the machine's sleep, too), and
gives back the rows it had not begun. It may have been stopped between its last check of the lease and the
dot; so while its process exists, no other process on its machine changes its rows, and on other machines
they become unknown, which means that they may have been sent.

**Why no row is stranded.** A row that becomes unknown although it was not begun is corrected later by its
worker or by its journal. A process that stays frozen keeps its claims until it is ended; /health reports it.

**Clocks.** All processes use the database's clock (mailer/coordination/clock_skew.py). Even so, a lease
counts as ended only when its worker was also silent while this process observed it. The time in which this
process was frozen itself does not count as observation, so a process that continues after an hour does not
declare others lost.
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
from mailer.outbox import due_rows
from mailer.outbox.outbox import Entry, Result
from mailer.reasons import Reason

AT_ONCE = 1_000  # rows
SILENT_SECONDS = 20.0  # twice the interval between two heartbeats
MAX_OBSERVED_SECONDS = 5.0  # of one observation: the interval of the job
UNRENEWED_SECONDS = 600.0  # a worker with heartbeats, but without a renewed lease for so long, is lost, too

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class _Observation:
    """A worker's last lease and heartbeat, and for how many observed seconds the lease, or both, are old."""

    until: datetime
    beat: datetime
    at: float
    unrenewed: float = 0.0
    silent: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Rescue:
    """Settles the claims of ended workers; `folder` holds the journals of this machine's workers."""

    database: Database
    clock: Clock
    sources: Mapping[str, Source]
    folder: Path
    _observations: dict[str, _Observation] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def settle_ended_workers(self) -> int:
        """Settle the claims of workers of this machine that ended, by their journals; returns how many."""
        count = 0
        with journal.settle_ended(self.folder) as journals:
            for contents in journals:
                with self.database.read() as session:
                    entries = due_rows.list_claimed_by(session, contents.worker)
                count += self._settle([_result_from_journal(entry, contents) for entry in entries])
        return count

    def settle_overdue(self) -> int:
        """Settle claims whose lease has ended and whose worker is lost with its machine; returns how many."""
        real, living_workers = self.clock.real(), journal.list_living_workers(self.folder)
        with self.database.read() as session:
            holders = due_rows.list_holders(session)
            last_beats = heartbeat.read_last_beats(session)
            remote_holders = {
                worker: until for worker, until in holders.items() if worker not in living_workers
            }
            workers = list(self._find_lost(remote_holders, last_beats, real=real))
            entries = (
                due_rows.list_overdue(session, real=real, limit=AT_ONCE, workers=workers) if workers else ()
            )
        return self._settle(
            [results.from_outcome_state(entry, "unknown", reason=Reason.WORKER_LOST) for entry in entries]
        )

    def _find_lost(
        self, holders: Mapping[str, datetime], last_beats: Mapping[str, datetime], *, real: datetime
    ) -> Iterator[str]:
        """Yield the lost workers; one without a heartbeat (never sent, or ended) is not observed first."""
        for ended_worker in self._observations.keys() - holders.keys():
            del self._observations[ended_worker]
        for worker, until in holders.items():
            if worker not in last_beats:
                if until < real:
                    yield worker
                continue
            signs = self._observe(worker, until, last_beats[worker])
            is_silent = signs.silent >= SILENT_SECONDS or signs.unrenewed >= UNRENEWED_SECONDS
            if until < real and is_silent:
                yield worker

    def _observe(self, worker: str, until: datetime, beat: datetime) -> _Observation:
        """Compare the lease and heartbeat of a worker with the last observation."""
        now = _Observation(until=until, beat=beat, at=self.clock.monotonic())
        previous = self._observations.get(worker, now)
        observed_seconds = min(now.at - previous.at, MAX_OBSERVED_SECONDS)
        if until == previous.until:
            now = replace(now, unrenewed=previous.unrenewed + observed_seconds)
            if beat == previous.beat:
                now = replace(now, silent=previous.silent + observed_seconds)
        self._observations[worker] = now
        return now

    def _settle(self, row_results: Sequence[Result]) -> int:
        if row_results:
            results.record_and_settle(self.database, self.clock, self.sources, row_results)
            states = [result.state for result in row_results]
            log.warning("rescued", **{state: states.count(state) for state in sorted(set(states))})
        return len(row_results)


def _result_from_journal(entry: Entry, contents: JournalContents) -> Result:
    """Return the result of one claimed row by its worker's journal."""
    attempt = (entry.id, entry.attempt)
    if attempt in contents.outcomes:
        return results.from_outcome_state(entry, contents.outcomes[attempt])
    if attempt in contents.started_attempts:
        return results.from_outcome_state(entry, "unknown", reason=Reason.WORKER_DIED)
    if not contents.is_complete:
        return results.from_outcome_state(entry, "unknown", reason=Reason.MACHINE_STOPPED)
    return results.give_back(entry)
