"""Composer: turns claimed rows into messages, just before they are handed over.

The one place between the outbox and the wire: here the permission rule is asked again, for every message of
every source, so no source can forget it, and here every message is signed. Nothing is written here; what may
not leave comes back as a result.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from lists import permission
from lists.addresses import domain_of
from lists.errors import BadInput, DeadLink
from lists.permission import LASTING, Reader
from mailer.compose import mime
from mailer.compose.dkim import Signer
from mailer.compose.editions import personal
from mailer.compose.mime import Letter
from mailer.compose.source import Addressed, Content, Refusal, Source
from mailer.compose.tokens import Links
from mailer.library.resources import MISSING_LINK, Shelf
from mailer.outbox import held_messages
from mailer.outbox.outbox import Entry, Result
from mailer.policy import POLICY
from mailer.templates import templates
from mailer.templates.discreet import Neutral
from mailer.templates.templates import Edition

MOST_EDITIONS = 256  # kept in memory; one is about 20 kB
SIGNING_PARTS = 2  # an rsa key leaves the interpreter to others; more gain nothing on small machines
OPTIONAL = ("leave_url",)  # frames show it only where there is one


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A message that may leave now: for whom, and its bytes (RFC 5322, CRLF)."""

    entry: Entry
    recipient: str
    message: bytes


