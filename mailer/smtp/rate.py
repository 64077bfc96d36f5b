"""Rate: a number of messages in a period, such as `600/hour`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

PERIODS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
RATE_FORMS = "5/second, 20/minute, 600/hour or 50000/day"

MAX_GRACE = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)

ANY_OTHER_DOMAIN = "*"
DOMAIN_FORMS = "gmail.com=100/minute, outlook.com=20/minute or *=1000/hour"

_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)")
_DOMAIN = re.compile(r"\*|(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")


@dataclass(frozen=True, kw_only=True)
class Rate:
    """At most `limit` messages in any window as long as `period`."""

    limit: int
    period: timedelta

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `600/hour`; raises ValueError with what to write."""
        match = _RATE.fullmatch(text)
        if not match:
            raise ValueError(f"write a rate such as {RATE_FORMS}")
        return cls(limit=int(match[1]), period=PERIODS[match[2]])

    @property
    def grace(self) -> timedelta:
        """How long after its slot a message may still begin; see mailer/coordination/rate_limits.py."""
        return min(MAX_GRACE, self.period / 10)

    @property
    def spacing(self) -> timedelta:
        """How far apart slots are, in whole microseconds, rounded up."""
        return -(-(self.period + self.grace) // MICROSECOND // self.limit) * MICROSECOND

    def __str__(self) -> str:
        unit = next((name for name, period in PERIODS.items() if period == self.period), f"{self.period}")
        return f"{self.limit}/{unit}"


def parse_per_domain(texts: Sequence[str]) -> Mapping[str, Rate]:
    """Read `gmail.com=100/minute` and the like, by domain; raises ValueError with what to write.

    `*` is every domain that is not named; each has its own limit.
    """
    rates: dict[str, Rate] = {}
    for text in texts:
        domain, _, rate = text.rpartition("=")
        if not _DOMAIN.fullmatch(domain.lower()) or not _RATE.fullmatch(rate):
            raise ValueError(f"write domains and rates, such as {DOMAIN_FORMS}")
        if domain.lower() in rates:
            raise ValueError(f"write {domain} once")
        rates[domain.lower()] = Rate.parse(rate)
    return rates
