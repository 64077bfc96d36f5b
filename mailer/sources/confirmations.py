"""Confirmations: the double opt-in, and the other mails that answer what somebody just did on a page.

The answer to joining is put into the outbox in the request's own transaction, because a person waits for it.
Known, unknown and left addresses take the same way through this file, so that a page cannot tell them apart.
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
from mailer.compose.editions import Editions
from mailer.compose.source import AddressedMessage, MessageContent, Refusal
from mailer.compose.tokens import Links
from mailer.coordination import signup_throttle
from mailer.outbox import outbox
from mailer.outbox.outbox import OutboxRow, Result
from mailer.policy import POLICY
from mailer.templates import rendering
from mailer.templates.rendering import TemplateSource
from mailer.templates.templates import Edition, Template

ANSWERS_PER_DAY = 3
SHARED_TEMPLATE = "confirm/added"  # the question of every list that staff added and gave no letter of its own
NEW_ADDRESS_TEMPLATE = (
    "confirm/readdressed"  # one question for all lists that the old address was confirmed for
)
ACCESS_LIFETIME = timedelta(hours=1)
SIGNUP_MAX_AGE = timedelta(days=2)  # who asked longer ago and was never mailed is not surprised by a mail now

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class SignupRequest:
    """What a form said, already parsed: who, for which list, and the exact wording of the page.

    `mailbox` is 16 bytes that stand for a mailbox with several addresses.
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
        """Note that somebody asked to join a list, and put the mail that answers them into the outbox.

        Whoever is on the list already gets a friendly word instead of a question; a suppressed address gets
        nothing. At most one answer leaves per list and day (and a new one for who left in between, because
        the old link is dead), three per address and day over all lists, and no more than three addresses a
        day that probably lead to one mailbox. Raises BadInput for details that cannot be kept.
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
            # The one thing a form changes of somebody known: who is wrong about it hides a name too many.
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
        answered = count_answers_today(session, contact.id, now=now)
        if not answered and signup.mailbox and not _admit_mailbox(session, signup.mailbox, now=now):
            return
        if answered < ANSWERS_PER_DAY:
            self._enqueue(session, kind, subscription, now=now)

    def send_access_link(self, session: Session, contact_id: int, *, now: datetime) -> bool:
        """Mail somebody a link to everything known of them, good for an hour; False after three in a day.

        A mail that was passed on shows others how somebody is written to; this goes to the address alone.
        """
        if _count_today(session, contact_id, ("access",), now) >= ANSWERS_PER_DAY:
            return False
        outbox.put(
            session,
            key=f"access/contact/{contact_id}/{now:%Y-%m-%dT%H:%M}",
            kind="access",
            list="",
            contact_id=contact_id,
            edition_id=self.editions.get_current_id(session, "access", "access", now=now),
            now=now,
        )
        return True

    def ask_new_address(self, session: Session, contact_id: int, *, now: datetime) -> None:
        """Ask once for all lists that the old address was confirmed for, and for each one that it was not.

        The three answers a day count what went to the old address today, too.
        """
        back = self.list_returning(session, contact_id)
        pending = [each for each in subs.list_for_contact(session, contact_id) if each.state == "pending"]
        first = [each for each in pending if each.list in back][:1]
        for each in (*first, *(each for each in pending if each.list not in back)):
            if count_answers_today(session, contact_id, now=now) < ANSWERS_PER_DAY:
                template = NEW_ADDRESS_TEMPLATE if each.list in back else ""
                self._enqueue(session, "confirmation", each, now=now, template=template)
        subs.mark_mailed(session, contact_id=contact_id, now=now)

    def confirm(
        self, session: Session, *, subscription_id: int, round: int, page: str, now: datetime
    ) -> Confirmation | None:
        """Confirm what a link names; None when the link is no longer good.

        The interest list is joined at once. An organizer's address is confirmed and staff decide the rest,
        which one mail says. The first yes from a new address brings back all that waited for it, as it was.
        """
        subscription = subs.find_by_token(session, subscription_id=subscription_id, round=round)
        if subscription is None:
            return None
        contact_id, list_name = subscription.contact_id, subscription.list
        done: Confirmation | None
        back = self._restore_subscriptions(session, contact_id, page=page, now=now)
        if list_name in back or (list_name == "organizers" and subscription.state == "confirmed"):
            return Confirmation(
                contact_id=contact_id, list=list_name, changed=list_name in back, is_reconfirmation=True
            )
        if list_name == "organizers":
            moved = directory.mark_address_confirmed(session, contact_id=contact_id)
            done = Confirmation(contact_id=contact_id, list=list_name, changed=moved)
            if moved:
                self._enqueue(session, "received", subscription, now=now)
        else:
            done = subs.confirm(session, subscription_id=subscription_id, round=round, now=now)
        if done is not None and done.changed:
            consents.add(
                session, contact_id=contact_id, list=list_name, action="confirmed", page=page, now=now
            )
        return done

    def list_returning(self, session: Session, contact_id: int) -> Collection[str]:
        """Return the lists on which the yes from a new address brings its reader back."""
        if contacts.get(session, contact_id).readdressed_at is None:
            return ()
        return {each.list for each in subs.list_for_reconfirmation(session, contact_id)}

    def _restore_subscriptions(
        self, session: Session, contact_id: int, *, page: str, now: datetime
    ) -> Sequence[str]:
        """Count a new address as confirmed; returns the lists on which its reader is again."""
        if contacts.get(session, contact_id).readdressed_at is None:
            return ()
        contacts.amend(session, contact_id, readdressed_at=None)
        names = []
        for each in subs.list_for_reconfirmation(session, contact_id):
            done = subs.confirm(session, subscription_id=each.id, round=each.round, now=now)
            if done is not None and done.changed:
                consents.add(
                    session, contact_id=contact_id, list=each.list, action="confirmed", page=page, now=now
                )
                names.append(each.list)
        if "organizers" in names:  # who signed up anew meanwhile has new words for staff to look at
            directory.mark_address_confirmed(session, contact_id=contact_id)
        return names

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Ask those whose pending subscription never led to a mail: imported people, mostly."""
        new = 0
        for list_name in catalog.list_names(session):
            purpose = POLICY["confirmation"].purpose(list_name)
            may = select(Subscription.contact_id).select_from(join_subscriptions(purpose))
            taken = subs.claim_unmailed(
                session,
                may.where(is_allowed(purpose, now=now)),
                list=list_name,
                since=now - SIGNUP_MAX_AGE,
                now=now,
                limit=limit,
            )
            if taken:
                new += self._fill(session, taken, list=list_name, now=now)
        return new

    def _fill(self, session: Session, contact_ids: Sequence[int], *, list: str, now: datetime) -> int:
        wanted = select(
            Subscription.contact_id.label("contact_id"),
            _key("confirmation", list, now).label("key"),
            literal(0).label("ref"),
        ).where(Subscription.list == list, Subscription.contact_id.in_(contact_ids))
        edition_id = self.freeze_sendable_edition(session, list, now=now).id
        return outbox.fill(session, wanted, kind="confirmation", list=list, edition_id=edition_id, now=now)

    def compose(
        self, session: Session, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Give each confirmation and each access its link; the other kinds need nothing of their own."""
        asking = [letter for letter in messages if letter.entry.kind == "confirmation"]
        ids = [letter.entry.contact_id for letter in asking]
        found = session.execute(
            select(Subscription.contact_id, Subscription.list, Subscription.id, Subscription.round).where(
                Subscription.contact_id.in_(ids)
            )
        )
        links = {(row.contact_id, row.list): self.links.confirm(row.id, row.round) for row in found}
        contents: dict[int, MessageContent | Refusal] = {
            letter.entry.id: MessageContent() for letter in messages
        }
        for letter in asking:
            url = links[letter.entry.contact_id, letter.entry.list]
            contents[letter.entry.id] = MessageContent(fields={"confirm_url": url})
        for letter in messages:
            if letter.entry.kind == "access":
                until = letter.entry.queued_at + ACCESS_LIFETIME  # of the row, so a resend is the same mail
                url = self.links.profile(letter.entry.contact_id, until=until)
                contents[letter.entry.id] = MessageContent(fields={"mine_url": url})
        return contents

    def freeze_edition(self, session: Session, list: str, *, now: datetime) -> Edition:
        """Return the mail that asks to confirm a list: its own, or the shared one with its own words.

        Raises BadInput for one of their own in which nobody could say yes.
        """
        return self._freeze_edition(session, list, own_text=True, now=now)

    def freeze_sendable_edition(self, session: Session, list: str, *, now: datetime) -> Edition:
        """Return the mail that asks to confirm a list; the shared one where its own cannot be used.

        Its own was tried when it was given; one that was given to an earlier version must strand nobody.
        """
        try:
            return self.freeze_edition(session, list, now=now)
        except BadInput as fault:
            log.error(
                "the letter of a list cannot be used, the shared one is sent", list=list, fault=str(fault)
            )
            return self._freeze_edition(session, list, own_text=False, now=now)

    def _freeze_edition(self, session: Session, list: str, *, own_text: bool, now: datetime) -> Edition:
        own = catalog.find(session, list)
        template = self.editions.templates[SHARED_TEMPLATE if own else f"confirm/{list}"]
        values: dict[str, dict[str, str]] = {}
        if own is not None:
            sources = (build_template_sources(own) if own_text else None) or template.sources
            for source in sources.values():  # its edition may be older than this check
                rendering.check_source(source)
            template = Template(name=f"confirm/{list}", sources=sources)
            values = {
                language: {"list_title": own.title[language], "list_about": own.about[language]}
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
        """Nothing follows from these mails: what matters is the button that is pressed, or not."""

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Never by itself: somebody has to ask first."""
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
            edition_id = self.editions.get_current_id(session, template or kind, kind, now=now)
        who = f"contact/{subscription.contact_id}/{subscription.round}"
        outbox.put(
            session,
            key=f"{kind}/{subscription.list}/{who}/{now:%Y-%m-%d}",
            kind=kind,
            list=subscription.list,
            contact_id=subscription.contact_id,
            edition_id=edition_id,
            now=now,
        )


def build_template_sources(mailing_list: MailingList) -> Mapping[str, TemplateSource]:
    """Return the mail of its own that asks to confirm a list, by language; empty where it has none."""
    return {
        language: TemplateSource(
            subject=parts["subject"],
            preview=parts["preview"],
            body=parts["body"],
            path=f"the letter of {mailing_list.name}",
            first_line=1,
        )
        for language, parts in mailing_list.letter.items()
    }


def count_answers_today(session: Session, contact_id: int, *, now: datetime) -> int:
    """Return how many answers to sign-ups this contact was written since midnight UTC, over all lists."""
    return _count_today(session, contact_id, ("confirmation", "already"), now)


def _admit_mailbox(session: Session, mailbox: bytes, *, now: datetime) -> bool:
    """Count one more address that is answered for the first time today: ana+1, ana+2 are of one mailbox."""
    return signup_throttle.increment(session, mailbox, now=_midnight(now)) <= ANSWERS_PER_DAY


def _midnight(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _count_today(session: Session, contact_id: int, kinds: Sequence[str], now: datetime) -> int:
    asked = {"whose": contact_id, "kinds": kinds, "since": _midnight(now)}
    return session.scalar(_COUNT_MESSAGES, asked) or 0


def _key(kind: str, list: str, now: datetime) -> ColumnElement[Any]:
    number, turn = cast(Subscription.contact_id, String), cast(Subscription.round, String)
    who = literal("contact/", String) + number + "/" + turn
    return literal(f"{kind}/{list}/", String) + who + f"/{now:%Y-%m-%d}"


_COUNT_MESSAGES = select(func.count()).where(  # made once, for every sign-up asks it
    OutboxRow.contact_id == bindparam("whose"),
    OutboxRow.kind.in_(bindparam("kinds", expanding=True)),
    OutboxRow.queued_at >= bindparam("since"),
)
