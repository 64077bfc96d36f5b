"""Jobs: the scheduled work of the service, as a table of functions.

Each job derives its work from tables alone, so it may run twice, late or not at all: the next run finds the
remaining work. The scheduler ticks them, `mailer jobs run NAME` runs one by hand.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from lists import search
from lists.clock import Clock
from lists.db import Database
from lists.errors import Conflict, NotFound
from mailer.backup import departures_file
from mailer.batches import PAUSE_SECONDS, write_in_batches
from mailer.compose.source import Source, settle_all
from mailer.coordination import counters, rate_limits, send_hold, signup_throttle
from mailer.delivery import journal
from mailer.delivery.rescue import Rescue
from mailer.jobs.held_releases import Releases
from mailer.library import file_store, law_cards, resources
from mailer.outbox import outbox, stats
from mailer.people import retention
from mailer.people.retention import RetentionRule
from mailer.policy import POLICY
from mailer.reasons import Reason
from mailer.sources import broadcasts
from mailer.sources.broadcasts import Broadcasts
from mailer.sources.sequences import Sequences

SEARCH_BATCH = 250  # contacts, with about five words each: short enough for other writers
BATCH = 2_500  # rows in one transaction: a web write waits no longer than one takes
EXPIRE_BATCH = 1_000
DIGEST_CHECK_INTERVAL = timedelta(minutes=10)  # between two checks for waiting tasks: staff are in no hurry
JOURNAL_RETENTION = timedelta(days=30)

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One kind of scheduled work; `run` returns how many rows it changed."""

    name: str
    about: str
    every: timedelta
    run: Callable[[], int]


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Builds the table of jobs over the sources of this service."""

    database: Database
    clock: Clock
    sources: Mapping[str, Source]
    broadcasts: Broadcasts
    sequences: Sequences
    releases: Releases
    rescue: Rescue
    home: Path
    fingerprint: bytes  # the pepper's
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)

    def all(self) -> Sequence[Job]:
        """Return every job in the order a tick runs them."""
        fills = [
            Job(
                name=f"fill-{kind}",
                about=f"put every {kind} that is due into the outbox",
                every=DIGEST_CHECK_INTERVAL if POLICY[kind].to_staff else timedelta(seconds=5),
                run=lambda source=source: self._fill(source),  # type: ignore[misc]
            )
            for kind, source in self._list_sources()
        ]
        return [
            *fills,
            *self._outbox_jobs(),
            Job(
                name="adopt",
                about="start follow-ups that the queue of changes missed",
                every=timedelta(days=1),
                run=self._start_missed_journeys,
            ),
            Job(
                name="write-departures",
                about="write who left, complained or was forgotten into the file of departures",
                every=timedelta(seconds=5),
                run=self.write_departures,
            ),
            Job(
                name="empty-log",
                about="overwrite the database's log, so that nothing erased can be read in it",
                every=timedelta(minutes=10),
                run=self._empty_log,
            ),
            Job(
                name="clear-journals",
                about="delete what workers wrote down more than a month ago",
                every=timedelta(days=1),
                run=self._clear_journals,
            ),
            Job(
                name="clear-brakes",
                about="delete the counts of past days, and the hashes of networks and mailboxes with them",
                every=timedelta(hours=6),
                run=self._clear_throttle_counts,
            ),
            Job(
                name="make-searchable",
                about="note the words by which staff find those who are new or have changed",
                every=timedelta(seconds=20),
                run=self._make_searchable,
            ),
            *self._resource_jobs(),
            *self._retention_jobs(),
        ]

    def _outbox_jobs(self) -> Sequence[Job]:
        return [
            Job(
                name="withdraw",
                about="clear what still waits of recalled updates out of the outbox",
                every=timedelta(seconds=5),
                run=self._withdraw,
            ),
            Job(
                name="release-held",
                about="let held messages go whose reason is over, cancel those that can never leave",
                every=timedelta(seconds=20),
                run=self._release,
            ),
            Job(
                name="expire",
                about="give up messages that are too late to send",
                every=timedelta(minutes=1),
                run=self._expire,
            ),
            Job(
                name="rescue",
                about="settle what a dead worker had claimed",
                every=timedelta(seconds=5),
                run=self._rescue,
            ),
        ]

    def _resource_jobs(self) -> Sequence[Job]:
        return [
            Job(
                name="watch-resources",
                about="tell staff when mails wait for a resource that nobody has given",
                every=timedelta(hours=6),
                run=self._warn_of_missing_resources,
            ),
            Job(
                name="clear-resources",
                about="delete files of resources that were retired",
                every=timedelta(hours=6),
                run=self._clear_resources,
            ),
            Job(
                name="watch-facts",
                about="tell staff which cards on present law must be checked again",
                every=timedelta(days=1),
                run=self._warn_of_expiring_cards,
            ),
        ]

    def _retention_jobs(self) -> Sequence[Job]:
        return [
            Job(
                name=rule.name,
                about=rule.about,
                every=timedelta(hours=6),
                run=lambda rule=rule: self._apply_retention(rule),  # type: ignore[misc]
            )
            for rule in retention.RULES
        ]

    def get(self, name: str) -> Job:
        """Return one job; raises NotFound."""
        for job in self.all():
            if job.name == name:
                return job
        raise NotFound(f"There is no job called “{name}”. “mailer jobs list” shows them.")

    def tick(self) -> int:
        """Run every job once; returns how many rows changed."""
        return sum(job.run() for job in self.all())

    def next_due(self, now: datetime) -> datetime | None:
        """Return the next moment, at `now` or later, when a job has work; None if never."""
        with self.database.read() as session:
            moments = [source.next_due(session, now=now) for _, source in self._list_sources()]
            moments.append(stats.find_next_due(session, after=now))
        return min((moment for moment in moments if moment is not None), default=None)

    def _list_sources(self) -> Sequence[tuple[str, Source]]:
        return [(kind, source) for kind, source in self.sources.items() if kind == source.kinds[0]]

    def stop(self) -> None:
        """End each running job after its batch; the next process does the remaining work."""
        self._stopping.set()

    def _in_batches(self, work: Callable[[Session], int], limit: int) -> int:
        """Run `work` in batches of `limit` rows; returns how many rows it changed."""
        sums = write_in_batches(self.database, self.clock, work, limit=limit, stopped=self._stopping.is_set)
        return max(sums)

    def _fill(self, source: Source) -> int:
        def fill(session: Session) -> int:
            if send_hold.find_unsettled(session) is not None:
                return 0  # due and sent messages are unknown until the restore gap is settled
            return source.fill(session, now=self.clock.now(), limit=BATCH)

        return self._in_batches(fill, BATCH)

    def fill_broadcast(self, number: int) -> Iterator[int]:
        """Insert an update into the outbox batch by batch; yields the number of messages inserted so far.

        Raises Conflict when it is recalled meanwhile. `mailer serve` may do the same at the same time.
        """
        new = 0
        while True:
            with self.database.write() as session:
                broadcast = broadcasts.get(session, number)
                session.refresh(broadcast, with_for_update=True)
                if broadcast.state == "filling":
                    new += self.broadcasts.fill_batch(session, broadcast, now=self.clock.now(), limit=BATCH)
                state = broadcast.state
            yield new
            if state == "recalled":
                raise Conflict(f"Update {number} was recalled meanwhile.")
            if state == "filled":
                return
            self.clock.sleep(PAUSE_SECONDS)

    def withdraw_broadcasts(self) -> Iterator[int]:
        """Cancel messages of recalled updates batch by batch; yields the number of messages so far."""
        limit = broadcasts.WITHDRAW_BATCH
        return write_in_batches(
            self.database,
            self.clock,
            lambda session: broadcasts.withdraw(session, limit=limit),
            limit=limit,
            stopped=self._stopping.is_set,
        )

    def _withdraw(self) -> int:
        return max(self.withdraw_broadcasts())

    def _release(self) -> int:
        with self.database.write() as session:
            return self.releases.release(session, now=self.clock.now())

    def _expire(self) -> int:
        def expire(session: Session) -> int:
            now = self.clock.now()
            expired = outbox.expire(session, now=now, limit=EXPIRE_BATCH)
            settle_all(session, self.sources, expired, now=now)
            return len(expired)

        return self._in_batches(expire, EXPIRE_BATCH)

    def _apply_retention(self, rule: RetentionRule) -> int:
        """Apply one rule of retention, a batch at a time; its search blocks no writer."""
        total = last = 0
        while True:
            now = self.clock.now()
            with self.database.read() as session:
                ids = retention.list_due(session, rule, now=now, after=last, limit=BATCH)
            if not ids:
                return total
            with self.database.write() as session:
                rule.erase(session, ids, now)
            total, last = total + len(ids), ids[-1]
            self.clock.sleep(PAUSE_SECONDS)
            if self._stopping.is_set():
                return total

    def _make_searchable(self) -> int:
        limit = SEARCH_BATCH
        return self._in_batches(lambda session: search.update_index(session, limit=limit), limit)

    def _rescue(self) -> int:
        return self.rescue.settle_ended_workers() + self.rescue.settle_overdue()

    def _start_missed_journeys(self) -> int:
        with self.database.write() as session:
            return self.sequences.start_missed(session, now=self.clock.now())

    def write_departures(self) -> int:
        """Append missing departures to the file of departures; returns how many."""
        return departures_file.append_new(
            self.database, self.home, fingerprint=self.fingerprint, now=self.clock.now()
        )

    def _empty_log(self) -> int:
        self.database.truncate_wal()
        return 0

    def _warn_of_missing_resources(self) -> int:
        with self.database.read() as session:
            messages_by_fields = stats.count_held_for(session, Reason.MISSING_LINK)
        for fields, messages in messages_by_fields.items():
            log.warning("mails wait for a resource that nobody has given", fields=fields, messages=messages)
        return 0

    def _warn_of_expiring_cards(self) -> int:
        now = self.clock.now()
        with self.database.read() as session:
            for card in law_cards.list_expiring(session, now=now):
                days = card.days_remaining(now)
                log.warning(
                    "a card on present law must be checked", card=card.id, state=card.state, days=days
                )
        return 0

    def _clear_resources(self) -> int:
        with self.database.read() as session:
            needed = resources.list_needed_files(session)
        return file_store.delete_unneeded(self.home, needed_digests=needed, real=self.clock.real())

    def _clear_journals(self) -> int:
        return journal.delete_settled(self.rescue.folder, before=self.clock.real() - JOURNAL_RETENTION)

    def _clear_throttle_counts(self) -> int:
        with self.database.write() as session:
            now = self.clock.now()
            limits = rate_limits.delete_unused(session, real=self.clock.real())
            return (
                signup_throttle.delete_old(session, now=now) + counters.delete_old(session, now=now) + limits
            )
