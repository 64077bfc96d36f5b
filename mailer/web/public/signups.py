"""What the two sign-up forms have in common: reading the fields, the brakes, the answer that tells nothing.

Known, unknown and left addresses, machines and people get the same page; the door pads the time it takes.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from lists import addresses, geography
from lists.addresses import Address
from lists.contacts import LANGUAGES, NAME_LENGTH
from lists.errors import BadAddress, BadZip
from lists.geography import Place
from mailer.coordination import signup_throttle
from mailer.smtp import capabilities
from mailer.web.visit import Page, Visit

LONGEST_SEEN = 4_000  # characters of a field that are shown again


@dataclass(kw_only=True)
class Reading:
    """A sign-up form being read: what was written, and the sentence for each field that must be mended."""

    visit: Visit
    names: tuple[str, ...]
    written: dict[str, str] = field(default_factory=dict)
    mistakes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        form = self.visit.form
        self.written = {name: form.get(name, "")[:LONGEST_SEEN].strip() for name in self.names}

    def address(self) -> Address | None:
        """Read the email address."""
        words, text = self.visit.words.form, self.written["email"]
        if not text:
            self.mistakes["email"] = words.email_missing
            return None
        try:
            address = addresses.parse(
                text, pepper=self.visit.service.keys.pepper, language=self.visit.language
            )
        except BadAddress as fault:
            self.mistakes["email"] = str(fault)
            return None
        if not address.email.isascii() and not self._can_be_written_to():
            self.mistakes["email"] = words.email_beyond_ascii
            return None
        return address

    def _can_be_written_to(self) -> bool:
        """Tell whether a mail server of ours may take addresses with letters beyond ASCII before the @."""
        service = self.visit.service
        with service.database.read() as session:
            return capabilities.can_carry_smtputf8(session, service.relay_names)

    def place(self, *, needed: bool) -> Place | None:
        """Read the ZIP code; one that is not needed may be empty."""
        words, text = self.visit.words.form, self.written["zip"]
        if not text:
            if needed:
                self.mistakes["zip"] = words.zip_missing
            return None
        try:
            place = geography.find(text)
        except BadZip:
            self.mistakes["zip"] = words.zip_bad
            return None
        if place is None:
            self.mistakes["zip"] = words.zip_unknown_organize if needed else words.zip_unknown
        return place

    def language(self) -> str:
        """Read the language of the mails; a form without it gets the page's."""
        chosen = self.written["language"] or self.visit.language
        if chosen not in LANGUAGES:
            self.mistakes["language"] = self.visit.words.form.language_bad
        return chosen

    def line(self, name: str, *, limit: int = NAME_LENGTH, several: bool = False) -> str:
        """Read a text of at most `limit` characters, on one line unless it may have `several`."""
        words, text = self.visit.words.form, self.written[name]
        plain = text.replace("\r", "").replace("\n", "") if several else text
        if len(text) > limit:
            self.mistakes[name] = words.too_long(limit=limit)
        elif not plain.isprintable():
            self.mistakes[name] = words.odd_signs
        return text


def form(
    reading: Reading,
    template: str,
    *,
    status: int = 200,
    again: bool = False,
    looked_at: bool = True,
    own: Mapping[str, object] | None = None,
) -> Page:
    """Show the form with what was written so far, and what must be mended; `own` is the page's own."""
    values = {
        **(own or {}),
        "written": reading.written,
        "mistakes": reading.mistakes,
        "again": again,
        "opened": reading.visit.opened(already=looked_at),
    }
    return Page(visit=reading.visit, template=template, values=values, status=status)


def mended(reading: Reading, template: str, own: Mapping[str, object] | None = None) -> Page:
    """Show the form again with the address that was chosen on the answer page."""
    reading.written["email"] = reading.visit.form["mend"][:LONGEST_SEEN].strip()
    return form(reading, template, own=own)


def braked(session: Session, visit: Visit) -> bool:
    """Count this sign-up and tell whether there are too many, from this network or from everywhere."""
    return not signup_throttle.admit_signup(session, visit.source, now=visit.now)


def mailbox(visit: Visit, address: Address) -> bytes:
    """Return 16 bytes that stand for the mailbox that an address probably leads to, and tell it to nobody."""
    written = f"mailbox/{addresses.guess_mailbox(address.key)}".encode()
    return hmac.digest(visit.service.keys.pepper, written, hashlib.sha256)[:16]


def answer(reading: Reading) -> Page:
    """Say where to look for the mail; the same for everybody."""
    visit, settings = reading.visit, reading.visit.service.settings
    shown = settings.from_name
    if reading.written["discreet"]:
        shown = visit.service.composer.sender.discreet_wordings[reading.language()].sender
    values: Mapping[str, object] = {
        "written": reading.written,
        "opened": visit.opened(),
        "mend": addresses.suggest_correction(reading.written["email"]),
        "sender": f"{shown} <{settings.from_address}>",
    }
    return Page(visit=visit, template="sent.html", values=values)


def too_many(visit: Visit) -> Page:
    """Say that sign-ups are limited for now."""
    return Page(visit=visit, template="error.html", values={"status": 429}, status=429)
