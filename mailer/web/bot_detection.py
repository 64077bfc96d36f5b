"""Bot detection: a field that people do not see, and the signed time at which a form was opened."""

import hmac
from datetime import datetime, timedelta

from lists import keyed_hash
from lists.db import EPOCH

MIN_FILL_TIME = timedelta(milliseconds=250)  # a phone may fill a form at once, then a person presses
FORM_LIFETIME = timedelta(hours=24)  # a form that is older must be confirmed again
HONEYPOT_FIELD = "office_fax"
MILLISECOND = timedelta(milliseconds=1)


class FormTimestamps:
    """Signs the time when a form was opened, by the machine's clock, and verifies it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, opened_at: datetime) -> str:
        """Return a text for a hidden field: milliseconds since 1970 and a signature."""
        milliseconds = str((opened_at - EPOCH) // MILLISECOND)
        return f"{milliseconds}.{self._signature(milliseconds)}"

    def read(self, timestamp: str, *, now: datetime) -> datetime | None:
        """Return when the form was opened; None for a wrong signature or a timestamp that is a day old."""
        milliseconds, _, signature = timestamp.partition(".")
        if not milliseconds.isascii() or not hmac.compare_digest(
            self._signature(milliseconds).encode(), signature.encode("utf-8", "replace")
        ):
            return None
        opened_at = EPOCH + int(milliseconds) * MILLISECOND
        return opened_at if opened_at > now - FORM_LIFETIME else None

    def _signature(self, milliseconds: str) -> str:
        return keyed_hash.compute(self._secret, "form", milliseconds).hex()
