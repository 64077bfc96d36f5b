"""Undoing: an import that was wrong is taken back, batch by batch, as if its people had never come.

Whoever proved since that the address is theirs, by a link that only they have, stays; who left meanwhile
stays left. Whoever filled in the form meanwhile has asked to join and proved nothing, and is asked for a yes.
Of whom mail has reached already, the contact and its consents stay, so that the links in that mail work.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.orm import Session, aliased

from lists import imports
from lists.consents import Consent
from lists.contacts import Contact
from lists.directory import Listing
from lists.imports import ListImport
from lists.merge_redirects import MergeRedirect
from lists.notes import Note
from lists.subscriptions import Subscription, SubscriptionChange
from lists.tables.staging import BATCH_ROWS
from lists.tags import Tag
from lists.topic_optouts import TopicOptout

PROOF_ACTIONS = ("confirmed", "approved", "paused", "resumed", "language", "topics")
UNDO_WORDING = "This import was a mistake and was taken back."
NO_SYNC = {"synchronize_session": False}


@dataclass(frozen=True, kw_only=True)
class UndoCounts:
    """How many people an import brought onto its list, and what taking it back does to them.

    `removed`: taken off the list; `asked_again`: of these, who signed up meanwhile and are asked for a yes
    instead; `left`: left meanwhile and stay so; `proven`: confirmed or changed something themselves, and
    stay.
    """

    people: int
    removed: int
    asked_again: int
    left: int
    proven: int


def count_people(session: Session, list_import: ListImport) -> UndoCounts:
    """Return how the people of an import stand now."""
    people = session.scalar(select(func.count()).where(*_import_conditions(list_import))) or 0
    here = select(func.count()).select_from(Subscription).where(Subscription.arrival_id == list_import.id)
    left = session.scalar(here.where(Subscription.state == "left")) or 0
    back = session.scalar(here.where(_is_removable(list_import))) or 0
    asked = session.scalar(here.where(_is_removable(list_import), _has_consented(("asked",)))) or 0
    return UndoCounts(people=people, removed=back, asked_again=asked, left=left, proven=people - back - left)


def select_removable(list_import: ListImport) -> Select[int]:
    """Select the contacts, by number, whom taking back an import takes off its list."""
    return select(Subscription.contact_id).where(_is_removable(list_import))


def select_signed_up(list_import: ListImport) -> Select[int]:
    """Select, of these, those who signed up by the form since."""
    return select_removable(list_import).where(_has_consented(("asked",)))


def select_mailed(list_import: ListImport) -> Select[int]:
    """Select the contacts, by number, whom mail had reached when an import was taken back."""
    return select(Consent.contact_id).where(
        Consent.action == "undone", Consent.page == _evidence_page(list_import)
    )


def release_proven(session: Session, list_import: ListImport, *, after: int) -> int | None:
    """Free one batch of those who proved that they are here, so that they count on while the rest goes.

    Returns where to go on, None at the end.
    """
    found = _list_imported(session, list_import, after)
    if not found:
        return None
    mine = and_(
        Subscription.contact_id.in_([contact for _, contact in found]),
        Subscription.arrival_id == list_import.id,
    )
    freed = update(Subscription).where(mine, Subscription.state != "left", _has_consented(PROOF_ACTIONS))
    session.execute(freed.values(arrival_id=None).execution_options(**NO_SYNC))
    return found[-1][0]


def list_batch(session: Session, list_import: ListImport, *, after: int) -> tuple[Sequence[int], int | None]:
    """Return one batch of those whom taking back takes off the list, and where to go on, None at the end."""
    found = _list_imported(session, list_import, after)
    if not found:
        return [], None
    contacts = [contact for _, contact in found]
    return session.scalars(
        select_removable(list_import).where(Subscription.contact_id.in_(contacts))
    ).all(), found[-1][0]


def undo_batch(
    session: Session,
    list_import: ListImport,
    contacts: Sequence[int],
    *,
    is_mailed: ColumnElement[bool],
    is_referenced: ColumnElement[bool],
    now: datetime,
) -> int:
    """Take these people off the list that an import brought them onto; returns how many contacts are gone.

    `is_mailed` says of a contact that mail for this list has left for it, and `is_referenced` that something
    else than what lists/ knows still points at it.
    """
    mine = and_(Subscription.contact_id.in_(contacts), Subscription.arrival_id == list_import.id)
    again = {"state": "pending", "asked_at": now, "mailed_at": None, "confirmed_at": None, "arrival_id": None}
    asked = update(Subscription).where(mine, _has_consented(("asked",))).values(**again)
    session.execute(asked.execution_options(**NO_SYNC))
    changes = delete(SubscriptionChange).where(
        SubscriptionChange.contact_id.in_(contacts), SubscriptionChange.list == list_import.list
    )
    session.execute(changes.execution_options(**NO_SYNC))
    session.execute(delete(Subscription).where(mine).execution_options(**NO_SYNC))
    told = session.scalars(select(Contact.id).where(Contact.id.in_(contacts), is_mailed)).all()
    said = {
        "list": list_import.list,
        "action": "undone",
        "page": _evidence_page(list_import),
        "wording": UNDO_WORDING,
        "language": "",
    }
    if told:
        session.execute(insert(Consent), [{**said, "contact_id": contact, "at": now} for contact in told])
    never = delete(Consent).where(Consent.contact_id.in_(contacts), Consent.contact_id.not_in(told))
    session.execute(never.where(*_import_conditions(list_import)).execution_options(**NO_SYNC))
    gone = (
        delete(Contact)
        .where(Contact.id.in_(contacts), ~_is_referenced(list_import), ~is_referenced)
        .returning(Contact.id)
    )
    return len(session.scalars(gone.execution_options(**NO_SYNC)).all())


def _list_imported(session: Session, list_import: ListImport, after: int) -> Sequence[tuple[int, int]]:
    """Return the next of those whom an import brought, by the number of the consent, with the contact's."""
    found = select(Consent.id, Consent.contact_id).where(Consent.id > after, *_import_conditions(list_import))
    return [(row.id, row.contact_id) for row in session.execute(found.order_by(Consent.id).limit(BATCH_ROWS))]


def _evidence_page(list_import: ListImport) -> str:
    return imports.EVIDENCE_PAGE.format(number=list_import.id)


def _import_conditions(list_import: ListImport) -> tuple[ColumnElement[bool], ...]:
    return (Consent.page == _evidence_page(list_import), Consent.action == "imported")


def _is_removable(list_import: ListImport) -> ColumnElement[bool]:
    """Return the condition that a subscription is there only by this import."""
    return and_(
        Subscription.arrival_id == list_import.id,
        Subscription.state != "left",
        ~_has_consented(PROOF_ACTIONS),
    )


def _has_consented(actions: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that the person of a subscription did one of these things on its list."""
    theirs = aliased(Consent)
    return exists().where(
        theirs.contact_id == Subscription.contact_id,
        theirs.list == Subscription.list,
        theirs.action.in_(actions),
    )


def _is_referenced(list_import: ListImport) -> ColumnElement[bool]:
    """Return the condition that something else than this import holds a contact here."""
    tables = (Subscription, Consent, Listing, Note, MergeRedirect, TopicOptout)
    tagged = exists().where(
        Tag.contact_id == Contact.id, Tag.at > (list_import.ended_at or list_import.began_at)
    )
    here = [exists().where(table.contact_id == Contact.id) for table in tables]
    return or_(*here, tagged, Contact.version > 1)
