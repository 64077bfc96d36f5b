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
from lists.errors import BadInput, InvalidLink
from lists.permission import PERMANENT_REASONS, Recipient
from mailer.compose import mime
from mailer.compose.dkim import Signer
from mailer.compose.editions import add_greeting
from mailer.compose.mime import MimeMessage
from mailer.compose.source import AddressedMessage, MessageContent, Refusal, Source
from mailer.compose.tokens import Links
from mailer.library.resources import MISSING_LINK, ResourceLibrary
from mailer.outbox import held_messages
from mailer.outbox.outbox import Entry, Result
from mailer.policy import POLICY
from mailer.templates import templates
from mailer.templates.discreet import DiscreetWording
from mailer.templates.templates import Edition

MOST_EDITIONS = 256  # kept in memory; one is about 20 kB
SIGNING_THREADS = 2  # an rsa key leaves the interpreter to others; more gain nothing on small machines
OPTIONAL_LINKS = ("leave_url",)  # frames show it only where there is one


@dataclass(frozen=True, kw_only=True)
class ReadyMessage:
    """A message that may leave now: for whom, and its bytes (RFC 5322, CRLF)."""

    entry: Entry
    recipient: str
    message: bytes


ComposedBatch = Sequence[ReadyMessage | Result]


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who writes: From, Reply-To, the name of the campaign per language, and the domain of Message-IDs.

    `neutral` stands instead of From's name and the subject, per language, for whoever wants discreet mail.
    """

    name: str
    address: str
    reply_to: str
    campaign: Mapping[str, str]
    discreet_wordings: Mapping[str, DiscreetWording]

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
    library: ResourceLibrary
    signer: Signer = field(default_factory=Signer)  # without keys: nothing is signed
    parallel_map: Callable[
        [Callable[[ComposedBatch], ComposedBatch], Sequence[ComposedBatch]], Iterable[ComposedBatch]
    ] = map
    _editions: dict[int, Edition] = field(default_factory=dict, init=False, repr=False)

    def compose(
        self, session: Session, entries: Sequence[Entry], *, now: datetime
    ) -> Sequence[ReadyMessage | Result]:
        """Compose claimed rows, at most 50 of them, in the order given.

        Each comes back as a message that may leave at once, or as the result that keeps it here: held where
        the reason may end, cancelled where it will not, expired where it is too late.
        """
        done: dict[int, ReadyMessage | Result] = {}
        self._load_editions(session, {entry.edition_id for entry in entries})
        absent = self.library.list_empty_fields(session)

        def purpose(entry: Entry) -> tuple[str, str]:
            return (entry.kind, entry.list)

        for (kind, list_name), same in groupby(sorted(entries, key=purpose), key=purpose):
            group = list(same)
            readers = permission.find_recipients(
                session,
                [entry.contact_id for entry in group],
                purpose=POLICY[kind].purpose(list_name),
                now=now,
            )
            allowed: list[AddressedMessage] = []
            for entry in group:
                reader = readers.get(entry.contact_id)
                why = "never joined" if reader is None else reader.refusal
                if entry.expires_at <= now:
                    done[entry.id] = Result(entry=entry, state="expired", why="too late")
                elif reader is None or why is not None:
                    done[entry.id] = _refuse_entry(entry, why or "")
                else:
                    allowed.append(AddressedMessage(entry=entry, recipient=reader))
            contents = self._ask_source(session, kind, allowed, now=now) if allowed else {}
            for letter in allowed:
                done[letter.entry.id] = self._compose_message(letter, contents[letter.entry.id], absent)
        letters = [done[entry.id] for entry in entries]
        if not self.signer.keys:
            return letters
        size = -(-len(letters) // (SIGNING_THREADS if self.signer.is_slow else 1)) or 1
        parts = [letters[first : first + size] for first in range(0, len(letters), size)]
        return [letter for part in self.parallel_map(self._sign_batch, parts) for letter in part]

    def _ask_source(
        self, session: Session, kind: str, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Return what the source says; a dead link holds the message that would have it, and no other."""
        try:
            return self.sources[kind].compose(session, messages, now=now)
        except InvalidLink as fault:
            if len(messages) == 1:
                return {messages[0].entry.id: Refusal(state="held", why=f"{held_messages.OUR_FAULT}{fault}")}
        each = [self._ask_source(session, kind, [letter], now=now) for letter in messages]
        return {row: content for contents in each for row, content in contents.items()}

    def _sign_batch(self, batch: ComposedBatch) -> ComposedBatch:
        """Sign what may leave, whatever its source; all in a row, which is faster than one by one."""
        signed: list[ReadyMessage | Result] = []
        for letter in batch:
            if isinstance(letter, Result):
                signed.append(letter)
                continue
            entry = letter.entry
            try:
                message = self.signer.sign(letter.message, at=entry.queued_at)
            except BadInput as error:
                signed.append(held_messages.hold_for_fault(entry, f"it cannot be signed: {error}"))
            else:
                signed.append(ReadyMessage(entry=entry, recipient=letter.recipient, message=message))
        return signed

    def _compose_message(
        self, message: AddressedMessage, content: MessageContent | Refusal, empty_fields: frozenset[str]
    ) -> ReadyMessage | Result:
        if isinstance(content, Refusal):
            return Result(entry=message.entry, state=content.state, why=content.why)
        try:
            return self._render_message(message.entry, message.recipient, content, empty_fields)
        except InvalidLink as fault:
            return held_messages.hold_for_fault(message.entry, str(fault))
        except BadInput as error:
            # One reader's data that no message can hold must stop neither the others nor the worker.
            return held_messages.hold_for_fault(message.entry, f"it cannot be written: {error}")

    def _render_message(
        self, entry: Entry, recipient: Recipient, content: MessageContent, empty_fields: frozenset[str]
    ) -> ReadyMessage | Result:
        edition = self._editions[entry.edition_id]
        fields = self.build_fields(entry, recipient, content)
        missing = _find_missing_links(edition, _choose_language(edition, recipient), fields, empty_fields)
        if missing:
            return Result(entry=entry, state="held", why=MISSING_LINK + ", ".join(missing))
        letter = self._build_mime(entry, recipient, content, edition, fields)
        return ReadyMessage(entry=entry, recipient=recipient.email, message=mime.encode(letter))

    def build_mime(
        self, entry: Entry, recipient: Recipient, content: MessageContent, edition: Edition
    ) -> MimeMessage:
        """Return what a row says to a reader, to try whether it can be written, from any edition.

        Raises BadInput for what no message can hold.
        """
        return self._build_mime(
            entry, recipient, content, edition, self.build_fields(entry, recipient, content)
        )

    def build_fields(self, entry: Entry, recipient: Recipient, content: MessageContent) -> dict[str, str]:
        """Return what a text may use of its reader and of its source."""
        leave = self.links.unsubscribe(recipient.id, entry.list) if POLICY[entry.kind].list_mail else ""
        return {
            "name": recipient.name,
            "leave_url": leave,
            "preferences_url": self.links.preferences(recipient.id),
            "discreet": "yes" if recipient.discreet else "",
            **content.fields,
        }

    def _build_mime(
        self,
        entry: Entry,
        recipient: Recipient,
        content: MessageContent,
        edition: Edition,
        fields: Mapping[str, str],
    ) -> MimeMessage:
        policy, language = POLICY[entry.kind], _choose_language(edition, recipient)
        rendered = templates.get_renderer(edition, language).render(add_greeting(edition, language, fields))
        neutral = self.sender.discreet_wordings[language] if recipient.discreet else None
        shown = neutral.sender if neutral else self.sender.campaign[language]
        return MimeMessage(
            message_id=self._message_id(entry),
            date=entry.queued_at,
            sender=(neutral.sender if neutral else self.sender.name, self.sender.address),
            reply_to=self.sender.reply_to,
            to=(recipient.name, recipient.email),
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

    def _load_editions(self, session: Session, edition_ids: set[int]) -> None:
        absent = edition_ids - set(self._editions)
        if not absent:
            return
        if len(self._editions) + len(absent) > MOST_EDITIONS:
            self._editions.clear()
            absent = edition_ids
        for edition in session.scalars(select(Edition).where(Edition.id.in_(sorted(absent)))):
            session.expunge(edition)
            self._editions[edition.id] = edition


def _choose_language(edition: Edition, recipient: Recipient) -> str:
    """Return the language of a reader's mail: their own where the text has it."""
    return recipient.language if recipient.language in edition.content else next(iter(edition.content))


def _find_missing_links(
    edition: Edition, language: str, fields: Mapping[str, str], empty_fields: frozenset[str]
) -> list[str]:
    """Return the links this edition uses that nobody has given, or that would lead to an empty slot now.

    A dead link is never mailed.
    """
    shared = edition.shared[language]
    return [
        name
        for name in edition.content[language]["names"]
        if name.endswith("_url")
        and name not in OPTIONAL_LINKS
        and (name in empty_fields or not (fields.get(name) or shared.get(name)))
    ]


def _refuse_entry(entry: Entry, reason: str) -> Result:
    return Result(entry=entry, state="cancelled" if reason in PERMANENT_REASONS else "held", why=reason)
