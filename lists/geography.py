"""ZIP → city, county, state, time zone, coarse position, all offline; the only importer of zipcodes.

The data has traps: 872 places lie at 0/0, 823 military ZIPs have no time zone, 977 places no county, and
one has a time zone that does not exist. What is not known is "" or None here, never a wrong answer.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from lists.errors import BadZip

REGION_DIGITS = (
    3  # digits; one scan of the data finds the 50 codes of a region as fast as a single code, in 0.5 ms
)
REGION_CACHE_SIZE = 1000  # all of them: the 42,789 places kept as they are here take 8 MB
COORDINATE_DECIMALS = 1  # decimals of a degree: about seven miles, a town and not a street

ZIP_PATTERN = re.compile(r"([0-9]{5})(?:[- ]?[0-9]{4})?", re.ASCII)
SENTENCES = {
    "en": "“{shown}” is not a ZIP code: write its five digits, like 85003, or leave it empty.",
    "es": "«{shown}» no es un código postal: escriba sus cinco cifras, como 85003, o déjelo vacío.",
}
MAX_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a ZIP code is: names as people write them, `state` in two letters, degrees rounded to 0.1.

    `county` and `zone` (an IANA name that this machine knows) are "" and the position is None when unknown.
    A ZIP can lie in several counties; this is the one where most of it lies, so a person may correct it.
    """

    zip: str
    city: str
    county: str
    state: str
    zone: str
    latitude: float | None
    longitude: float | None


def find(zip: str, *, language: str = "en") -> Place | None:
    """Return the place of a ZIP code ("85003", "85003-1234"), or None when there is no such code.

    Raises BadZip with a sentence in `language` ("en" or "es") when the text has not the shape of one.
    """
    shape = ZIP_PATTERN.fullmatch(zip.strip(" "))
    if shape is None:
        shown = "".join(letter for letter in zip[:MAX_SHOWN] if letter.isprintable())
        raise BadZip(SENTENCES.get(language, SENTENCES["en"]).format(shown=shown))
    five = shape.group(1)
    return _load_region(five[:REGION_DIGITS]).get(five)


@lru_cache(maxsize=REGION_CACHE_SIZE)
def _load_region(digits: str) -> Mapping[str, Place]:
    """Return every place whose ZIP code begins with these digits."""
    import zipcodes  # here, because its table takes 0.3 s and 55 MB, and most commands never need it

    found: list[dict[str, Any]] = zipcodes.similar_to(digits)  # type: ignore[no-untyped-call]
    return {row["zip_code"]: _make_place(row) for row in reversed(found)}  # of two, the first


def _make_place(row: dict[str, Any]) -> Place:
    latitude, longitude = float(row["lat"] or 0), float(row["long"] or 0)
    nowhere = latitude == 0 and longitude == 0
    return Place(
        zip=row["zip_code"],
        city=row["city"] or "",
        county=row["county"] or "",
        state=row["state"] or "",
        zone=_valid_zone(row["timezone"] or ""),
        latitude=None if nowhere else round(latitude, COORDINATE_DECIMALS),
        longitude=None if nowhere else round(longitude, COORDINATE_DECIMALS),
    )


@lru_cache(maxsize=128)
def _valid_zone(zone: str) -> str:
    """Return the zone when this machine's zone database has it, else ""."""
    try:
        return ZoneInfo(zone).key if zone else ""
    except (KeyError, ValueError, OSError):  # an unknown name, a malformed one, one that is a folder
        return ""
