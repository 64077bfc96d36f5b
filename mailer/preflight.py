"""Preflight: a text is composed whole, for the longest and oddest readers there can be, before it is taken.

What cannot be written is found where staff write it, with a sentence that says what to change, and not one
reader at a time when it leaves.
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
from mailer.compose.editions import Editions, add_greeting
from mailer.compose.source import AddressedMessage, MessageContent, Refusal
from mailer.events import events
from mailer.events.events import Event
from mailer.outbox import held_messages
from mailer.outbox.outbox import Entry
from mailer.policy import DIGEST_FIELDS, POLICY
from mailer.sources.invitations import ANSWERS, Invitations
from mailer.templates import rendering, templates
from mailer.templates.templates import Edition

MOST_OCTETS = 500_000  # of a whole message; far beyond what mail programs show at once
CONTACT_ID = 2**53  # a made-up contact, with a number as long as any
LIST_NAME = "l" * NAME_LENGTH
DOMAIN = ".".join(["d" * 57, "e" * 57, "f" * 61, "example.org"])
ADDRESS = f"{'l' * MAX_LOCAL_OCTETS}@{DOMAIN}"  # MAX_OCTETS in all
WIDE_ADDRESS = f"{'ñ' * (MAX_LOCAL_OCTETS // 2)}@{DOMAIN}"
LONG_NAMES = ("x", "ﬃ", "\N{FAMILY}", '"\\', "ي", "=?a?q?b?=")  # each as often as a name has room for
NAMES = ("", *(name * (contacts.NAME_LENGTH // len(name)) for name in LONG_NAMES), "a, b@c.example;")
MOST_CONSTANTS = 50  # texts in quotes of one subject
ZONE = "America/Argentina/ComodRivadavia"
LINK = f"https://example.org/{'x' * (events.URL_LENGTH - 20)}"
LONGEST: Mapping[str, str] = {
    "event_title": "ñ" * events.TITLE_LENGTH,
    "event_when": "w" * 300,
    "event_note": "n" * 500,
    "event_minutes": str(events.MOST_MINUTES),
    "list_title": "ñ" * TITLE_LENGTH,
    "list_about": "ñ" * ABOUT_LENGTH,
}
SHORTEST: Mapping[str, str] = {**dict.fromkeys(LONGEST, "x"), "event_note": ""}
FAR_FUTURE = datetime(2999, 1, 1, tzinfo=UTC)

ContentBuilder = Callable[[AddressedMessage], MessageContent | Refusal]


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """Tries texts with the composer that sends them."""

    composer: Composer
    editions: Editions
    invitations: Invitations

    def check_update(self, edition: Edition, *, list: str, now: datetime) -> None:
        """Try an update to a list; raises BadInput with what to change."""
        self._check_edition(
            edition, "broadcast", list=list, now=now, contents=_constant_content(MessageContent())
        )

    def check_confirmation(self, edition: Edition, *, list: str, now: datetime) -> None:
        """Try the mail that asks to confirm a list; raises BadInput with what to change."""
        content = MessageContent(fields={"confirm_url": self.composer.links.confirm(CONTACT_ID, CONTACT_ID)})
        self._check_edition(edition, "confirmation", list=list, now=now, contents=_constant_content(content))

    def check_invitations(self, edition: Edition, event: Event, *, now: datetime) -> None:
        """Try the invitations to a call, with their calendar entries; raises BadInput with what to change."""

        def contents(letter: AddressedMessage) -> MessageContent | Refusal:
            return self.invitations.build_content(event, letter, now=now)

        key = self.invitations.build_key(event, CONTACT_ID)
        self._check_edition(edition, "invitation", list=event.audience, now=now, contents=contents, key=key)

    def check_shipped(self, session: Session, *, now: datetime) -> None:
        """Try every template with the settings as they are; raises BadInput that names the first fault."""
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
                except BadInput as fault:
                    raise BadInput(f"The letter {name}: {fault}") from fault

    def _sample_contents(self, kind: str) -> Sequence[MessageContent]:
        """Return what a source gives to its texts: each value as long, and as short, as it can be."""
        links = self.composer.links
        urls = {f"rsvp_{answer}_url": links.rsvp(CONTACT_ID, CONTACT_ID, answer=answer) for answer in ANSWERS}
        urls |= {"join_url": LINK, "mine_url": links.profile(CONTACT_ID, until=FAR_FUTURE)}
        urls |= {"confirm_url": links.confirm(CONTACT_ID, CONTACT_ID)}
        longest = {**LONGEST, **urls, **dict.fromkeys(DIGEST_FIELDS, "w" * 300)}
        shortest = {**SHORTEST, **urls, **dict.fromkeys(DIGEST_FIELDS, "")}
        used = POLICY[kind].fields
        return [
            MessageContent(fields={name: text for name, text in given.items() if name in used})
            for given in (longest, shortest)
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
                if len(content["html"]) + len(content["text"]) > MOST_OCTETS:
                    raise BadInput("It is too long for one message. Shorten it.")
                asked = sorted(rendering.list_constants(content["subject"]))[:MOST_CONSTANTS]
                for reader in _sample_recipients(language, [*names, *asked]):
                    said = contents(AddressedMessage(entry=entry, recipient=reader))
                    if isinstance(said, Refusal):
                        raise BadInput(said.why.removeprefix(held_messages.OUR_FAULT))
                    self._check_message(entry, reader, said, edition)
            except BadInput as fault:
                raise BadInput(f"The {LANGUAGE_NAMES[language]} text cannot be sent. {fault}") from fault

    def _check_message(
        self, entry: Entry, recipient: Recipient, content: MessageContent, edition: Edition
    ) -> None:
        fields = add_greeting(
            edition, recipient.language, self.composer.build_fields(entry, recipient, content)
        )
        subject = templates.get_renderer(edition, recipient.language).render(fields).subject
        if not subject:
            whom = "without a name" if not recipient.name else f"called “{recipient.name[:20]}”"
            raise BadInput(f"Its subject is empty for readers {whom}. Write words that stand in any case.")
        if len(subject) > mime.MOST_SUBJECT:
            raise BadInput(
                f"The subject has {len(subject):,} characters for a reader with a long name; at most"
                f" {mime.MOST_SUBJECT} fit. Shorten it."
            )
        octets = len(mime.encode(self.composer.build_mime(entry, recipient, content, edition)))
        if octets > MOST_OCTETS:
            raise BadInput(
                f"It makes a message of {octets:,} octets; at most {MOST_OCTETS:,} can be sent. Shorten it."
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
    """Return made-up readers of a language, one of each name that somebody can have."""
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
