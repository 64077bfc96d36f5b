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

AT_ONCE = 5_000  # rows
MOST_ROUNDS = 10_000  # of filling one source, far more than any gap holds
TESTIFIED = ("sent", "refused")  # what ends a message; after anything else it may have been tried again
SAID = "its journal says so"


def reckon(session: Session, restore: Restore, *, sources: Mapping[str, Source], sequences: Sequences) -> int:
    """Mark everything that may have been sent in the gap; returns how many messages wait for a decision."""
    since, until = restore.backup_at, restore.restored_at
    for source in {id(each): each for each in sources.values()}.values():
        if source is not sequences:
            _fill(session, source, restore)
    while doubted := in_doubt.mark_unknown(session, limit=AT_ONCE):
        settle_all(session, sources, doubted, now=since)
    sequences.skip_restore_gap(session, since=since, until=until)
    restore.reckoned_at = until
    session.flush()
    return in_doubt.count_restored(session)


def testify(session: Session, told: Iterable[JournalContents], *, restore: Restore) -> int:
    """Settle what the journals of the lost machine can say; returns how many messages that were."""
    ended: dict[int, str] = {}
    for testimony in told:
        for (row, _), state in testimony.outcomes.items():
            if state in TESTIFIED and ended.get(row) != "sent":
                ended[row] = state
    settled = 0
    for batch in _batches(sorted(ended)):
        found = session.execute(
            select(*outbox.ENTRY_COLUMNS).where(OutboxRow.id.in_(batch), *in_doubt.FROM_RESTORE)
        )
        rows = [
            results.from_outcome_state(entry, ended[entry.id], why=SAID)
            for entry in (Entry(**row._mapping) for row in found)
        ]
        settled += len(outbox.record(session, rows, now=restore.restored_at))
    return settled


def _fill(session: Session, source: Source, restore: Restore) -> None:
    """Let a source put what fell due by the restore: the lost machine may have done so, too."""
    until = restore.restored_at
    for _ in range(MOST_ROUNDS):
        new = source.fill(session, now=until, limit=AT_ONCE)
        due = source.next_due(session, now=until)
        if new < AT_ONCE and (due is None or due > until):
            return


def _batches(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    rest = iter(rows)
    while batch := list(islice(rest, AT_ONCE)):
        yield batch
