"""Staff digest: the tasks that wait for staff, shown by `mailer status` and mailed to the address of staff.

Tasks are counted from the tables and stored nowhere. Neither the list nor the mail names a person, because
mailboxes of staff are not as safe as the service. The mail is a row of the outbox like any other:

    nothing waits ─► no mail      something waits ─► a mail ─┬─ the list has changed ─► again after a day
                                                             └─ it has not ───────────► again after a week

The row stores a hash of its list (`ref`), and its key holds the day, so there is at most one mail a day.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from lists import contacts, suppressions
from lists.addresses import Address
from lists.contacts import Contact
from lists.directory import Listing
from lists.subscriptions import Subscription
from mailer.compose.editions import Editions
from mailer.compose.source import AddressedMessage, MessageContent, Refusal
from mailer.coordination import counters, signup_throttle
from mailer.coordination.counters import StoredCounter
from mailer.coordination.send_hold import Restore
from mailer.coordination.suspensions import Suspension
from mailer.library import law_cards
from mailer.library.law_cards import LawCard
from mailer.outbox import held_messages, outbox
from mailer.outbox.outbox import HELD, UNKNOWN, OutboxRow, Result
from mailer.policy import POLICY
from mailer.reasons import Reason

KIND = "notice"
MAIL_INTERVAL = timedelta(days=1)  # between two mails
REPEAT_INTERVAL = timedelta(days=7)  # before the same list is mailed once more
SIGNUP_WINDOW = timedelta(days=1)  # as long as the counts of the sign-up throttle are stored
UNSENT_STATES = ("cancelled", "expired", "failed")  # states of a mail that staff have not read
PEOPLE_KINDS = [kind for kind, policy in POLICY.items() if not policy.to_staff]

CountQuery = Select[int, Any]


@dataclass(frozen=True, kw_only=True)
class DigestCheck:
    """One kind of task: its count, its sentences for one and for several, and the command that shows it.

    `query` selects the number of tasks and their newest number or moment, which distinguishes them from
    others of the same number.
    """

    name: str
    query: Callable[[datetime], CountQuery]
    singular: Mapping[str, str]
    plural: Mapping[str, str]
    command: str


@dataclass(frozen=True, kw_only=True)
class DigestItem:
    """Tasks of one kind that wait now: their number, a sentence per language, and the command for them."""

    name: str
    number: int
    sentence: Mapping[str, str]
    command: str
    fingerprint: str


def _count_and_newest(newest: Any, *where: Any) -> CountQuery:
    return select(func.count(), func.max(newest)).where(*where)


CHECKS: Sequence[DigestCheck] = (
    DigestCheck(
        name="restore",
        query=lambda _now: _count_and_newest(Restore.id, Restore.ended_at.is_(None)),
        singular={
            "en": "A backup was put back, and nothing is sent until its gap is settled.",
            "es": "Se restauró una copia, y nada se envía hasta que se aclare lo que falta.",
        },
        plural={},
        command="mailer db status",
    ),
    DigestCheck(
        name="pauses",
        query=lambda _now: _count_and_newest(Suspension.since),
        singular={
            "en": "Mail to one server or domain is paused.",
            "es": "El correo a un servidor o dominio está en pausa.",
        },
        plural={
            "en": "Mail to {number} servers or domains is paused.",
            "es": "El correo a {number} servidores o dominios está en pausa.",
        },
        command="mailer relay list",
    ),
    DigestCheck(
        name="resources",
        query=lambda _now: _count_and_newest(
            OutboxRow.id, OutboxRow.state == HELD, held_messages.lacks_link()
        ),
        singular={
            "en": "One email waits for a resource that nobody has given.",
            "es": "Un correo espera un recurso que nadie ha dado.",
        },
        plural={
            "en": "{number} emails wait for a resource that nobody has given.",
            "es": "{number} correos esperan un recurso que nadie ha dado.",
        },
        command="mailer resource list",
    ),
    DigestCheck(
        name="faults",
        query=lambda _now: _count_and_newest(OutboxRow.id, held_messages.is_stopped_by_fault()),
        singular={
            "en": "One email waits because of a fault of ours.",
            "es": "Un correo espera por una falla nuestra.",
        },
        plural={
            "en": "{number} emails wait because of a fault of ours.",
            "es": "{number} correos esperan por una falla nuestra.",
        },
        command="mailer outbox retry",
    ),
    DigestCheck(
        name="servers",
        query=lambda _now: _count_and_newest(OutboxRow.id, held_messages.is_stopped_by_server()),
        singular={
            "en": "One email waits for a mail server that can send it.",
            "es": "Un correo espera un servidor que lo pueda enviar.",
        },
        plural={
            "en": "{number} emails wait for a mail server that can send them.",
            "es": "{number} correos esperan un servidor que los pueda enviar.",
        },
        command="mailer outbox retry",
    ),
    DigestCheck(
        name="unknown",
        query=lambda _now: _count_and_newest(
            OutboxRow.id, OutboxRow.state == UNKNOWN, OutboxRow.kind.in_(PEOPLE_KINDS)
        ),
        singular={
            "en": "One email may have arrived or not, and you decide about it.",
            "es": "No se sabe si un correo llegó, y usted decide qué hacer.",
        },
        plural={
            "en": "{number} emails may have arrived or not, and you decide about them.",
            "es": "No se sabe si {number} correos llegaron, y usted decide qué hacer.",
        },
        command="mailer outbox unknown",
    ),
    DigestCheck(
        name="applications",
        query=lambda _now: _count_and_newest(Listing.id, Listing.state == "waiting"),
        singular={
            "en": "One congregation or organization waits to be approved for the map.",
            "es": "Una congregación u organización espera su aprobación para el mapa.",
        },
        plural={
            "en": "{number} congregations or organizations wait to be approved for the map.",
            "es": "{number} congregaciones u organizaciones esperan su aprobación para el mapa.",
        },
        command="mailer organizer list",
    ),
    DigestCheck(
        name="expired",
        query=lambda now: _count_and_newest(LawCard.checked_on, law_cards.is_expired(now)),
        singular={
            "en": "One card on present law was not checked in time and is left out.",
            "es": "Una ficha sobre la ley actual no se revisó a tiempo y ya no se muestra.",
        },
        plural={
            "en": "{number} cards on present law were not checked in time and are left out.",
            "es": "{number} fichas sobre la ley actual no se revisaron a tiempo y ya no se muestran.",
        },
        command="mailer law-card list",
    ),
    DigestCheck(
        name="expiring",
        query=lambda now: _count_and_newest(LawCard.checked_on, law_cards.is_expiring(now)),
        singular={
            "en": "One card on present law must be checked within two weeks.",
            "es": "Una ficha sobre la ley actual se debe revisar dentro de dos semanas.",
        },
        plural={
            "en": "{number} cards on present law must be checked within two weeks.",
            "es": "{number} fichas sobre la ley actual se deben revisar dentro de dos semanas.",
        },
        command="mailer law-card list",
    ),
    DigestCheck(
        name="sign_ups",
        query=lambda now: _count_and_newest(
            StoredCounter.since,
            StoredCounter.what.in_(
                (signup_throttle.NETWORK_LIMIT_REACHED, signup_throttle.TOTAL_LIMIT_REACHED)
            ),
            StoredCounter.since >= counters.floor_to_step(now - SIGNUP_WINDOW),
        ),
        singular={
            "en": "So many sign-ups came at once that some were turned away in the last day.",
            "es": "Llegaron tantas inscripciones a la vez que en el último día se rechazaron algunas.",
        },
        plural={},
        command="mailer list",
    ),
)


def list_items(session: Session, *, now: datetime) -> Sequence[DigestItem]:
    """Return the tasks that wait for staff at `now`, the most urgent first."""
    items = []
    for check in CHECKS:
        number, newest = session.execute(check.query(now)).one()
        if number:
            sentences = check.singular if number == 1 else check.plural or check.singular
            items.append(
                DigestItem(
                    name=check.name,
                    number=number,
                    sentence={
                        language: sentence.format(number=f"{number:,}")
                        for language, sentence in sentences.items()
                    },
                    command=check.command,
                    fingerprint=f"{check.name} {number} {newest}",
                )
            )
    return items


@dataclass(frozen=True, kw_only=True)
class StaffDigest:
    """The source of the kind `notice`; `staff` is its address, None where it is not sent by mail.

    The address has a contact as every reader has. It is on no list, so nothing else is ever sent to it and no
    list counts or exports it; it is erased when the address changes, unless a person uses it by then.
    """

    editions: Editions
    staff: Address | None
    kinds: tuple[str, ...] = field(default=(KIND,), init=False)

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Insert the mail with the waiting tasks into the outbox when it is due."""
        self._erase_former_contacts(session)
        due = self.next_due(session, now=now)
        if self.staff is None or due is None or due > now:
            return 0
        contact = contacts.find_or_add(session, self.staff, now=now)
        return outbox.put(
            session,
            key=f"{KIND}/{now:%Y-%m-%d}/contact/{contact.id}",
            kind=KIND,
            list="",
            contact_id=contact.id,
            edition_id=self.editions.freeze_current(session, KIND, KIND, now=now),
            now=now,
            ref=_hash_items(list_items(session, now=now)),
        )

    def compose(
        self, session: Session, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Return the tasks that wait now, in the reader's language; completed ones are omitted."""
        items = list_items(session, now=now)
        if not items:
            return {
                message.entry.id: Refusal(state="cancelled", reason=Reason.NOTHING_WAITS)
                for message in messages
            }
        empty_fields = {f"waits_{check.name}": "" for check in CHECKS}
        return {
            message.entry.id: MessageContent(
                fields=empty_fields
                | {
                    f"waits_{item.name}": f"{item.sentence[message.recipient.language]} → {item.command}"
                    for item in items
                }
            )
            for message in messages
        }

    def settle(self, session: Session, results: Sequence[Result], *, now: datetime) -> None:
        """Do nothing: a task waits until staff complete it."""

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Return when the next mail is due; None while nothing waits, or there is no address for it."""
        if not self.is_reachable(session):
            return None
        items = list_items(session, now=now)
        if not items:
            return None
        assert self.staff is not None
        last = session.execute(
            select(OutboxRow.ref, OutboxRow.state, OutboxRow.queued_at)
            .join(Contact, Contact.id == OutboxRow.contact_id)
            .where(OutboxRow.kind == KIND, Contact.email_key == self.staff.key)
            .order_by(OutboxRow.id.desc())
            .limit(1)
        ).one_or_none()
        if last is None:
            return now
        unchanged = last.ref == _hash_items(items) and last.state not in UNSENT_STATES
        return last.queued_at + (REPEAT_INTERVAL if unchanged else MAIL_INTERVAL)  # type: ignore[no-any-return]

    def is_reachable(self, session: Session) -> bool:
        """Return whether there is an address of staff that is not suppressed."""
        return self.staff is not None and suppressions.find_reason(session, self.staff.digest) is None

    def _erase_former_contacts(self, session: Session) -> None:
        """Erase the contact of a former address of staff that was never used by a person."""
        recipients = select(OutboxRow.contact_id).where(OutboxRow.kind == KIND).distinct()
        unused = (
            ~exists().where(Subscription.contact_id == Contact.id),
            ~exists().where(Listing.contact_id == Contact.id),
            Contact.email_key != (self.staff.key if self.staff else ""),
        )
        for contact_id in session.scalars(
            select(Contact.id).where(Contact.id.in_(recipients), *unused)
        ).all():
            contacts.erase(session, contact_id)


def _hash_items(items: Sequence[DigestItem]) -> int:
    """Return a number that identifies this list of items."""
    fingerprints = "\n".join(item.fingerprint for item in items).encode()
    return int.from_bytes(hashlib.sha256(fingerprints).digest()[:7])
