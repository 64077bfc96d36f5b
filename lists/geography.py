"""Geography: ZIP code → city, county, state, time zone and coarse coordinates, all offline.

The data has errors: 872 places are at 0/0, 823 military ZIP codes have no time zone, 977 places no county,
and one has a time zone that does not exist. An unknown value is "" or None, never a wrong one. This is the
only module that imports zipcodes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from lists.errors import BadZip

REGION_DIGITS = 3  # one scan of the data finds the 50 codes of a region as fast as a single code, in 0.5 ms
REGION_CACHE_SIZE = 1000  # regions, all of them: the 42,789 places take 8 MB
COORDINATE_DECIMALS = 1  # decimals of a degree: about seven miles, a town and not a street

ZIP_PATTERN = re.compile(r"([0-9]{5})(?:[- ]?[0-9]{4})?", re.ASCII)
SENTENCES = {
    "en": "“{shown}” is not a ZIP code: write its five digits, like 85003, or leave it empty.",
    "es": "«{shown}» no es un código postal: escriba sus cinco cifras, como 85003, o déjelo vacío.",
}
MAX_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of a ZIP code: `state` in two letters, degrees rounded to 0.1.

    `county` and `zone` (an IANA name that this machine has) are "" and the coordinates are None when unknown.
    A ZIP code can lie in several counties; `county` is the one with its largest part, so a person may correct
    it.
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

    Raises BadZip with a sentence in `language` ("en" or "es") when the text does not have the form of one.
    """
    match = ZIP_PATTERN.fullmatch(zip.strip(" "))
    if match is None:
        shown = "".join(character for character in zip[:MAX_SHOWN] if character.isprintable())
        raise BadZip(SENTENCES.get(language, SENTENCES["en"]).format(shown=shown))
    code = match.group(1)
    return _load_region(code[:REGION_DIGITS]).get(code)


@lru_cache(maxsize=REGION_CACHE_SIZE)
def _load_region(digits: str) -> Mapping[str, Place]:
    """Return every place whose ZIP code begins with these digits."""
    import zipcodes  # imported late: its table takes 0.3 s and 55 MB, and most commands do not need it

    rows: list[dict[str, Any]] = zipcodes.similar_to(digits)  # type: ignore[no-untyped-call]
    return {
        row["zip_code"]: _make_place(row) for row in reversed(rows)
    }  # reversed, so that the first of two rows wins


def _make_place(row: dict[str, Any]) -> Place:
    latitude, longitude = float(row["lat"] or 0), float(row["long"] or 0)
    is_unknown = latitude == 0 and longitude == 0
    return Place(
        zip=row["zip_code"],
        city=row["city"] or "",
        county=row["county"] or "",
        state=row["state"] or "",
        zone=_valid_zone(row["timezone"] or ""),
        latitude=None if is_unknown else round(latitude, COORDINATE_DECIMALS),
        longitude=None if is_unknown else round(longitude, COORDINATE_DECIMALS),
    )


@lru_cache(maxsize=128)
def _valid_zone(zone: str) -> str:
    """Return the zone when this machine's zone database has it, else ""."""
    try:
        return ZoneInfo(zone).key if zone else ""
    except (KeyError, ValueError, OSError):  # an unknown name, a malformed one, one that is a folder
        return ""
