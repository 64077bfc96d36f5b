"""Restore gap: what may have been sent between a backup and its restore, so that nothing is sent twice.

What waited at the backup, and what fell due before the restore, may have been sent by the machine that was
lost. Messages become `unknown`, and wait for staff (“mailer outbox resolve --restored”); steps of sequences
count as sent. The journals of the lost machine, if they exist, say what its relay accepted.
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
from mailer.reasons import Reason
from mailer.sources.sequences import Sequences

BATCH_SIZE = 5_000  # rows
MAX_ROUNDS = 10_000  # of filling one source, far more than any gap needs
FINAL_STATES = ("sent", "refused")  # these end a message; after any other state it may have been tried again


def mark_in_doubt(
    session: Session, restore: Restore, *, sources: Mapping[str, Source], sequences: Sequences
) -> int:
    """Mark everything that may have been sent in the gap; returns how many messages wait for a decision."""
    since, until = restore.backup_at, restore.restored_at
    for source in {id(each): each for each in sources.values()}.values():
        if source is not sequences:
            _fill_source(session, source, restore)
    while entries := in_doubt.mark_unknown(session, limit=BATCH_SIZE):
        settle_all(session, sources, entries, now=since)
    sequences.skip_restore_gap(session, since=since, until=until)
    restore.marked_at = until
    session.flush()
    return in_doubt.count_restored(session)


def apply_journals(session: Session, journals: Iterable[JournalContents], *, restore: Restore) -> int:
    """Settle the messages whose result is in the journals of the lost machine; returns how many."""
    states: dict[int, str] = {}
    for journal in journals:
        for (row, _), state in journal.outcomes.items():
            if state in FINAL_STATES and states.get(row) != "sent":
                states[row] = state
    total = 0
    for batch in _split_batches(sorted(states)):
        result = session.execute(
            select(*outbox.ENTRY_COLUMNS).where(OutboxRow.id.in_(batch), *in_doubt.FROM_RESTORE)
        )
        rows = [
            results.from_outcome_state(entry, states[entry.id], reason=Reason.JOURNAL)
            for entry in (Entry(**row._mapping) for row in result)
        ]
        total += len(outbox.record(session, rows, now=restore.restored_at))
    return total


def _fill_source(session: Session, source: Source, restore: Restore) -> None:
    """Let a source queue what fell due before the restore: the lost machine may have done so, too."""
    until = restore.restored_at
    for _ in range(MAX_ROUNDS):
        count = source.fill(session, now=until, limit=BATCH_SIZE)
        due = source.next_due(session, now=until)
        if count < BATCH_SIZE and (due is None or due > until):
            return


def _split_batches(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_SIZE)):
        yield batch
