"""Keyed hash: HMAC-SHA256 (RFC 2104) of a text under a key of the installation, separate for each purpose.

Links, suppressions and calendar entries of the past depend on these inputs: a prefix never changes.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Literal

HashPurpose = Literal["address", "mailbox", "source", "form", "link", "invitation", "fingerprint"]

OCTETS = 16
PREFIXES: Mapping[HashPurpose, str] = {
    "address": "",  # an address has an @ and no slash before it, so that no other purpose has the same input
    "mailbox": "mailbox/",
    "source": "source/",
    "form": "web/opened/",
    "link": "mailer/",
    "invitation": "invitation/",
    "fingerprint": "",
}


def compute(key: bytes, purpose: HashPurpose, text: str) -> bytes:
    """Return the first 16 octets of the hash of a text for this purpose."""
    return hmac.digest(key, f"{PREFIXES[purpose]}{text}".encode(), hashlib.sha256)[:OCTETS]
