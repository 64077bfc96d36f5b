"""Preflight: composes a text completely, for extreme sample readers, before the service accepts it.

So staff learn of an error when they submit the text, with a sentence on what to change, and not from single
messages at sending time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from lists import contacts
from lists.addresses import MAX_LOCAL_OCTETS
from lists.catalog import ABOUT_LENGTH, LANGUAGE_NAMES, NAME_LENGTH, TITLE_LENGTH
from lists.errors import BadInput
from lists.permission import Recipient
from mailer.compose import mime
from mailer.compose.composer import Composer
from mailer.compose.editions import Edition, Editions, add_greeting, get_renderer
from mailer.compose.source import AddressedMessage, MessageContent, Refusal
from mailer.events import events
from mailer.events.events import Event
from mailer.outbox.outbox import Entry
from mailer.policy import DIGEST_FIELDS, POLICY
from mailer.sources.invitations import ANSWERS, Invitations
from mailer.templates import rendering

MAX_OCTETS = 500_000  # of a whole message; far beyond what mail programs show at once
CONTACT_ID = 2**53  # a sample contact, with a number as long as any
LIST_NAME = "l" * NAME_LENGTH
DOMAIN = ".".join(["d" * 57, "e" * 57, "f" * 61, "example.org"])
ADDRESS = f"{'l' * MAX_LOCAL_OCTETS}@{DOMAIN}"  # as long as an address may be
WIDE_ADDRESS = f"{'ñ' * (MAX_LOCAL_OCTETS // 2)}@{DOMAIN}"
LONG_NAMES = ("x", "ﬃ", "\N{FAMILY}", '"\\', "ي", "=?a?q?b?=")  # each repeated to the length of a name
NAMES = ("", *(name * (contacts.NAME_LENGTH // len(name)) for name in LONG_NAMES), "a, b@c.example;")
MAX_CONSTANTS = 50  # texts in quotes of one subject
ZONE = "America/Argentina/ComodRivadavia"
LINK = f"https://example.org/{'x' * (events.URL_LENGTH - 20)}"
LONGEST: Mapping[str, str] = {
    "event_title": "ñ" * events.TITLE_LENGTH,
    "event_when": "w" * 300,
    "event_note": "n" * 500,
    "event_minutes": str(events.MAX_MINUTES),
    "list_title": "ñ" * TITLE_LENGTH,
    "list_about": "ñ" * ABOUT_LENGTH,
}
SHORTEST: Mapping[str, str] = {**dict.fromkeys(LONGEST, "x"), "event_note": ""}
FAR_FUTURE = datetime(2999, 1, 1, tzinfo=UTC)

ContentBuilder = Callable[[AddressedMessage], MessageContent | Refusal]


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """Checks texts with the composer that sends them."""

    composer: Composer
    editions: Editions
    invitations: Invitations

    def check_update(self, edition: Edition, *, list: str, now: datetime) -> None:
        """Check an update to a list; raises BadInput with what to change."""
        self._check_edition(
            edition, "broadcast", list=list, now=now, contents=_constant_content(MessageContent())
        )

    def check_confirmation(self, edition: Edition, *, list: str, now: datetime) -> None:
        """Check the mail that asks to confirm a list; raises BadInput with what to change."""
        content = MessageContent(
            fields={"confirm_url": self.composer.links.confirm_url(CONTACT_ID, CONTACT_ID)}
        )
        self._check_edition(edition, "confirmation", list=list, now=now, contents=_constant_content(content))

    def check_invitations(self, edition: Edition, event: Event, *, now: datetime) -> None:
        """Check the invitations to a call and their calendar entries; raises BadInput with what to change."""

        def contents(message: AddressedMessage) -> MessageContent | Refusal:
            return self.invitations.build_content(event, message, now=now)

        key = self.invitations.build_key(event, CONTACT_ID)
        self._check_edition(edition, "invitation", list=event.audience, now=now, contents=contents, key=key)

    def check_shipped(self, session: Session, *, now: datetime) -> None:
        """Check every template with the present settings; raises BadInput that names the first fault."""
        for name, template in self.editions.templates.items():
            kind = self.editions.kinds[name]
            edition = self.editions.freeze(session, template, kind, now=now)
            for content in self._sample_contents(kind):
                try:
                    self._check_edition(
                        edition,
                        kind,
                        list=LIST_NAME,
                        now=now,
                        contents=_constant_content(content),
                        names=NAMES[:3],
                    )
                except BadInput as error:
                    raise BadInput(f"The email {name}: {error}") from error

    def _sample_contents(self, kind: str) -> Sequence[MessageContent]:
        """Return a source's contents for its texts: each value as long, and as short, as it can be."""
        links = self.composer.links
        urls = {
            f"rsvp_{answer}_url": links.rsvp_url(CONTACT_ID, CONTACT_ID, answer=answer) for answer in ANSWERS
        }
        urls |= {"join_url": LINK, "mine_url": links.profile_url(CONTACT_ID, until=FAR_FUTURE)}
        urls |= {"confirm_url": links.confirm_url(CONTACT_ID, CONTACT_ID)}
        longest = {**LONGEST, **urls, **dict.fromkeys(DIGEST_FIELDS, "w" * 300)}
        shortest = {**SHORTEST, **urls, **dict.fromkeys(DIGEST_FIELDS, "")}
        allowed = POLICY[kind].fields
        return [
            MessageContent(fields={name: text for name, text in values.items() if name in allowed})
            for values in (longest, shortest)
        ]

    def _check_edition(
        self,
        edition: Edition,
        kind: str,
        *,
        list: str,
        now: datetime,
        contents: ContentBuilder,
        key: str = "",
        names: Sequence[str] = NAMES,
    ) -> None:
        entry = _sample_entry(kind, list=list, now=now, key=key)
        for language, content in edition.content.items():
            try:
                if len(content["html"]) + len(content["text"]) > MAX_OCTETS:
                    raise BadInput("It is too long for one message. Shorten it.")
                constants = sorted(rendering.list_constants(content["subject"]))[:MAX_CONSTANTS]
                for recipient in _sample_recipients(language, [*names, *constants]):
                    built_content = contents(AddressedMessage(entry=entry, recipient=recipient))
                    if isinstance(built_content, Refusal):
                        raise BadInput(built_content.detail)
                    self._check_message(entry, recipient, built_content, edition)
            except BadInput as error:
                raise BadInput(f"The {LANGUAGE_NAMES[language]} text cannot be sent. {error}") from error

    def _check_message(
        self, entry: Entry, recipient: Recipient, content: MessageContent, edition: Edition
    ) -> None:
        fields = add_greeting(
            edition, recipient.language, self.composer.build_fields(entry, recipient, content)
        )
        subject = get_renderer(edition, recipient.language).render(fields).subject
        if not subject:
            reader_label = "without a name" if not recipient.name else f"called “{recipient.name[:20]}”"
            raise BadInput(
                f"Its subject is empty for readers {reader_label}. Write words that stand in any case."
            )
        if len(subject) > mime.MAX_SUBJECT:
            raise BadInput(
                f"The subject has {len(subject):,} characters for a reader with a long name; at most"
                f" {mime.MAX_SUBJECT} fit. Shorten it."
            )
        octets = len(mime.encode(self.composer.build_mime(entry, recipient, content, edition)))
        if octets > MAX_OCTETS:
            raise BadInput(
                f"It makes a message of {octets:,} octets; at most {MAX_OCTETS:,} can be sent. Shorten it."
            )


def _constant_content(content: MessageContent) -> ContentBuilder:
    return lambda _: content


def _sample_entry(kind: str, *, list: str, now: datetime, key: str) -> Entry:
    return Entry(
        id=CONTACT_ID,
        key=key or f"{kind}/preflight",
        kind=kind,
        list=list,
        contact_id=CONTACT_ID,
        edition_id=0,
        ref=0,
        attempt=1,
        tries=0,
        queued_at=now,
        expires_at=now,
    )


def _sample_recipients(language: str, names: Sequence[str]) -> Iterator[Recipient]:
    """Yield sample readers of a language, one for each name of a permitted length."""
    for number, name in enumerate(name for name in names if len(name) <= contacts.NAME_LENGTH):
        yield Recipient(
            id=CONTACT_ID,
            email=WIDE_ADDRESS if number % 2 else ADDRESS,
            name=name,
            language=language,
            zone=ZONE,
            city="c" * contacts.DETAIL_LENGTH,
            discreet=number % 3 == 1,
            refusal=None,
        )
