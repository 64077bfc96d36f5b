"""Rescue: what a dead worker had claimed is settled by what its journal says.

```
the journal says    answered          → what was answered
                    begun, no answer  → unknown: at most one message per connection
                    nothing           → queued again; unknown after a reboot, when lines may be missing
no journal here     the lease is over → unknown: it ran on another machine
```
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from lists.clock import Clock
from lists.db import Database
from mailer import journal, outbox, verdicts
from mailer.journal import Testimony
from mailer.outbox import Entry, Result
from mailer.source import Source

AT_ONCE = 1_000

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Rescue:
    """Settles what dead workers left behind; `folder` holds the journals of this machine's workers."""

    database: Database
    clock: Clock
    sources: Mapping[str, Source]
    folder: Path

    def of_the_dead(self) -> int:
        """Settle the claims of each worker of this machine whose journal proves it dead; returns how many."""
        moved = 0
        with journal.of_the_dead(self.folder) as told:
            for testimony in told:
                with self.database.read() as session:
                    claimed = outbox.claimed_by(session, testimony.worker)
                moved += self._settle([_told(entry, testimony) for entry in claimed])
        return moved

    def of_the_overdue(self) -> int:
        """Settle claims whose lease is over: their worker is lost with its machine, or stands still."""
        with self.database.read() as session:
            lost = outbox.overdue(session, real=self.clock.real(), limit=AT_ONCE)
        return self._settle([verdicts.told(entry, "unknown", why="its worker was lost") for entry in lost])

    def _settle(self, results: Sequence[Result]) -> int:
        if results:
            verdicts.write_down(self.database, self.clock, self.sources, results)
            states = [result.state for result in results]
            log.warning("rescued", **{state: states.count(state) for state in sorted(set(states))})
        return len(results)


def _told(entry: Entry, testimony: Testimony) -> Result:
    """Say what became of one claimed row, as far as its worker's journal can tell."""
    attempt = (entry.id, entry.attempt)
    if attempt in testimony.ended:
        return verdicts.told(entry, testimony.ended[attempt])
    if attempt in testimony.begun:
        return verdicts.told(entry, "unknown", why="its worker died at the last byte")
    if not testimony.complete:
        return verdicts.told(entry, "unknown", why="the machine stopped while it was claimed")
    return verdicts.back(entry)
