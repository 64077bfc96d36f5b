"""Restore settlement: marks messages in doubt, reads journals and departures, and ends the send hold.

A restore calls it in its transaction, a command calls it later. Each step changes nothing when it was done
before.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from lists import audit
from lists.identity import departure_replay
from lists.identity.departure_replay import ReapplyResult
from mailer.backup import departures_file, restore_gap
from mailer.coordination import send_hold
from mailer.coordination.send_hold import Restore
from mailer.delivery.journal import JournalContents
from mailer.outbox import in_doubt
from mailer.people.erasure import erase_contact
from mailer.service import Service
from mailer.settings import key_check


@dataclass(frozen=True, kw_only=True)
class DeparturesMerge:
    """The result of merging a file of departures: content, what was done, whether the gap is settled."""

    file: departures_file.DeparturesFile
    result: ReapplyResult
    settles_gap: bool


@dataclass(frozen=True, kw_only=True)
class RestoreSettlement:
    """The state of a gap: the number of messages in doubt, of those settled by journals, and the merge.

    `hold_sentence` says why nothing is sent, and what to do; "" when nothing is held.
    """

    hold_sentence: str = ""
    in_doubt_count: int = 0
    settled_by_journals: int | None = None
    departures_merge: DeparturesMerge | None = None


def settle(
    session: Session,
    service: Service,
    *,
    departures: Path | None,
    journals: Iterable[JournalContents] | None,
    now: datetime,
    actor: str,
) -> RestoreSettlement:
    """Mark messages in doubt, apply the journals, merge the departures; does nothing where no gap is open.

    Raises BadInput for a file of departures that cannot be read or was written with other keys.
    """
    open_restore = send_hold.find_unsettled(session)
    if open_restore is not None:
        _mark_in_doubt(session, service, open_restore)
    settled_count = merge = None
    if open_restore is not None and journals is not None:
        settled_count = restore_gap.apply_journals(session, journals, restore=open_restore)
    if open_restore is not None and departures is not None:
        merge = merge_departures(session, service, departures, now=now, actor=actor)
    unsettled = send_hold.find_unsettled(session)
    return RestoreSettlement(
        hold_sentence=unsettled.sentence if unsettled else "",
        in_doubt_count=in_doubt.count_restored(session),
        settled_by_journals=settled_count,
        departures_merge=merge,
    )


def merge_departures(
    session: Session, service: Service, file: Path, *, now: datetime, actor: str
) -> DeparturesMerge:
    """Apply a file of departures again; one that reaches past the backup settles the gap.

    Raises BadInput as `departures_file.read` does.
    """
    departures = departures_file.read(
        file, fingerprint=key_check.compute_fingerprints(service.keys)["pepper"]
    )
    result = departure_replay.replay(session, departures.records, erase=erase_contact, now=now, actor=actor)
    restore = send_hold.find_unsettled(session)
    settles = restore is not None and departures.until is not None and departures.until >= restore.backup_at
    if settles:
        end_hold(session, service, how=send_hold.MERGED, now=now, actor=actor)
    return DeparturesMerge(file=departures, result=result, settles_gap=settles)


def end_hold(session: Session, service: Service, *, how: str, now: datetime, actor: str) -> None:
    """End the send hold, if there is one; `how` is send_hold.MERGED or send_hold.ACCEPTED."""
    restore = send_hold.find_unsettled(session)
    if restore is not None:
        _mark_in_doubt(session, service, restore)
        send_hold.end(session, restore, how=how, now=now)
        audit.record(session, actor=actor, action=f"gap {how}", subject=f"restore {restore.id}", now=now)


def _mark_in_doubt(session: Session, service: Service, restore: Restore) -> None:
    """Mark the messages in doubt, unless that was done."""
    if restore.marked_at is None:
        restore_gap.mark_in_doubt(session, restore, sources=service.sources, sequences=service.sequences)
