"""Gap settlement: what may have left is marked, journals and departures are read, and mail goes on.

The same in the transaction of a restore and later, by a command of its own. Each step changes nothing when
it was done before.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from lists import audit, erasure
from lists.erasure import ReapplyResult
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
    """What a file of departures brought: what it held, what was done, and whether it settled the gap."""

    file: departures_file.DeparturesFile
    result: ReapplyResult
    settles_gap: bool


@dataclass(frozen=True, kw_only=True)
class RestoreSettlement:
    """What is known of a gap: messages that may have left, those that journals knew of, and the merge.

    `hold_sentence` says why nothing is sent, and what to do; "" when mail may leave.
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
    """Mark what may have left, ask the journals, merge the departures; nothing where no gap is open.

    Raises BadInput for a file of departures that cannot be read or was written with other keys.
    """
    held = send_hold.find_unsettled(session)
    if held is not None:
        _mark_in_doubt(session, service, held)
    by_journals = merged = None
    if held is not None and journals is not None:
        by_journals = restore_gap.apply_journals(session, journals, restore=held)
    if held is not None and departures is not None:
        merged = merge_departures(session, service, departures, now=now, actor=actor)
    still = send_hold.find_unsettled(session)
    return RestoreSettlement(
        hold_sentence=still.sentence if still else "",
        in_doubt_count=in_doubt.count_restored(session),
        settled_by_journals=by_journals,
        departures_merge=merged,
    )


def merge_departures(
    session: Session, service: Service, file: Path, *, now: datetime, actor: str
) -> DeparturesMerge:
    """Do again what is in a file of departures; one that reaches past the backup settles the gap.

    Raises BadInput as `departures_file.read` does.
    """
    read = departures_file.read(file, fingerprint=key_check.compute_fingerprints(service.keys)["pepper"])
    done = erasure.reapply_departures(session, read.records, erase=erase_contact, now=now, actor=actor)
    held = send_hold.find_unsettled(session)
    settles = held is not None and read.until is not None and read.until >= held.backup_at
    if settles:
        end_hold(session, service, how=send_hold.MERGED, now=now, actor=actor)
    return DeparturesMerge(file=read, result=done, settles_gap=settles)


def end_hold(session: Session, service: Service, *, how: str, now: datetime, actor: str) -> None:
    """Let mail leave again, if anything holds it; `how` is send_hold.MERGED or send_hold.ACCEPTED."""
    held = send_hold.find_unsettled(session)
    if held is not None:
        _mark_in_doubt(session, service, held)
        send_hold.end(session, held, how=how, now=now)
        audit.record(session, actor=actor, action=f"gap {how}", subject=f"restore {held.id}", now=now)


def _mark_in_doubt(session: Session, service: Service, restore: Restore) -> None:
    """Mark what may have left, unless that was done."""
    if restore.reckoned_at is None:
        restore_gap.mark_in_doubt(session, restore, sources=service.sources, sequences=service.sequences)
