"""Rate: so many in so long, such as `600/hour`."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

PERIODS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
FORMS = "5/second, 20/minute, 600/hour or 50000/day"

_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """At most `limit` in any stretch of time as long as `period`."""

    limit: int
    period: timedelta

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `600/hour`; raises ValueError with what to write."""
        found = _RATE.fullmatch(text)
        if not found:
            raise ValueError(f"write a rate such as {FORMS}")
        return cls(limit=int(found[1]), period=PERIODS[found[2]])

    def __str__(self) -> str:
        unit = next((name for name, period in PERIODS.items() if period == self.period), f"{self.period}")
        return f"{self.limit}/{unit}"
