"""Confirmations: the double opt-in, and the other mails that answer an action on a page.

The answer to a sign-up is inserted into the outbox in the request's own transaction, because a person waits
for it. Known and unknown addresses, and those that left, take the same path through this module, so that a
page cannot reveal the difference.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, String, bindparam, cast, func, literal, select
from sqlalchemy.orm import Session

from lists import address_proof, catalog, consents, contacts, directory, suppressions
from lists import subscriptions as subs
from lists.addresses import Address
from lists.catalog import MailingList
from lists.directory import Application
from lists.errors import BadInput
from lists.geography import Place
from lists.permission import is_allowed, join_subscriptions
from lists.subscriptions import Confirmation, Subscription
from mailer.compose.editions import Edition, Editions
from mailer.compose.source import AddressedMessage, MessageContent, Refusal
from mailer.compose.tokens import Links
from mailer.coordination import signup_throttle
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow, Result
from mailer.policy import POLICY
from mailer.templates import rendering
from mailer.templates.rendering import TemplateSource
from mailer.templates.templates import Template

ANSWERS_PER_DAY = 3
SHARED_TEMPLATE = "confirm/added"  # the question of every list that staff added without a text of its own
NEW_ADDRESS_TEMPLATE = "confirm/readdressed"  # one question for all lists of the old address
ACCESS_LIFETIME = timedelta(hours=1)
SIGNUP_MAX_AGE = timedelta(days=2)  # an older sign-up that was never mailed is not answered any more

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class SignupRequest:
    """The parsed fields of a sign-up form: the address, the list, and the exact wording of the page.

    `mailbox` is 16 bytes that identify a mailbox with several addresses.
    """

    address: Address
    list: str
    language: str
    wording: str
    page: str
    name: str = ""
    place: Place | None = None
    mailbox: bytes = b""
    discreet: bool = False


@dataclass(frozen=True, kw_only=True)
class Confirmations:
    """The source of the kinds `confirmation`, `already`, `received` and `access`."""

    editions: Editions
    links: Links
    kinds: tuple[str, ...] = field(default=("confirmation", "already", "received", "access"), init=False)

    def record_signup(
        self,
        session: Session,
        signup: SignupRequest,
        *,
        now: datetime,
        application: Application | None = None,
    ) -> None:
        """Record a request to join a list, and insert the mail that answers it into the outbox.

        A contact who is on the list already gets a friendly mail instead of a question; a suppressed address
        gets nothing. At most one answer is sent per list and day (and a new one after leaving in between,
        because the old link is invalid), three per address and day over all lists, and to no more than three
        addresses a day that probably lead to one mailbox. Raises BadInput for details that cannot be stored.
        """
        name = contacts.clean(signup.name, label="name", limit=contacts.NAME_LENGTH)
        application = application.clean() if application else None
        if suppressions.find_reason(session, signup.address.digest) is not None:
            return
        contact = contacts.find_or_add(
            session,
            signup.address,
            now=now,
            language=signup.language,
            name=name,
            place=signup.place,
            discreet=signup.discreet,
        )
        address_proof.dispute_name(session, contact.id, name=name)
        if signup.discreet and not contact.discreet:
            # The only field of a known contact that a form changes: a mistake hides one name too many.
            contacts.amend(session, contact.id, discreet=True)
        subscription = subs.ask(session, contact_id=contact.id, list=signup.list, now=now)
        consents.add(
            session,
            contact_id=contact.id,
            list=signup.list,
            action="asked",
            wording=signup.wording,
            page=signup.page,
            language=signup.language,
            now=now,
        )
        kind = "already" if subscription.state == "confirmed" else "confirmation"
        if application is not None and kind == "confirmation":
            directory.add_application(session, application, contact_id=contact.id, now=now)
        answer_count = count_answers_today(session, contact.id, now=now)
        if not answer_count and signup.mailbox and not _admit_mailbox(session, signup.mailbox, now=now):
            return
        if answer_count < ANSWERS_PER_DAY:
            self._enqueue(session, kind, subscription, now=now)

    def send_access_link(self, session: Session, contact_id: int, *, now: datetime) -> bool:
        """Mail a contact a link to their stored data, valid for an hour; returns False after three in a day.

        A forwarded mail shows other people a contact's links; this link goes to the address alone.
        """
        if _count_today(session, contact_id, ("access",), now) >= ANSWERS_PER_DAY:
            return False
        outbox.put(
            session,
            key=f"access/contact/{contact_id}/{now:%Y-%m-%dT%H:%M}",
            kind="access",
            list="",
            contact_id=contact_id,
            edition_id=self.editions.freeze_current(session, "access", "access", now=now),
            now=now,
        )
        return True

    def ask_new_address(self, session: Session, contact_id: int, *, now: datetime) -> None:
        """Mail one question for all lists that the old address was confirmed for, and one for each other.

        The limit of three answers a day includes those that went to the old address today.
        """
        returning = self.find_lists_to_restore(session, contact_id)
        pending = [
            subscription
            for subscription in subs.list_for_contact(session, contact_id)
            if subscription.state == "pending"
        ]
        first = [subscription for subscription in pending if subscription.list in returning][:1]
        for subscription in (
            *first,
            *(subscription for subscription in pending if subscription.list not in returning),
        ):
            if count_answers_today(session, contact_id, now=now) < ANSWERS_PER_DAY:
                template = NEW_ADDRESS_TEMPLATE if subscription.list in returning else ""
                self._enqueue(session, "confirmation", subscription, now=now, template=template)
        subs.mark_mailed(session, contact_id=contact_id, now=now)

    def confirm(
        self, session: Session, *, subscription_id: int, round: int, page: str, now: datetime
    ) -> Confirmation | None:
        """Confirm the subscription of a link; returns None when the link is no longer valid.

        The interest list is joined at once. An organizer's address is confirmed and staff decide the rest,
        which one mail explains. The first yes from a new address restores all subscriptions waiting for it.
        """
        subscription = subs.find_by_token(session, subscription_id=subscription_id, round=round)
        if subscription is None:
            return None
        contact_id, list_name = subscription.contact_id, subscription.list
        confirmation: Confirmation | None
        restored = self._restore_subscriptions(session, contact_id, page=page, now=now)
        if list_name in restored or (list_name == "organizers" and subscription.state == "confirmed"):
            return Confirmation(
                contact_id=contact_id, list=list_name, changed=list_name in restored, is_reconfirmation=True
            )
        if list_name == "organizers":
            changed = directory.mark_address_confirmed(session, contact_id=contact_id)
            confirmation = Confirmation(contact_id=contact_id, list=list_name, changed=changed)
            if changed:
                self._enqueue(session, "received", subscription, now=now)
        else:
            confirmation = subs.confirm(session, subscription_id=subscription_id, round=round, now=now)
        if confirmation is not None and confirmation.changed:
            consents.add(
                session, contact_id=contact_id, list=list_name, action="confirmed", page=page, now=now
            )
        return confirmation

    def find_lists_to_restore(self, session: Session, contact_id: int) -> Collection[str]:
        """Return the lists that the yes from a new address restores."""
        if contacts.get(session, contact_id).readdressed_at is None:
            return ()
        return {subscription.list for subscription in subs.list_for_reconfirmation(session, contact_id)}

    def _restore_subscriptions(
        self, session: Session, contact_id: int, *, page: str, now: datetime
    ) -> Sequence[str]:
        """Mark a new address as confirmed; returns the lists that this restored."""
        if contacts.get(session, contact_id).readdressed_at is None:
            return ()
        contacts.amend(session, contact_id, readdressed_at=None)
        names = []
        for subscription in subs.list_for_reconfirmation(session, contact_id):
            confirmation = subs.confirm(
                session, subscription_id=subscription.id, round=subscription.round, now=now
            )
            if confirmation is not None and confirmation.changed:
                consents.add(
                    session,
                    contact_id=contact_id,
                    list=subscription.list,
                    action="confirmed",
                    page=page,
                    now=now,
                )
                names.append(subscription.list)
        if "organizers" in names:  # a contact who signed up anew meanwhile has new words for staff to review
            directory.mark_address_confirmed(session, contact_id=contact_id)
        return names

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Insert questions for pending subscriptions that never got a mail: imported contacts, mostly."""
        new = 0
        for list_name in catalog.list_names(session):
            purpose = POLICY["confirmation"].purpose(list_name)
            candidates = select(Subscription.contact_id).select_from(join_subscriptions(purpose))
            contact_ids = subs.claim_unmailed(
                session,
                candidates.where(is_allowed(purpose, now=now)),
                list=list_name,
                since=now - SIGNUP_MAX_AGE,
                now=now,
                limit=limit,
            )
            if contact_ids:
                new += self._fill(session, contact_ids, list=list_name, now=now)
        return new

    def _fill(self, session: Session, contact_ids: Sequence[int], *, list: str, now: datetime) -> int:
        selection = select(
            Subscription.contact_id.label("contact_id"),
            _key("confirmation", list, now).label("key"),
            literal(0).label("ref"),
        ).where(Subscription.list == list, Subscription.contact_id.in_(contact_ids))
        edition_id = self.freeze_sendable_edition(session, list, now=now).id
        return outbox.fill(session, selection, kind="confirmation", list=list, edition_id=edition_id, now=now)

    def compose(
        self, session: Session, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Return the link of each confirmation and each access mail; the other kinds have no fields."""
        confirmations = [message for message in messages if message.entry.kind == "confirmation"]
        ids = [message.entry.contact_id for message in confirmations]
        rows = session.execute(
            select(Subscription.contact_id, Subscription.list, Subscription.id, Subscription.round).where(
                Subscription.contact_id.in_(ids)
            )
        )
        links = {(row.contact_id, row.list): self.links.confirm_url(row.id, row.round) for row in rows}
        contents: dict[int, MessageContent | Refusal] = {
            message.entry.id: MessageContent() for message in messages
        }
        for message in confirmations:
            url = links[message.entry.contact_id, message.entry.list]
            contents[message.entry.id] = MessageContent(fields={"confirm_url": url})
        for message in messages:
            if message.entry.kind == "access":
                until = message.entry.queued_at + ACCESS_LIFETIME  # of the row, so a resend is the same mail
                url = self.links.profile_url(message.entry.contact_id, until=until)
                contents[message.entry.id] = MessageContent(fields={"mine_url": url})
        return contents

    def freeze_edition(self, session: Session, list: str, *, now: datetime) -> Edition:
        """Return the mail that asks to confirm a list: its own, or the shared one with its title and text.

        Raises BadInput for one of its own that has no link to confirm.
        """
        return self._freeze_edition(session, list, own_text=True, now=now)

    def freeze_sendable_edition(self, session: Session, list: str, *, now: datetime) -> Edition:
        """Return the mail that asks to confirm a list; the shared one where its own cannot be used.

        Its own was checked when staff set it; one that was set in an earlier version must not stop sign-ups.
        """
        try:
            return self.freeze_edition(session, list, now=now)
        except BadInput as error:
            log.error(
                "the letter of a list cannot be used, the shared one is sent", list=list, fault=str(error)
            )
            return self._freeze_edition(session, list, own_text=False, now=now)

    def _freeze_edition(self, session: Session, list: str, *, own_text: bool, now: datetime) -> Edition:
        mailing_list = catalog.find(session, list)
        template = self.editions.templates[SHARED_TEMPLATE if mailing_list else f"confirm/{list}"]
        values: dict[str, dict[str, str]] = {}
        if mailing_list is not None:
            sources = (build_template_sources(mailing_list) if own_text else None) or template.sources
            for source in sources.values():  # its edition may be older than this check
                rendering.check_source(source)
            template = Template(name=f"confirm/{list}", sources=sources)
            values = {
                language: {
                    "list_title": mailing_list.title[language],
                    "list_about": mailing_list.about[language],
                }
                for language in sources
            }
        edition = self.editions.freeze(session, template, "confirmation", now=now, values=values)
        for language, content in edition.content.items():
            if "confirm_url" not in content["names"]:
                raise BadInput(
                    f"Nobody could say yes: the {catalog.LANGUAGE_NAMES[language]} text needs a link to"
                    " {{ confirm_url }}, like [Yes, write to me]({{ confirm_url }})."
                )
        return edition

    def settle(self, session: Session, results: Sequence[Result], *, now: datetime) -> None:
        """Do nothing: only the button on the page changes a subscription."""

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Return None: a message is due only after a sign-up."""
        return None

    def _enqueue(
        self,
        session: Session,
        kind: str,
        subscription: Subscription,
        *,
        now: datetime,
        template: str = "",
    ) -> None:
        if kind == "confirmation" and not template:
            edition_id = self.freeze_sendable_edition(session, subscription.list, now=now).id
        else:
            edition_id = self.editions.freeze_current(session, template or kind, kind, now=now)
        recipient_key = f"contact/{subscription.contact_id}/{subscription.round}"
        outbox.put(
            session,
            key=f"{kind}/{subscription.list}/{recipient_key}/{now:%Y-%m-%d}",
            kind=kind,
            list=subscription.list,
            contact_id=subscription.contact_id,
            edition_id=edition_id,
            now=now,
        )


def build_template_sources(mailing_list: MailingList) -> Mapping[str, TemplateSource]:
    """Return a list's own mail that asks to confirm it, by language; empty where it has none."""
    return {
        language: TemplateSource(
            subject=parts["subject"],
            preview=parts["preview"],
            body=parts["body"],
            path=f"the email of {mailing_list.name}",
            first_line=1,
        )
        for language, parts in mailing_list.letter.items()
    }


def count_answers_today(session: Session, contact_id: int, *, now: datetime) -> int:
    """Return the number of answers to sign-ups for this contact since midnight UTC, over all lists."""
    return _count_today(session, contact_id, ("confirmation", "already"), now)


def _admit_mailbox(session: Session, mailbox: bytes, *, now: datetime) -> bool:
    """Count one more address that is answered for the first time today: ana+1, ana+2 share one mailbox."""
    return signup_throttle.increment(session, mailbox, now=_midnight(now)) <= ANSWERS_PER_DAY


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _count_today(session: Session, contact_id: int, kinds: Sequence[str], now: datetime) -> int:
    bindings = {"contact": contact_id, "kinds": kinds, "since": _midnight(now)}
    return session.scalar(_COUNT_MESSAGES, bindings) or 0


def _key(kind: str, list: str, now: datetime) -> ColumnElement[Any]:
    contact_number, round_number = cast(Subscription.contact_id, String), cast(Subscription.round, String)
    recipient_key = literal("contact/", String) + contact_number + "/" + round_number
    return literal(f"{kind}/{list}/", String) + recipient_key + f"/{now:%Y-%m-%d}"


_COUNT_MESSAGES = select(func.count()).where(  # built once, because every sign-up runs it
    OutboxRow.contact_id == bindparam("contact"),
    OutboxRow.kind.in_(bindparam("kinds", expanding=True)),
    OutboxRow.queued_at >= bindparam("since"),
)
