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
from mailer.people.erasure import erase
from mailer.service import Service
from mailer.settings import key_check


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a file of departures brought: what it held, what was done, and whether it settled the gap."""

    read: departures_file.Read
    done: ReapplyResult
    settles: bool


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What is known of a gap: messages that may have left, those that journals knew of, and the merge.

    `held` says why nothing is sent, and what to do; "" when mail may leave.
    """

    held: str = ""
    may_have_left: int = 0
    by_journals: int | None = None
    merged: Merged | None = None


def settle(
    session: Session,
    service: Service,
    *,
    departures: Path | None,
    journals: Iterable[JournalContents] | None,
    now: datetime,
    actor: str,
) -> Settled:
    """Mark what may have left, ask the journals, merge the departures; nothing where no gap is open.

    Raises BadInput for a file of departures that cannot be read or was written with other keys.
    """
    held = send_hold.find_unsettled(session)
    if held is not None:
        _reckon(session, service, held)
    by_journals = merged = None
    if held is not None and journals is not None:
        by_journals = restore_gap.testify(session, journals, restore=held)
    if held is not None and departures is not None:
        merged = merge(session, service, departures, now=now, actor=actor)
    still = send_hold.find_unsettled(session)
    return Settled(
        held=still.sentence if still else "",
        may_have_left=in_doubt.count_restored(session),
        by_journals=by_journals,
        merged=merged,
    )


def merge(session: Session, service: Service, file: Path, *, now: datetime, actor: str) -> Merged:
    """Do again what is in a file of departures; one that reaches past the backup settles the gap.

    Raises BadInput as `register.read` does.
    """
    read = departures_file.read(file, fingerprint=key_check.of(service.keys)["pepper"])
    done = erasure.reapply_departures(session, read.departed, erase=erase, now=now, actor=actor)
    held = send_hold.find_unsettled(session)
    settles = held is not None and read.until is not None and read.until >= held.backup_at
    if settles:
        end(session, service, how=send_hold.MERGED, now=now, actor=actor)
    return Merged(read=read, done=done, settles=settles)


def end(session: Session, service: Service, *, how: str, now: datetime, actor: str) -> None:
    """Let mail leave again, if anything holds it; `how` is restores.MERGED or restores.ACCEPTED."""
    held = send_hold.find_unsettled(session)
    if held is not None:
        _reckon(session, service, held)
        send_hold.end(session, held, how=how, now=now)
        audit.record(session, actor=actor, action=f"gap {how}", subject=f"restore {held.id}", now=now)


def _reckon(session: Session, service: Service, held: Restore) -> None:
    """Mark what may have left, unless that was done."""
    if held.reckoned_at is None:
        restore_gap.reckon(session, held, sources=service.sources, sequences=service.sequences)
