"""Clock change: a sentence for readers when clocks change between a mail and the call that it invites to."""

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from mailer.templates.local_time import DAY_FORMATS, find_zone, format_day, zone_name

HOUR = timedelta(hours=1)

CHANGE_SENTENCE = {
    "en": "{where} {moves} on {day}, before this call",
    "es": "{where} {moves} el {day}, antes de esta llamada",
}
CLOCK_CHANGES = {
    "en": ("clocks go forward one hour", "clocks go back one hour", "clocks change"),
    "es": ("los relojes se adelantan una hora", "los relojes se atrasan una hora", "los relojes cambian"),
}
NO_CHANGE_CLAUSE = {"en": "; {where} clocks do not change", "es": "; {where} los relojes no cambian"}
IN_ZONE = {"en": "on {zone} time", "es": "en la {zone}"}
IN_CITY = {"en": ("where you are", "in {city}"), "es": ("donde usted está", "en {city}")}
CHANGE_INCLUDED = {
    "en": ("The time given here already counts that.", "The times given here already count that."),
    "es": (
        "La hora indicada aquí ya lo tiene en cuenta.",
        "Las horas indicadas aquí ya lo tienen en cuenta.",
    ),
}


def describe_clock_change(
    moment: datetime, *, sent_at: datetime, zone: str, language: str, reader_zone: str = "", city: str = ""
) -> str:
    """Return a sentence or two on changes of clocks between `sent_at` and the call, "" where there are none.

    A change that has been undone before the call (autumn and spring both lie between) is omitted.
    """
    language = language if language in DAY_FORMATS else "en"
    reader_tz = find_zone(reader_zone)
    organizer_change = _find_change(zone, sent_at, moment)
    reader_change = _find_change(reader_zone, sent_at, moment) if reader_tz else organizer_change
    organizer_place = IN_ZONE[language].format(zone=zone_name(zone, language=language))
    without_city, with_city = IN_CITY[language]
    reader_place = with_city.format(city=city) if city else without_city
    if organizer_change is not None and organizer_change == reader_change:
        sentence = _describe_change(organizer_change, where="", language=language)
    elif organizer_change is not None and reader_change is not None:
        first = _describe_change(organizer_change, where=organizer_place, language=language)
        sentence = f"{first}. {_describe_change(reader_change, where=reader_place, language=language)}"
    elif organizer_change is not None:
        sentence = _describe_change(
            organizer_change, where=organizer_place, language=language
        ) + NO_CHANGE_CLAUSE[language].format(where=reader_place)
    elif reader_change is not None:
        sentence = _describe_change(reader_change, where=reader_place, language=language) + NO_CHANGE_CLAUSE[
            language
        ].format(where=organizer_place)
    else:
        return ""
    has_two_times = reader_tz is not None and moment.astimezone(reader_tz).utcoffset() != _offset(
        zone, moment
    )
    return f"{sentence}. {CHANGE_INCLUDED[language][has_two_times]}"


def _describe_change(change: tuple[date, timedelta], *, where: str, language: str) -> str:
    day, shift = change
    forward, backward, otherwise = CLOCK_CHANGES[language]
    movement = forward if shift == HOUR else backward if shift == -HOUR else otherwise
    words = (
        CHANGE_SENTENCE[language]
        .format(where=where, moves=movement, day=format_day(day, language=language))
        .strip()
    )
    return words[0].upper() + words[1:]


def _offset(zone: str, moment: datetime) -> timedelta | None:
    return moment.astimezone(ZoneInfo(zone)).utcoffset()


@lru_cache(maxsize=256)
def _find_change(zone: str, start: datetime, end: datetime) -> tuple[date, timedelta] | None:
    """Return the day of a zone's last change of clocks between two moments and its size, if one remains."""
    if end <= start or _offset(zone, start) == _offset(zone, end):
        return None
    after = _offset(zone, end)
    low = end
    while low > start and _offset(zone, low) == after:
        low = max(start, low - timedelta(days=1))
    high = low + timedelta(days=1)
    while high - low > timedelta(minutes=1):
        middle = low + (high - low) / 2
        low, high = (low, middle) if _offset(zone, middle) == after else (middle, high)
    before = _offset(zone, low)
    assert before is not None and after is not None
    return high.astimezone(ZoneInfo(zone)).date(), after - before
