"""Sign-ups: the common part of both forms: reading fields, the throttle, a response that reveals nothing.

Stored, new and left addresses, programs and people get the same page; the route pads the time it takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from lists import addresses, geography, keyed_hash
from lists.addresses import Address
from lists.contacts import LANGUAGES, NAME_LENGTH
from lists.errors import BadAddress, BadZip
from lists.geography import Place
from mailer.coordination import signup_throttle
from mailer.smtp import capabilities
from mailer.web.page_request import PageRequest, PageResponse

MAX_CHARACTERS_SHOWN = 4_000  # characters of a field that the page shows again


@dataclass(kw_only=True)
class FormInput:
    """A sign-up form while it is read: its values, and the sentence for each field to correct."""

    request: PageRequest
    names: tuple[str, ...]
    values: dict[str, str] = field(default_factory=dict)
    mistakes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        form = self.request.form
        self.values = {name: form.get(name, "")[:MAX_CHARACTERS_SHOWN].strip() for name in self.names}

    def read_address(self) -> Address | None:
        """Read the email address."""
        words, text = self.request.words.form, self.values["email"]
        if not text:
            self.mistakes["email"] = words.email_missing
            return None
        try:
            address = addresses.parse(
                text, pepper=self.request.service.keys.pepper, language=self.request.language
            )
        except BadAddress as fault:
            self.mistakes["email"] = str(fault)
            return None
        if not address.email.isascii() and not self._has_smtputf8_relay():
            self.mistakes["email"] = words.email_beyond_ascii
            return None
        return address

    def _has_smtputf8_relay(self) -> bool:
        """Tell whether a relay of ours may accept addresses with letters beyond ASCII before the @."""
        service = self.request.service
        with service.database.read() as session:
            return capabilities.can_carry_smtputf8(session, service.relay_names)

    def read_place(self, *, needed: bool) -> Place | None:
        """Read the ZIP code; one that is not `needed` may be empty."""
        words, text = self.request.words.form, self.values["zip"]
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

    def read_language(self) -> str:
        """Read the language of the mails; a form without it gets the page's."""
        chosen = self.values["language"] or self.request.language
        if chosen not in LANGUAGES:
            self.mistakes["language"] = self.request.words.form.language_bad
        return chosen

    def read_line(self, name: str, *, limit: int = NAME_LENGTH, several: bool = False) -> str:
        """Read a text of at most `limit` characters, on one line unless it may have `several`."""
        words, text = self.request.words.form, self.values[name]
        line = text.replace("\r", "").replace("\n", "") if several else text
        if len(text) > limit:
            self.mistakes[name] = words.too_long(limit=limit)
        elif not line.isprintable():
            self.mistakes[name] = words.odd_signs
        return text


def show_form(
    form: FormInput,
    template: str,
    *,
    status: int = 200,
    is_expired: bool = False,
    seen_before: bool = True,
    page_values: Mapping[str, object] | None = None,
) -> PageResponse:
    """Show the form with its values so far, and the mistakes; `page_values` are the page's own."""
    values = {
        **(page_values or {}),
        "form_values": form.values,
        "mistakes": form.mistakes,
        "is_expired": is_expired,
        "opened": form.request.form_timestamp(already=seen_before),
    }
    return PageResponse(request=form.request, template=template, values=values, status=status)


def show_corrected(
    form: FormInput, template: str, page_values: Mapping[str, object] | None = None
) -> PageResponse:
    """Show the form again with the address that was chosen on the answer page."""
    form.values["email"] = form.request.form["mend"][:MAX_CHARACTERS_SHOWN].strip()
    return show_form(form, template, page_values=page_values)


def is_throttled(session: Session, request: PageRequest) -> bool:
    """Count this sign-up and tell whether there are too many, from this network or from everywhere."""
    return not signup_throttle.admit_signup(session, request.source, now=request.now)


def hash_mailbox(request: PageRequest, address: Address) -> bytes:
    """Return 16 bytes that stand for the mailbox that an address probably leads to, without revealing it."""
    mailbox = addresses.guess_mailbox(address.key)
    return keyed_hash.compute(request.service.keys.pepper, "mailbox", mailbox)


def show_sent(form: FormInput) -> PageResponse:
    """Show where to look for the mail; the same for every address."""
    request, settings = form.request, form.request.service.settings
    sender = settings.from_name
    if form.values["discreet"]:
        sender = request.service.composer.sender.discreet_wordings[form.read_language()].sender
    values: Mapping[str, object] = {
        "form_values": form.values,
        "opened": request.form_timestamp(),
        "correction": addresses.suggest_correction(form.values["email"]),
        "sender": f"{sender} <{settings.from_address}>",
    }
    return PageResponse(request=request, template="sent.html", values=values)


def show_throttled(request: PageRequest) -> PageResponse:
    """Show that sign-ups are limited for now."""
    return PageResponse(request=request, template="error.html", values={"status": 429}, status=429)
