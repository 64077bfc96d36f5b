"""Release: held messages go on once their reason has ended, or are cancelled where it became permanent."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists.contacts import Contact
from lists.permission import (
    PERMANENT_REASONS,
    REASONS,
    Purpose,
    is_allowed,
    join_subscriptions,
    refusal_reason,
)
from mailer.compose.editions import Edition, Editions
from mailer.compose.source import Source, settle_all
from mailer.outbox import held_messages, outbox
from mailer.outbox.outbox import HELD, OutboxRow
from mailer.policy import POLICY, RESOURCE_FIELDS
from mailer.reasons import Reason
from mailer.sources.confirmations import Confirmations


@dataclass(frozen=True, kw_only=True)
class Releases:
    """Releases held messages of every source."""

    sources: Mapping[str, Source]
    confirmations: Confirmations
    editions: Editions

    def release(self, session: Session, *, now: datetime) -> int:
        """Queue again, or cancel, what is held for a reason that has ended; returns how many rows changed."""
        changed = self._release_missing_links(session, now)
        changed += self._release_after_rewording(session, now)
        changed += held_messages.requeue_probe(session, now=now)
        query = select(OutboxRow.kind, OutboxRow.list).where(OutboxRow.state == HELD).distinct()
        for kind, list_name in session.execute(query).all():
            changed += self._release_kind(session, kind, POLICY[kind].purpose(list_name), now)
        return changed

    def _release_kind(self, session: Session, kind: str, purpose: Purpose, now: datetime) -> int:
        rows = (OutboxRow.kind == kind) & (OutboxRow.list == purpose.list)
        # Evaluated for each held row: a list of all permitted contacts would take seconds to build.
        subscriber = (
            select(Contact.id)
            .select_from(join_subscriptions(purpose))
            .where(Contact.id == OutboxRow.contact_id)
        )
        allowed = subscriber.where(is_allowed(purpose, now=now)).exists()
        released = outbox.requeue(session, rows & allowed & OutboxRow.reason.in_(REASONS))
        refused = subscriber.where(refusal_reason(purpose, now=now).in_(sorted(PERMANENT_REASONS))).exists()
        cancelled = outbox.cancel(
            session, rows & refused & (OutboxRow.state == HELD), reason=Reason.LEFT_WHILE_HELD
        )
        settle_all(session, self.sources, cancelled, now=now)
        return released + len(cancelled)

    def _release_missing_links(self, session: Session, now: datetime) -> int:
        """Release messages held for a missing link: once its slot is filled, or a later edition has the link.

        They get the present edition, whose notes also name the language of a resource.
        """
        empty = self.editions.library.list_empty_fields(session)
        is_missing_link = (OutboxRow.state == HELD) & held_messages.lacks_link()
        query = (
            select(OutboxRow.kind, OutboxRow.edition_id, OutboxRow.detail, Edition.name)
            .join(Edition, Edition.id == OutboxRow.edition_id)
            .where(is_missing_link)
            .distinct()
        )
        released = 0
        for kind, edition_id, fields, name in session.execute(query).all():
            current = edition_id
            if name in self.editions.templates:
                current = self.editions.freeze_current(session, name, kind, now=now)
            names = set(fields.split(", "))
            ready = names.isdisjoint(empty) if names <= RESOURCE_FIELDS else current != edition_id
            if ready:
                condition = (
                    is_missing_link & (OutboxRow.edition_id == edition_id) & (OutboxRow.detail == fields)
                )
                released += outbox.requeue(session, condition, edition_id=current)
        return released

    def _release_after_rewording(self, session: Session, now: datetime) -> int:
        """Release messages that could not be composed, once there is a newer edition of their text."""
        has_fault = (OutboxRow.state == HELD) & held_messages.is_stopped_by_fault()
        query = (
            select(OutboxRow.kind, OutboxRow.list, OutboxRow.edition_id, Edition.name)
            .join(Edition, Edition.id == OutboxRow.edition_id)
            .where(has_fault)
            .distinct()
        )
        released = 0
        for kind, list_name, edition_id, name in session.execute(query).all():
            current = edition_id
            if kind == "confirmation" and name == f"confirm/{list_name}":
                current = self.confirmations.freeze_sendable_edition(session, list_name, now=now).id
            elif name in self.editions.templates:
                current = self.editions.freeze_current(session, name, kind, now=now)
            if current != edition_id:
                condition = has_fault & (OutboxRow.edition_id == edition_id) & (OutboxRow.list == list_name)
                released += outbox.requeue(session, condition, edition_id=current)
        return released
