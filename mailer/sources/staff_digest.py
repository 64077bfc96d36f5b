"""Notice: something that waits for staff, told by `mailer status` and by a mail to the address of staff.

What waits is counted from the tables and kept nowhere. Neither the list nor the mail names anybody, because
mailboxes of staff are not as safe as the service. The mail is a row of the outbox like any other:

    nothing waits ─► no mail      something waits ─► a mail ─┬─ the list has changed ─► again after a day
                                                             └─ it has not ───────────► again after a week

The row remembers which list it was put for (`ref`), and its key holds the day, so no day sees two.
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
from mailer.compose.source import Addressed, Content, Refusal
from mailer.coordination import counters, signup_throttle
from mailer.coordination.counters import StoredCounter
from mailer.coordination.send_hold import Restore
from mailer.coordination.suspensions import Suspension
from mailer.library import law_cards
from mailer.library.law_cards import FactCard
from mailer.library.resources import MISSING_LINK
from mailer.outbox import held_messages, outbox
from mailer.outbox.outbox import HELD, UNKNOWN, OutboxRow, Result
from mailer.policy import POLICY

KIND = "notice"
APART = timedelta(days=1)  # between two mails
AGAIN = timedelta(days=7)  # before the same list is told once more
LATELY = timedelta(days=1)  # as long as the counts of brakes are kept
NOTHING_WAITS = "nothing waits any more"
NOT_TOLD = ("cancelled", "expired", "failed")  # states of a mail that staff have not read
TO_PEOPLE = [kind for kind, policy in POLICY.items() if not policy.to_staff]

Counted = Select[int, Any]


@dataclass(frozen=True, kw_only=True)
class Matter:
    """One thing that can wait: how it is counted, how it is said of one and of several, and what to type.

    `question` selects how many there are and what tells these from others as many: their newest number or
    moment.
    """

    name: str
    question: Callable[[datetime], Counted]
    one: Mapping[str, str]
    several: Mapping[str, str]
    command: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What waits now: how many, a sentence for each language, and the command that shows it."""

    name: str
    number: int
    sentence: Mapping[str, str]
    command: str
    mark: str


def _all(newest: Any, *where: Any) -> Counted:
    return select(func.count(), func.max(newest)).where(*where)


MATTERS: Sequence[Matter] = (
    Matter(
        name="restore",
        question=lambda _now: _all(Restore.id, Restore.ended_at.is_(None)),
        one={
            "en": "A backup was put back, and nothing is sent until its gap is settled.",
            "es": "Se restauró una copia, y nada se envía hasta que se aclare lo que falta.",
        },
        several={},
        command="mailer db status",
    ),
    Matter(
        name="pauses",
        question=lambda _now: _all(Suspension.since),
        one={
            "en": "Mail to one server or domain is paused.",
            "es": "El correo a un servidor o dominio está en pausa.",
        },
        several={
            "en": "Mail to {number} servers or domains is paused.",
            "es": "El correo a {number} servidores o dominios está en pausa.",
        },
        command="mailer relay list",
    ),
    Matter(
        name="resources",
        question=lambda _now: _all(
            OutboxRow.id, OutboxRow.state == HELD, OutboxRow.why.startswith(MISSING_LINK)
        ),
        one={
            "en": "One email waits for a resource that nobody has given.",
            "es": "Un correo espera un recurso que nadie ha dado.",
        },
        several={
            "en": "{number} emails wait for a resource that nobody has given.",
            "es": "{number} correos esperan un recurso que nadie ha dado.",
        },
        command="mailer resource list",
    ),
    Matter(
        name="faults",
        question=lambda _now: _all(OutboxRow.id, held_messages.is_stopped_by_fault()),
        one={
            "en": "One email waits because of a fault of ours.",
            "es": "Un correo espera por una falla nuestra.",
        },
        several={
            "en": "{number} emails wait because of a fault of ours.",
            "es": "{number} correos esperan por una falla nuestra.",
        },
        command="mailer outbox retry",
    ),
    Matter(
        name="servers",
        question=lambda _now: _all(OutboxRow.id, held_messages.is_stopped_by_server()),
        one={
            "en": "One email waits for a mail server that can send it.",
            "es": "Un correo espera un servidor que lo pueda enviar.",
        },
        several={
            "en": "{number} emails wait for a mail server that can send them.",
            "es": "{number} correos esperan un servidor que los pueda enviar.",
        },
        command="mailer outbox retry",
    ),
    Matter(
        name="unknown",
        question=lambda _now: _all(OutboxRow.id, OutboxRow.state == UNKNOWN, OutboxRow.kind.in_(TO_PEOPLE)),
        one={
            "en": "One email may have arrived or not, and you decide about it.",
            "es": "No se sabe si un correo llegó, y usted decide qué hacer.",
        },
        several={
            "en": "{number} emails may have arrived or not, and you decide about them.",
            "es": "No se sabe si {number} correos llegaron, y usted decide qué hacer.",
        },
        command="mailer outbox unknown",
    ),
    Matter(
        name="applications",
        question=lambda _now: _all(Listing.id, Listing.state == "waiting"),
        one={
            "en": "One congregation or organization waits to be approved for the map.",
            "es": "Una congregación u organización espera su aprobación para el mapa.",
        },
        several={
            "en": "{number} congregations or organizations wait to be approved for the map.",
            "es": "{number} congregaciones u organizaciones esperan su aprobación para el mapa.",
        },
        command="mailer organizer list",
    ),
    Matter(
        name="expired",
        question=lambda now: _all(FactCard.checked_on, law_cards.has_expired(now)),
        one={
            "en": "One card on present law was not checked in time and is left out.",
            "es": "Una ficha sobre la ley actual no se revisó a tiempo y ya no se muestra.",
        },
        several={
            "en": "{number} cards on present law were not checked in time and are left out.",
            "es": "{number} fichas sobre la ley actual no se revisaron a tiempo y ya no se muestran.",
        },
        command="mailer fact list",
    ),
    Matter(
        name="expiring",
        question=lambda now: _all(FactCard.checked_on, law_cards.expires_soon(now)),
        one={
            "en": "One card on present law must be checked within two weeks.",
            "es": "Una ficha sobre la ley actual se debe revisar dentro de dos semanas.",
        },
        several={
            "en": "{number} cards on present law must be checked within two weeks.",
            "es": "{number} fichas sobre la ley actual se deben revisar dentro de dos semanas.",
        },
        command="mailer fact list",
    ),
    Matter(
        name="sign_ups",
        question=lambda now: _all(
            StoredCounter.since,
            StoredCounter.what.in_(
                (signup_throttle.NETWORK_LIMIT_REACHED, signup_throttle.TOTAL_LIMIT_REACHED)
            ),
            StoredCounter.since >= counters.floor_to_step(now - LATELY),
        ),
        one={
            "en": "So many sign-ups came at once that some were turned away in the last day.",
            "es": "Llegaron tantas inscripciones a la vez que en el último día se rechazaron algunas.",
        },
        several={},
        command="mailer list",
    ),
)


