"""Composer: turns claimed rows into messages, just before they are sent.

It is the only step between the outbox and the relays: it evaluates the permission rule again for every
message of every source, so no source can omit the check, and it signs every message. It writes nothing to the
database; a row that may not be sent is returned as a result.
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
from mailer.compose.editions import Edition, add_greeting, get_renderer
from mailer.compose.mime import MimeMessage
from mailer.compose.source import AddressedMessage, MessageContent, Refusal, Source
from mailer.compose.tokens import Links
from mailer.library.resources import ResourceLibrary
from mailer.outbox import held_messages
from mailer.outbox.outbox import Entry, Result
from mailer.policy import POLICY
from mailer.reasons import Reason
from mailer.templates.discreet import DiscreetWording

MAX_EDITIONS = 256  # cached in memory; one is about 20 kB
SIGNING_THREADS = 2  # an rsa signature releases the interpreter lock; more gain nothing on small machines
OPTIONAL_LINKS = ("leave_url",)  # frames show it only where there is one


@dataclass(frozen=True, kw_only=True)
class ReadyMessage:
    """A message that may be sent now: its recipient's address, and its bytes (RFC 5322, CRLF)."""

    entry: Entry
    recipient: str
    message: bytes


ComposedBatch = Sequence[ReadyMessage | Result]


