"""Tokens: the signed links that let a reader confirm, leave, choose or answer without an account.

A token reads `<parts>.<signature>`, such as `41.clergy-az.9c3e…`: the parts are no secret, the signature
is HMAC-SHA256 cut to 128 bits, keyed per verb, in hexadecimal. So a token holds only letters, digits,
hyphens and dots, ends in a letter or digit (mail programs cut links at other signs), survives a change to
lower or upper case on its way, and has one spelling apart from that: a token altered in anything else is
invalid. Tokens in mails that were sent must stay valid for ever, so a verb's grammar may only be widened.
"""

import hmac
import re
from datetime import datetime

from lists import catalog, keyed_hash
from lists.errors import InvalidLink

MAX_TOKEN_LENGTH = 100

_NUMBER = r"(?:[1-9][0-9]{0,17}|0)"
_NUMBER_PAIR = re.compile(rf"{_NUMBER}\.{_NUMBER}")

# The grammar of a verb's token before its signature, checked when a token is signed and when it is read.
_PAYLOADS: dict[str, re.Pattern[str]] = {
    "confirm": _NUMBER_PAIR,
    "preferences": re.compile(_NUMBER),
    "unsubscribe": re.compile(rf"{_NUMBER}\.{catalog.NAME_PATTERN}"),
    "rsvp": _NUMBER_PAIR,
    "mine": _NUMBER_PAIR,
}


class Tokens:
    """Signs and reads the signed part of a link; reading returns None for any token that was not signed here.

    Signing checks the grammar that reading checks: raises InvalidLink where the link's page would refuse it.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < keyed_hash.OCTETS:
            raise ValueError("the key for links is shorter than 16 bytes")
        self._secret = secret

    def __repr__(self) -> str:
        return "Tokens()"

    def sign_confirm(self, subscription_id: int, round: int) -> str:
        """Return a token to confirm this subscription in its `round` (see lists/subscriptions.py)."""
        return self._sign("confirm", f"{subscription_id}.{round}")

    def read_confirm(self, token: str) -> tuple[int, int] | None:
        """Return (subscription id, round)."""
        return _parse_pair(self._read("confirm", token))

    def sign_preferences(self, contact_id: int) -> str:
        """Return a token to change language, pause and leave for this contact."""
        return self._sign("preferences", f"{contact_id}")

    def read_preferences(self, token: str) -> int | None:
        """Return the contact id."""
        parts = self._read("preferences", token)
        return int(parts[0]) if parts else None

    def sign_unsubscribe(self, contact_id: int, list: str) -> str:
        """Return a token to leave this one list."""
        return self._sign("unsubscribe", f"{contact_id}.{list}")

    def read_unsubscribe(self, token: str) -> tuple[int, str] | None:
        """Return (contact id, list)."""
        parts = self._read("unsubscribe", token)
        return (int(parts[0]), parts[1]) if parts else None

    def sign_rsvp(self, event_id: int, contact_id: int) -> str:
        """Return a token to answer this invitation for this contact."""
        return self._sign("rsvp", f"{event_id}.{contact_id}")

    def read_rsvp(self, token: str) -> tuple[int, int] | None:
        """Return (event id, contact id)."""
        return _parse_pair(self._read("rsvp", token))

    def sign_profile(self, contact_id: int, *, until: datetime) -> str:
        """Return a token to see and change the stored data of this contact, until this moment."""
        return self._sign("mine", f"{contact_id}.{int(until.timestamp())}")

    def read_profile(self, token: str, *, now: datetime) -> int | None:
        """Return the contact id while the token is valid."""
        numbers = _parse_pair(self._read("mine", token))
        return numbers[0] if numbers and now.timestamp() < numbers[1] else None

    def _sign(self, purpose: str, payload: str) -> str:
        if not _PAYLOADS[purpose].fullmatch(payload):
            raise InvalidLink(f"A link to {purpose} would not be read: {payload[:MAX_TOKEN_LENGTH]}.")
        return f"{payload}.{self._signature(purpose, payload)}"

    def _signature(self, purpose: str, payload: str) -> str:
        return keyed_hash.compute(self._secret, "link", f"{purpose}/{payload}").hex()

    def _read(self, purpose: str, token: str) -> list[str] | None:
        """Return the parts of a token that was signed here, in either case of its letters; otherwise None."""
        if len(token) > MAX_TOKEN_LENGTH or not token.isascii():
            return None
        payload, _, signature = token.lower().rpartition(".")
        if not _PAYLOADS[purpose].fullmatch(payload):
            return None
        return (
            payload.split(".") if hmac.compare_digest(self._signature(purpose, payload), signature) else None
        )


class Links:
    """The same verbs as full URLs under the public URL; never built from a request's Host header."""

    def __init__(self, public_url: str, tokens: Tokens) -> None:
        self.home = public_url.rstrip("/")
        self._tokens = tokens

    @property
    def join_url(self) -> str:
        """The page of the interest list."""
        return f"{self.home}/join"

    @property
    def organize_url(self) -> str:
        """The page where a congregation or organization signs up."""
        return f"{self.home}/organize"

    @property
    def privacy_url(self) -> str:
        """The page that describes the stored data."""
        return f"{self.home}/privacy"

    def confirm_url(self, subscription_id: int, round: int) -> str:
        """The page with the confirming button."""
        return f"{self.home}/confirm/{self._tokens.sign_confirm(subscription_id, round)}"

    def preferences_url(self, contact_id: int) -> str:
        """The page of language, pause and leaving."""
        return f"{self.home}/preferences/{self._tokens.sign_preferences(contact_id)}"

    def profile_url(self, contact_id: int, *, until: datetime) -> str:
        """The page of all stored data of this contact; valid until this moment."""
        return f"{self.home}/mine/{self._tokens.sign_profile(contact_id, until=until)}"

    def unsubscribe_url(self, contact_id: int, list: str) -> str:
        """The page, and the RFC 8058 target, to leave one list."""
        return f"{self.home}/unsubscribe/{self._tokens.sign_unsubscribe(contact_id, list)}"

    def rsvp_url(self, event_id: int, contact_id: int, *, answer: str = "") -> str:
        """The page to answer an invitation; `answer` preselects "yes", "maybe" or "no"."""
        page = f"{self.home}/rsvp/{self._tokens.sign_rsvp(event_id, contact_id)}"
        return f"{page}?answer={answer}" if answer else page


def _parse_pair(parts: list[str] | None) -> tuple[int, int] | None:
    return (int(parts[0]), int(parts[1])) if parts else None
