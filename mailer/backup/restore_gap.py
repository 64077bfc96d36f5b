"""Gap: what may have been sent between a backup and its restore, so that nobody gets anything twice.

Whatever waited at the backup, and whatever fell due by the restore, may have left from the machine that was
lost. Messages become `unknown`, and wait for staff (“mailer outbox resolve --restored”); steps of sequences
count as sent. The journals of the lost machine, where they are at hand, testify to what its server took.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from mailer.compose.source import Source, settle_all
from mailer.coordination.send_hold import Restore
from mailer.delivery import results
from mailer.delivery.journal import JournalContents
from mailer.outbox import in_doubt, outbox
from mailer.outbox.outbox import Entry, OutboxRow
from mailer.sources.sequences import Sequences

BATCH_SIZE = 5_000  # rows
MAX_ROUNDS = 10_000  # of filling one source, far more than any gap holds
FINAL_STATES = ("sent", "refused")  # what ends a message; after anything else it may have been tried again
JOURNAL_REASON = "its journal says so"


def mark_in_doubt(
    session: Session, restore: Restore, *, sources: Mapping[str, Source], sequences: Sequences
) -> int:
    """Mark everything that may have been sent in the gap; returns how many messages wait for a decision."""
    since, until = restore.backup_at, restore.restored_at
    for source in {id(each): each for each in sources.values()}.values():
        if source is not sequences:
            _fill_source(session, source, restore)
    while doubted := in_doubt.mark_unknown(session, limit=BATCH_SIZE):
        settle_all(session, sources, doubted, now=since)
    sequences.skip_restore_gap(session, since=since, until=until)
    restore.reckoned_at = until
    session.flush()
    return in_doubt.count_restored(session)


def apply_journals(session: Session, journals: Iterable[JournalContents], *, restore: Restore) -> int:
    """Settle what the journals of the lost machine can say; returns how many messages that were."""
    ended: dict[int, str] = {}
    for testimony in journals:
        for (row, _), state in testimony.outcomes.items():
            if state in FINAL_STATES and ended.get(row) != "sent":
                ended[row] = state
    settled = 0
    for batch in _split_batches(sorted(ended)):
        found = session.execute(
            select(*outbox.ENTRY_COLUMNS).where(OutboxRow.id.in_(batch), *in_doubt.FROM_RESTORE)
        )
        rows = [
            results.from_outcome_state(entry, ended[entry.id], why=JOURNAL_REASON)
            for entry in (Entry(**row._mapping) for row in found)
        ]
        settled += len(outbox.record(session, rows, now=restore.restored_at))
    return settled


def _fill_source(session: Session, source: Source, restore: Restore) -> None:
    """Let a source put what fell due by the restore: the lost machine may have done so, too."""
    until = restore.restored_at
    for _ in range(MAX_ROUNDS):
        new = source.fill(session, now=until, limit=BATCH_SIZE)
        due = source.next_due(session, now=until)
        if new < BATCH_SIZE and (due is None or due > until):
            return


def _split_batches(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    rest = iter(rows)
    while batch := list(islice(rest, BATCH_SIZE)):
        yield batch