@dataclass(frozen=True, kw_only=True)
class Sender:
    """The sender: From, Reply-To, the name of the campaign per language, and the domain of Message-IDs.

    `discreet_wordings` replace, per language, the name in From and the subject for recipients who chose
    discreet mail.
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
    """Composes for every source; holds only values that never change.

    `parallel_map` applies the signing to several parts of a batch; a thread pool's `map`, for example.
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
        """Compose claimed rows, at most 50 of them; returns one item per row, in the order of `entries`.

        An item is a message that may be sent at once, or the result of a row that may not: held where the
        reason may end, cancelled where it will not, expired where it is too late.
        """
        outcomes: dict[int, ReadyMessage | Result] = {}
        self._load_editions(session, {entry.edition_id for entry in entries})
        empty_fields = self.library.list_empty_fields(session)

        def purpose(entry: Entry) -> tuple[str, str]:
            return (entry.kind, entry.list)

        for (kind, list_name), members in groupby(sorted(entries, key=purpose), key=purpose):
            group = list(members)
            recipients = permission.find_recipients(
                session,
                [entry.contact_id for entry in group],
                purpose=POLICY[kind].purpose(list_name),
                now=now,
            )
            allowed: list[AddressedMessage] = []
            for entry in group:
                recipient = recipients.get(entry.contact_id)
                reason = "never joined" if recipient is None else recipient.refusal
                if entry.expires_at <= now:
                    outcomes[entry.id] = Result(entry=entry, state="expired", reason=Reason.TOO_LATE)
                elif recipient is None or reason is not None:
                    outcomes[entry.id] = _refuse_entry(entry, reason or "")
                else:
                    allowed.append(AddressedMessage(entry=entry, recipient=recipient))
            contents = self._ask_source(session, kind, allowed, now=now) if allowed else {}
            for message in allowed:
                outcomes[message.entry.id] = self._compose_message(
                    message, contents[message.entry.id], empty_fields
                )
        batch = [outcomes[entry.id] for entry in entries]
        if not self.signer.keys:
            return batch
        size = -(-len(batch) // (SIGNING_THREADS if self.signer.is_slow else 1)) or 1
        parts = [batch[first : first + size] for first in range(0, len(batch), size)]
        return [message for part in self.parallel_map(self._sign_batch, parts) for message in part]

    def _ask_source(
        self, session: Session, kind: str, messages: Sequence[AddressedMessage], *, now: datetime
    ) -> Mapping[int, MessageContent | Refusal]:
        """Return the source's contents; an invalid link holds only the message that would contain it."""
        try:
            return self.sources[kind].compose(session, messages, now=now)
        except InvalidLink as error:
            if len(messages) == 1:
                refusal = Refusal(state="held", reason=Reason.OUR_FAULT, detail=str(error))
                return {messages[0].entry.id: refusal}
        results = [self._ask_source(session, kind, [message], now=now) for message in messages]
        return {row: content for contents in results for row, content in contents.items()}

    def _sign_batch(self, batch: ComposedBatch) -> ComposedBatch:
        """Sign the messages of a batch, whatever their source; consecutively, as that is faster."""
        signed: list[ReadyMessage | Result] = []
        for item in batch:
            if isinstance(item, Result):
                signed.append(item)
                continue
            entry = item.entry
            try:
                message = self.signer.sign(item.message, at=entry.queued_at)
            except BadInput as error:
                signed.append(held_messages.hold_for_fault(entry, f"it cannot be signed: {error}"))
            else:
                signed.append(ReadyMessage(entry=entry, recipient=item.recipient, message=message))
        return signed

    def _compose_message(
        self, message: AddressedMessage, content: MessageContent | Refusal, empty_fields: frozenset[str]
    ) -> ReadyMessage | Result:
        if isinstance(content, Refusal):
            return Result(
                entry=message.entry, state=content.state, reason=content.reason, detail=content.detail
            )
        try:
            return self._render_message(message.entry, message.recipient, content, empty_fields)
        except InvalidLink as link_error:
            return held_messages.hold_for_fault(message.entry, str(link_error))
        except BadInput as error:
            # Data of one recipient that no message can hold must stop neither the others nor the worker.
            return held_messages.hold_for_fault(message.entry, f"it cannot be written: {error}")

    def _render_message(
        self, entry: Entry, recipient: Recipient, content: MessageContent, empty_fields: frozenset[str]
    ) -> ReadyMessage | Result:
        edition = self._editions[entry.edition_id]
        fields = self.build_fields(entry, recipient, content)
        missing = _find_missing_links(edition, _choose_language(edition, recipient), fields, empty_fields)
        if missing:
            return Result(entry=entry, state="held", reason=Reason.MISSING_LINK, detail=", ".join(missing))
        mime_message = self._build_mime(entry, recipient, content, edition, fields)
        return ReadyMessage(entry=entry, recipient=recipient.email, message=mime.encode(mime_message))

    def build_mime(
        self, entry: Entry, recipient: Recipient, content: MessageContent, edition: Edition
    ) -> MimeMessage:
        """Return the message of a row to a recipient from any edition, to check that it can be built.

        Raises BadInput for data that no message can hold.
        """
        return self._build_mime(
            entry, recipient, content, edition, self.build_fields(entry, recipient, content)
        )

    def build_fields(self, entry: Entry, recipient: Recipient, content: MessageContent) -> dict[str, str]:
        """Return the fields that a text may use of its recipient and of its source."""
        leave_url = (
            self.links.unsubscribe_url(recipient.id, entry.list) if POLICY[entry.kind].list_mail else ""
        )
        return {
            "name": recipient.name,
            "leave_url": leave_url,
            "preferences_url": self.links.preferences_url(recipient.id),
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
        rendered = get_renderer(edition, language).render(add_greeting(edition, language, fields))
        wording = self.sender.discreet_wordings[language] if recipient.discreet else None
        list_label = wording.sender if wording else self.sender.campaign[language]
        return MimeMessage(
            message_id=self._message_id(entry),
            date=entry.queued_at,
            sender=(wording.sender if wording else self.sender.name, self.sender.address),
            reply_to=self.sender.reply_to,
            to=(recipient.name, recipient.email),
            # A subject that is empty for a recipient without a name must not stop the message.
            subject=wording.subject if wording else rendered.subject[: mime.MAX_SUBJECT] or list_label,
            text=rendered.text,
            html=rendered.pieces,
            list_id=(list_label, f"{entry.list}.{self.sender.domain}") if policy.list_mail else None,
            unsubscribe_url=fields["leave_url"] or None,
            help_url=self.links.home if policy.list_mail else None,
            owner=self.sender.reply_to if policy.list_mail else None,
            automatic=policy.automatic,
            calendar=content.calendar,
            method="REQUEST",
        )

    def _message_id(self, entry: Entry) -> str:
        """Return the same Message-ID for a row each time it is composed, and another for every other row."""
        row_identity = f"{entry.key} {entry.queued_at.isoformat()}".encode()
        return f"<{entry.id}.{hashlib.sha256(row_identity).hexdigest()[:20]}@{self.sender.domain}>"

    def _load_editions(self, session: Session, edition_ids: set[int]) -> None:
        missing_ids = edition_ids - set(self._editions)
        if not missing_ids:
            return
        if len(self._editions) + len(missing_ids) > MAX_EDITIONS:
            self._editions.clear()
            missing_ids = edition_ids
        for edition in session.scalars(select(Edition).where(Edition.id.in_(sorted(missing_ids)))):
            session.expunge(edition)
            self._editions[edition.id] = edition


def _choose_language(edition: Edition, recipient: Recipient) -> str:
    """Return the language of a recipient's mail: their own where the text has it."""
    return recipient.language if recipient.language in edition.content else next(iter(edition.content))


def _find_missing_links(
    edition: Edition, language: str, fields: Mapping[str, str], empty_fields: frozenset[str]
) -> list[str]:
    """Return the links of this edition that have no address, or whose resource slot is empty now.

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
    return Result(entry=entry, state="cancelled" if reason in PERMANENT_REASONS else "held", reason=reason)
