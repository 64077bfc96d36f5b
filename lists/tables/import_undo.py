"""Import undo: take back a wrong import, batch by batch, as if its people had never been imported.

A person who proved since that the address is theirs, by a link that only they have, stays subscribed. A
person who left meanwhile stays left. A person who filled in the form meanwhile has asked to join but proved
nothing, and gets a request to confirm. Of people who were already mailed, the contact and its consents stay,
so that the links in that mail work.
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
from lists.tables.staged_rows import BATCH_ROWS
from lists.tags import Tag
from lists.topic_optouts import TopicOptout

PROOF_ACTIONS = ("confirmed", "approved", "paused", "resumed", "language", "topics")
UNDO_WORDING = "This import was a mistake and was taken back."
NO_SYNC = {"synchronize_session": False}


@dataclass(frozen=True, kw_only=True)
class UndoCounts:
    """How many people an import subscribed to its list, and what its undo does to them.

    `removed`: removed from the list. `asked_again`: of these, signed up meanwhile and get a request to
    confirm instead. `left`: left meanwhile and stay left. `proven`: confirmed or changed something
    themselves, and stay subscribed.
    """

    people: int
    removed: int
    asked_again: int
    left: int
    proven: int


def count_people(session: Session, list_import: ListImport) -> UndoCounts:
    """Return the present counts of the people of an import."""
    people = session.scalar(select(func.count()).where(*_import_conditions(list_import))) or 0
    query = select(func.count()).select_from(Subscription).where(Subscription.arrival_id == list_import.id)
    left = session.scalar(query.where(Subscription.state == "left")) or 0
    removed = session.scalar(query.where(_is_removable(list_import))) or 0
    asked_again = session.scalar(query.where(_is_removable(list_import), _has_consented(("asked",)))) or 0
    return UndoCounts(
        people=people, removed=removed, asked_again=asked_again, left=left, proven=people - removed - left
    )


def select_removable(list_import: ListImport) -> Select[int]:
    """Select the numbers of the contacts that the undo of an import removes from its list."""
    return select(Subscription.contact_id).where(_is_removable(list_import))


def select_signed_up(list_import: ListImport) -> Select[int]:
    """Select, of these, those who signed up by the form since."""
    return select_removable(list_import).where(_has_consented(("asked",)))


def select_mailed(list_import: ListImport) -> Select[int]:
    """Select the numbers of the contacts that were already mailed when an import was undone."""
    return select(Consent.contact_id).where(
        Consent.action == "undone", Consent.page == _evidence_page(list_import)
    )


def release_proven(session: Session, list_import: ListImport, *, after: int) -> int | None:
    """Detach one batch of people with a proven address from the import; they count during the undo.

    Returns the next `after`, None at the end.
    """
    imported = _list_imported(session, list_import, after)
    if not imported:
        return None
    is_in_batch = and_(
        Subscription.contact_id.in_([contact for _, contact in imported]),
        Subscription.arrival_id == list_import.id,
    )
    statement = update(Subscription).where(
        is_in_batch, Subscription.state != "left", _has_consented(PROOF_ACTIONS)
    )
    session.execute(statement.values(arrival_id=None).execution_options(**NO_SYNC))
    return imported[-1][0]


def list_batch(session: Session, list_import: ListImport, *, after: int) -> tuple[Sequence[int], int | None]:
    """Return one batch of contacts that the undo removes from the list, and the next `after`, or None."""
    imported = _list_imported(session, list_import, after)
    if not imported:
        return [], None
    contact_ids = [contact for _, contact in imported]
    return session.scalars(
        select_removable(list_import).where(Subscription.contact_id.in_(contact_ids))
    ).all(), imported[-1][0]


def undo_batch(
    session: Session,
    list_import: ListImport,
    contacts: Sequence[int],
    *,
    is_mailed: ColumnElement[bool],
    is_referenced: ColumnElement[bool],
    now: datetime,
) -> int:
    """Remove these people from the list of the import; returns how many contacts were deleted.

    `is_mailed` is the condition that mail of this list was sent to a contact, and `is_referenced` that a
    table outside of lists/ references it.
    """
    is_in_batch = and_(Subscription.contact_id.in_(contacts), Subscription.arrival_id == list_import.id)
    request = {
        "state": "pending",
        "asked_at": now,
        "mailed_at": None,
        "confirmed_at": None,
        "arrival_id": None,
    }
    request_statement = update(Subscription).where(is_in_batch, _has_consented(("asked",))).values(**request)
    session.execute(request_statement.execution_options(**NO_SYNC))
    change_deletion = delete(SubscriptionChange).where(
        SubscriptionChange.contact_id.in_(contacts), SubscriptionChange.list == list_import.list
    )
    session.execute(change_deletion.execution_options(**NO_SYNC))
    session.execute(delete(Subscription).where(is_in_batch).execution_options(**NO_SYNC))
    mailed_ids = session.scalars(select(Contact.id).where(Contact.id.in_(contacts), is_mailed)).all()
    consent_columns = {
        "list": list_import.list,
        "action": "undone",
        "page": _evidence_page(list_import),
        "wording": UNDO_WORDING,
        "language": "",
    }
    if mailed_ids:
        session.execute(
            insert(Consent), [{**consent_columns, "contact_id": contact, "at": now} for contact in mailed_ids]
        )
    consent_deletion = delete(Consent).where(
        Consent.contact_id.in_(contacts), Consent.contact_id.not_in(mailed_ids)
    )
    session.execute(consent_deletion.where(*_import_conditions(list_import)).execution_options(**NO_SYNC))
    contact_deletion = (
        delete(Contact)
        .where(Contact.id.in_(contacts), ~_is_referenced(list_import), ~is_referenced)
        .returning(Contact.id)
    )
    return len(session.scalars(contact_deletion.execution_options(**NO_SYNC)).all())


def _list_imported(session: Session, list_import: ListImport, after: int) -> Sequence[tuple[int, int]]:
    """Return the next people of an import, by the number of the consent: (consent, contact)."""
    query = select(Consent.id, Consent.contact_id).where(Consent.id > after, *_import_conditions(list_import))
    return [(row.id, row.contact_id) for row in session.execute(query.order_by(Consent.id).limit(BATCH_ROWS))]


def _evidence_page(list_import: ListImport) -> str:
    return imports.EVIDENCE_PAGE.format(number=list_import.id)


def _import_conditions(list_import: ListImport) -> tuple[ColumnElement[bool], ...]:
    return (Consent.page == _evidence_page(list_import), Consent.action == "imported")


def _is_removable(list_import: ListImport) -> ColumnElement[bool]:
    """Return the condition that a subscription exists only because of this import."""
    return and_(
        Subscription.arrival_id == list_import.id,
        Subscription.state != "left",
        ~_has_consented(PROOF_ACTIONS),
    )


def _has_consented(actions: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that the person of a subscription did one of these actions on its list."""
    consent = aliased(Consent)
    return exists().where(
        consent.contact_id == Subscription.contact_id,
        consent.list == Subscription.list,
        consent.action.in_(actions),
    )


def _is_referenced(list_import: ListImport) -> ColumnElement[bool]:
    """Return the condition that something else than this import references a contact here."""
    tables = (Subscription, Consent, Listing, Note, MergeRedirect, TopicOptout)
    is_tagged = exists().where(
        Tag.contact_id == Contact.id, Tag.at > (list_import.ended_at or list_import.began_at)
    )
    references = [exists().where(table.contact_id == Contact.id) for table in tables]
    return or_(*references, is_tagged, Contact.version > 1)
