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
from lists.catalog import ABOUT_LENGTH, NAME_LENGTH, SPOKEN, TITLE_LENGTH
from lists.errors import BadInput
from lists.permission import Reader
from mailer.compose import mime
from mailer.compose.composer import Composer
from mailer.compose.editions import Editions, personal
from mailer.compose.source import Addressed, Content, Refusal
from mailer.events import events
from mailer.events.events import Event
from mailer.outbox import held_messages
from mailer.outbox.outbox import Entry
from mailer.policy import NOTICE_FIELDS, POLICY
from mailer.sources.invitations import ANSWERS, Invitations
from mailer.templates import rendering, templates
from mailer.templates.templates import Edition

MOST_OCTETS = 500_000  # of a whole message; far beyond what mail programs show at once
CONTACT = 2**53  # a made-up contact, with a number as long as any
LIST = "l" * NAME_LENGTH
DOMAIN = ".".join(["d" * 57, "e" * 57, "f" * 61, "example.org"])
ADDRESS = f"{'l' * MAX_LOCAL_OCTETS}@{DOMAIN}"  # MAX_OCTETS in all
WIDE_ADDRESS = f"{'ñ' * (MAX_LOCAL_OCTETS // 2)}@{DOMAIN}"
LONG_NAMES = ("x", "ﬃ", "\N{FAMILY}", '"\\', "ي", "=?a?q?b?=")  # each as often as a name has room for
NAMES = ("", *(name * (contacts.NAME_LENGTH // len(name)) for name in LONG_NAMES), "a, b@c.example;")
MOST_ASKED = 50  # texts in quotes of one subject
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
FAR = datetime(2999, 1, 1, tzinfo=UTC)

Contents = Callable[[Addressed], Content | Refusal]


@dataclass(frozen=True, kw_only=True)
class Preflight:
    """Tries texts with the composer that sends them."""

    composer: Composer
    editions: Editions
    invitations: Invitations

    def update(self, edition: Edition, *, list: str, now: datetime) -> None:
        """Try an update to a list; raises BadInput with what to change."""
        self._try(edition, "broadcast", list=list, now=now, contents=_always(Content()))

    def question(self, edition: Edition, *, list: str, now: datetime) -> None:
        """Try the mail that asks to confirm a list; raises BadInput with what to change."""
        content = Content(fields={"confirm_url": self.composer.links.confirm(CONTACT, CONTACT)})
        self._try(edition, "confirmation", list=list, now=now, contents=_always(content))

    def call(self, edition: Edition, event: Event, *, now: datetime) -> None:
        """Try the invitations to a call, with their calendar entries; raises BadInput with what to change."""

        def contents(letter: Addressed) -> Content | Refusal:
            return self.invitations.content(event, letter, now=now)

        key = self.invitations.key(event, CONTACT)
        self._try(edition, "invitation", list=event.audience, now=now, contents=contents, key=key)

    def shipped(self, session: Session, *, now: datetime) -> None:
        """Try every template with the settings as they are; raises BadInput that names the first fault."""
        for name, template in self.editions.templates.items():
            kind = self.editions.kinds[name]
            edition = self.editions.freeze(session, template, kind, now=now)
            for content in self._samples(kind):
                try:
                    self._try(edition, kind, list=LIST, now=now, contents=_always(content), names=NAMES[:3])
                except BadInput as fault:
                    raise BadInput(f"The letter {name}: {fault}") from fault

    def _samples(self, kind: str) -> Sequence[Content]:
        """Return what a source gives to its texts: each value as long, and as short, as it can be."""
        links = self.composer.links
        urls = {f"rsvp_{answer}_url": links.rsvp(CONTACT, CONTACT, answer=answer) for answer in ANSWERS}
        urls |= {"join_url": LINK, "mine_url": links.mine(CONTACT, until=FAR)}
        urls |= {"confirm_url": links.confirm(CONTACT, CONTACT)}
        longest = {**LONGEST, **urls, **dict.fromkeys(NOTICE_FIELDS, "w" * 300)}
        shortest = {**SHORTEST, **urls, **dict.fromkeys(NOTICE_FIELDS, "")}
        used = POLICY[kind].fields
        return [
            Content(fields={name: text for name, text in given.items() if name in used})
            for given in (longest, shortest)
        ]

    def _try(
        self,
        edition: Edition,
        kind: str,
        *,
        list: str,
        now: datetime,
        contents: Contents,
        key: str = "",
        names: Sequence[str] = NAMES,
    ) -> None:
        entry = _entry(kind, list=list, now=now, key=key)
        for language, content in edition.content.items():
            try:
                if len(content["html"]) + len(content["text"]) > MOST_OCTETS:
                    raise BadInput("It is too long for one message. Shorten it.")
                asked = sorted(rendering.constants(content["subject"]))[:MOST_ASKED]
                for reader in _readers(language, [*names, *asked]):
                    said = contents(Addressed(entry=entry, reader=reader))
                    if isinstance(said, Refusal):
                        raise BadInput(said.why.removeprefix(held_messages.OUR_FAULT))
                    self._write(entry, reader, said, edition)
            except BadInput as fault:
                raise BadInput(f"The {SPOKEN[language]} text cannot be sent. {fault}") from fault

    def _write(self, entry: Entry, reader: Reader, content: Content, edition: Edition) -> None:
        fields = personal(edition, reader.language, self.composer.fields(entry, reader, content))
        subject = templates.renderer(edition, reader.language).render(fields).subject
        if not subject:
            whom = "without a name" if not reader.name else f"called “{reader.name[:20]}”"
            raise BadInput(f"Its subject is empty for readers {whom}. Write words that stand in any case.")
        if len(subject) > mime.MOST_SUBJECT:
            raise BadInput(
                f"The subject has {len(subject):,} characters for a reader with a long name; at most"
                f" {mime.MOST_SUBJECT} fit. Shorten it."
            )
        octets = len(mime.encode(self.composer.letter(entry, reader, content, edition)))
        if octets > MOST_OCTETS:
            raise BadInput(
                f"It makes a message of {octets:,} octets; at most {MOST_OCTETS:,} can be sent. Shorten it."
            )


def _always(content: Content) -> Contents:
    return lambda _: content


def _entry(kind: str, *, list: str, now: datetime, key: str) -> Entry:
    return Entry(
        id=CONTACT,
        key=key or f"{kind}/preflight",
        kind=kind,
        list=list,
        contact_id=CONTACT,
        edition_id=0,
        ref=0,
        attempt=1,
        tries=0,
        queued_at=now,
        expires_at=now,
    )


def _readers(language: str, names: Sequence[str]) -> Iterator[Reader]:
    """Return made-up readers of a language, one of each name that somebody can have."""
    for number, name in enumerate(name for name in names if len(name) <= contacts.NAME_LENGTH):
        yield Reader(
            id=CONTACT,
            email=WIDE_ADDRESS if number % 2 else ADDRESS,
            name=name,
            language=language,
            zone=ZONE,
            city="c" * contacts.DETAIL_LENGTH,
            discreet=number % 3 == 1,
            refusal=None,
        )