Letters = Sequence[Ready | Result]


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who writes: From, Reply-To, the name of the campaign per language, and the domain of Message-IDs.

    `neutral` stands instead of From's name and the subject, per language, for whoever wants discreet mail.
    """

    name: str
    address: str
    reply_to: str
    campaign: Mapping[str, str]
    neutral: Mapping[str, Neutral]

    @property
    def domain(self) -> str:
        """Return the domain of the From address."""
        return domain_of(self.address)


@dataclass(frozen=True, kw_only=True)
class Composer:
    """Composes for every source; holds nothing but what never changes.

    `spread` is what signs several parts of a batch, a pool's `map` for example.
    """

    sources: Mapping[str, Source]
    links: Links
    sender: Sender
    shelf: Shelf
    signer: Signer = field(default_factory=Signer)  # without keys: nothing is signed
    spread: Callable[[Callable[[Letters], Letters], Sequence[Letters]], Iterable[Letters]] = map
    _editions: dict[int, Edition] = field(default_factory=dict, init=False, repr=False)

    def compose(
        self, session: Session, entries: Sequence[Entry], *, now: datetime
    ) -> Sequence[Ready | Result]:
        """Compose claimed rows, at most 50 of them, in the order given.

        Each comes back as a message that may leave at once, or as the result that keeps it here: held where
        the reason may end, cancelled where it will not, expired where it is too late.
        """
        done: dict[int, Ready | Result] = {}
        self._load_editions(session, {entry.edition_id for entry in entries})
        absent = self.shelf.absent(session)

        def purpose(entry: Entry) -> tuple[str, str]:
            return (entry.kind, entry.list)

        for (kind, list_name), same in groupby(sorted(entries, key=purpose), key=purpose):
            group = list(same)
            readers = permission.readers(
                session,
                [entry.contact_id for entry in group],
                purpose=POLICY[kind].purpose(list_name),
                now=now,
            )
            allowed: list[Addressed] = []
            for entry in group:
                reader = readers.get(entry.contact_id)
                why = "never joined" if reader is None else reader.refusal
                if entry.expires_at <= now:
                    done[entry.id] = Result(entry=entry, state="expired", why="too late")
                elif reader is None or why is not None:
                    done[entry.id] = _kept(entry, why or "")
                else:
                    allowed.append(Addressed(entry=entry, reader=reader))
            contents = self._contents(session, kind, allowed, now=now) if allowed else {}
            for letter in allowed:
                done[letter.entry.id] = self._written(letter, contents[letter.entry.id], absent)
        letters = [done[entry.id] for entry in entries]
        if not self.signer.selectors:
            return letters
        size = -(-len(letters) // (SIGNING_PARTS if self.signer.slow else 1)) or 1
        parts = [letters[first : first + size] for first in range(0, len(letters), size)]
        return [letter for part in self.spread(self._signed, parts) for letter in part]

    def _contents(
        self, session: Session, kind: str, letters: Sequence[Addressed], *, now: datetime
    ) -> Mapping[int, Content | Refusal]:
        """Return what the source says; a dead link holds the message that would have it, and no other."""
        try:
            return self.sources[kind].compose(session, letters, now=now)
        except DeadLink as fault:
            if len(letters) == 1:
                return {letters[0].entry.id: Refusal(state="held", why=f"{held_messages.OUR_FAULT}{fault}")}
        each = [self._contents(session, kind, [letter], now=now) for letter in letters]
        return {row: content for contents in each for row, content in contents.items()}

    def _signed(self, letters: Letters) -> Letters:
        """Sign what may leave, whatever its source; all in a row, which is faster than one by one."""
        signed: list[Ready | Result] = []
        for letter in letters:
            if isinstance(letter, Result):
                signed.append(letter)
                continue
            entry = letter.entry
            try:
                message = self.signer.sign(letter.message, at=entry.queued_at)
            except BadInput as error:
                signed.append(held_messages.hold_for_fault(entry, f"it cannot be signed: {error}"))
            else:
                signed.append(Ready(entry=entry, recipient=letter.recipient, message=message))
        return signed

    def _written(
        self, letter: Addressed, content: Content | Refusal, absent: frozenset[str]
    ) -> Ready | Result:
        if isinstance(content, Refusal):
            return Result(entry=letter.entry, state=content.state, why=content.why)
        try:
            return self._message(letter.entry, letter.reader, content, absent)
        except DeadLink as fault:
            return held_messages.hold_for_fault(letter.entry, str(fault))
        except BadInput as error:
            # One reader's data that no message can hold must stop neither the others nor the worker.
            return held_messages.hold_for_fault(letter.entry, f"it cannot be written: {error}")

    def _message(
        self, entry: Entry, reader: Reader, content: Content, absent: frozenset[str]
    ) -> Ready | Result:
        edition = self._editions[entry.edition_id]
        fields = self.fields(entry, reader, content)
        missing = _missing(edition, _language(edition, reader), fields, absent)
        if missing:
            return Result(entry=entry, state="held", why=MISSING_LINK + ", ".join(missing))
        letter = self._letter(entry, reader, content, edition, fields)
        return Ready(entry=entry, recipient=reader.email, message=mime.encode(letter))

    def letter(self, entry: Entry, reader: Reader, content: Content, edition: Edition) -> Letter:
        """Return what a row says to a reader, to try whether it can be written, from any edition.

        Raises BadInput for what no message can hold.
        """
        return self._letter(entry, reader, content, edition, self.fields(entry, reader, content))

    def fields(self, entry: Entry, reader: Reader, content: Content) -> dict[str, str]:
        """Return what a text may use of its reader and of its source."""
        leave = self.links.unsubscribe(reader.id, entry.list) if POLICY[entry.kind].list_mail else ""
        return {
            "name": reader.name,
            "leave_url": leave,
            "preferences_url": self.links.preferences(reader.id),
            "discreet": "yes" if reader.discreet else "",
            **content.fields,
        }

    def _letter(
        self, entry: Entry, reader: Reader, content: Content, edition: Edition, fields: Mapping[str, str]
    ) -> Letter:
        policy, language = POLICY[entry.kind], _language(edition, reader)
        rendered = templates.renderer(edition, language).render(personal(edition, language, fields))
        neutral = self.sender.neutral[language] if reader.discreet else None
        shown = neutral.sender if neutral else self.sender.campaign[language]
        return Letter(
            message_id=self._message_id(entry),
            date=entry.queued_at,
            sender=(neutral.sender if neutral else self.sender.name, self.sender.address),
            reply_to=self.sender.reply_to,
            to=(reader.name, reader.email),
            # One that says nothing to a reader without a name is no reason not to write to them.
            subject=neutral.subject if neutral else rendered.subject[: mime.MOST_SUBJECT] or shown,
            text=rendered.text,
            html=rendered.pieces,
            list_id=(shown, f"{entry.list}.{self.sender.domain}") if policy.list_mail else None,
            unsubscribe_url=fields["leave_url"] or None,
            help_url=self.links.home if policy.list_mail else None,
            owner=self.sender.reply_to if policy.list_mail else None,
            automatic=policy.automatic,
            calendar=content.calendar,
            method="REQUEST",
        )

    def _message_id(self, entry: Entry) -> str:
        """Return the same Message-ID for a row each time it is composed, and another for every other row."""
        named = f"{entry.key} {entry.queued_at.isoformat()}".encode()
        return f"<{entry.id}.{hashlib.sha256(named).hexdigest()[:20]}@{self.sender.domain}>"

    def _load_editions(self, session: Session, wanted: set[int]) -> None:
        absent = wanted - set(self._editions)
        if not absent:
            return
        if len(self._editions) + len(absent) > MOST_EDITIONS:
            self._editions.clear()
            absent = wanted
        for edition in session.scalars(select(Edition).where(Edition.id.in_(sorted(absent)))):
            session.expunge(edition)
            self._editions[edition.id] = edition


def _language(edition: Edition, reader: Reader) -> str:
    """Return the language of a reader's mail: their own where the text has it."""
    return reader.language if reader.language in edition.content else next(iter(edition.content))


def _missing(edition: Edition, language: str, fields: Mapping[str, str], absent: frozenset[str]) -> list[str]:
    """Return the links this edition uses that nobody has given, or that would lead to an empty slot now.

    A dead link is never mailed.
    """
    shared = edition.shared[language]
    return [
        name
        for name in edition.content[language]["names"]
        if name.endswith("_url")
        and name not in OPTIONAL
        and (name in absent or not (fields.get(name) or shared.get(name)))
    ]


def _kept(entry: Entry, why: str) -> Result:
    return Result(entry=entry, state="cancelled" if why in LASTING else "held", why=why)
