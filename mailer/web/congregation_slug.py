"""Congregation slug: the short name of a congregation in the address of the form, from a sign-up sheet."""

import re
import unicodedata

from lists import contacts
from lists.errors import BadInput

MAX_LENGTH = 40
_PATTERN = re.compile(rf"[a-z0-9-]{{1,{MAX_LENGTH}}}")


def make(congregation: str) -> str:
    """Return the slug of a congregation, as used in the address of the form: “St. Mark” is “st-mark”.

    Raises BadInput for a name without any Latin letter or digit, and for one that cannot be printed.
    """
    name = contacts.clean(congregation, label="name of the congregation")
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = "-".join(re.findall(r"[a-z0-9]+", plain))[:MAX_LENGTH].strip("-")
    if not slug:
        raise BadInput("The name of the congregation needs letters or digits: the QR code carries it.")
    return slug


def parse(text: str) -> str:
    """Return a slug as it came with a link, or "" for an invalid one."""
    return text if _PATTERN.fullmatch(text) else ""