def what_waits(session: Session, *, now: datetime) -> Sequence[Notice]:
    """Return what waits for staff at `now`, the most urgent first."""
    waiting = []
    for matter in MATTERS:
        number, newest = session.execute(matter.question(now)).one()
        if number:
            said = matter.one if number == 1 else matter.several or matter.one
            waiting.append(
                Notice(
                    name=matter.name,
                    number=number,
                    sentence={lang: words.format(number=f"{number:,}") for lang, words in said.items()},
                    command=matter.command,
                    mark=f"{matter.name} {number} {newest}",
                )
            )
    return waiting


@dataclass(frozen=True, kw_only=True)
class Notices:
    """The source of the kind `notice`; `staff` is where it goes, None where nobody wants it by mail.

    The address has a contact as every reader has. It is on no list, so nothing else is ever sent to it and no
    list counts or exports it; it goes when the address does, unless a person is behind it by then.
    """

    editions: Editions
    staff: Address | None
    kinds: tuple[str, ...] = field(default=(KIND,), init=False)

    def fill(self, session: Session, *, now: datetime, limit: int) -> int:
        """Put the mail that tells what waits into the outbox, when it is time for one."""
        self._forget_former(session)
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
            edition_id=self.editions.current(session, KIND, KIND, now=now),
            now=now,
            ref=_marked(what_waits(session, now=now)),
        )

    def compose(
        self, session: Session, letters: Sequence[Addressed], *, now: datetime
    ) -> Mapping[int, Content | Refusal]:
        """Say what waits now, in the reader's language; what is done by now is not told any more."""
        waiting = what_waits(session, now=now)
        if not waiting:
            return {each.entry.id: Refusal(state="cancelled", why=NOTHING_WAITS) for each in letters}
        absent = {f"waits_{matter.name}": "" for matter in MATTERS}
        return {
            each.entry.id: Content(
                fields=absent
                | {
                    f"waits_{notice.name}": f"{notice.sentence[each.reader.language]} → {notice.command}"
                    for notice in waiting
                }
            )
            for each in letters
        }

    def settle(self, session: Session, results: Sequence[Result], *, now: datetime) -> None:
        """Nothing follows from it: what waits does so until somebody does it."""

    def next_due(self, session: Session, *, now: datetime) -> datetime | None:
        """Return when staff are to be told next; None while nothing waits, or nobody is to be told."""
        if not self.reachable(session):
            return None
        waiting = what_waits(session, now=now)
        if not waiting:
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
        unchanged = last.ref == _marked(waiting) and last.state not in NOT_TOLD
        return last.queued_at + (AGAIN if unchanged else APART)  # type: ignore[no-any-return]

    def reachable(self, session: Session) -> bool:
        """Tell whether there is an address of staff, and one that may be written to."""
        return self.staff is not None and suppressions.reason(session, self.staff.digest) is None

    def _forget_former(self, session: Session) -> None:
        """Erase the contact of an address that is no longer the staff's and was never anything else."""
        told = select(OutboxRow.contact_id).where(OutboxRow.kind == KIND).distinct()
        nobody_else = (
            ~exists().where(Subscription.contact_id == Contact.id),
            ~exists().where(Listing.contact_id == Contact.id),
            Contact.email_key != (self.staff.key if self.staff else ""),
        )
        for number in session.scalars(select(Contact.id).where(Contact.id.in_(told), *nobody_else)).all():
            contacts.erase(session, number)


def _marked(waiting: Sequence[Notice]) -> int:
    """Return a number that stands for this list of notices, and for no other."""
    said = "\n".join(notice.mark for notice in waiting).encode()
    return int.from_bytes(hashlib.sha256(said).digest()[:7])
