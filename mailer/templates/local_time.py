"""Local time: a moment in words, for readers who may live in another time zone.

Clock times are those of the zone database (zoneinfo), words are CLDR's (babel), except for the names that
people in the United States give to their zones: CLDR's are too stiff ("hora de las Montañas Rocosas").
"""

from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

EASTERN = ("Eastern", "hora del Este")
CENTRAL = ("Central", "hora del Centro")
MOUNTAIN = ("Mountain", "hora de la Montaña")
ALASKA = ("Alaska", "hora de Alaska")
INDIANA_EASTERN = ("Indianapolis", "Marengo", "Petersburg", "Vevay", "Vincennes", "Winamac")
ZONE_NAMES = {
    "America/New_York": EASTERN,
    "America/Detroit": EASTERN,
    "America/Kentucky/Louisville": EASTERN,
    "America/Kentucky/Monticello": EASTERN,
    **{f"America/Indiana/{place}": EASTERN for place in INDIANA_EASTERN},
    "America/Chicago": CENTRAL,
    "America/Menominee": CENTRAL,
    "America/Indiana/Knox": CENTRAL,
    "America/Indiana/Tell_City": CENTRAL,
    **{f"America/North_Dakota/{place}": CENTRAL for place in ("Beulah", "Center", "New_Salem")},
    "America/Denver": MOUNTAIN,
    "America/Boise": MOUNTAIN,
    "America/Phoenix": (
        "Arizona",
        "hora de Arizona",
    ),  # never changes its clocks, so "Mountain" would mislead
    "America/Los_Angeles": ("Pacific", "hora del Pacífico"),
    **{
        f"America/{place}": ALASKA
        for place in ("Anchorage", "Juneau", "Nome", "Sitka", "Yakutat", "Metlakatla")
    },
    "Pacific/Honolulu": ("Hawaii", "hora de Hawái"),
    "America/Puerto_Rico": ("Atlantic", "hora del Atlántico"),
    "America/St_Thomas": ("Atlantic", "hora del Atlántico"),
    "UTC": ("UTC", "UTC"),
}
DAY_FORMATS = {"en": ("en_US", "EEEE, MMMM d"), "es": ("es_US", "EEEE d 'de' MMMM")}
DAY_PERIODS = {
    "en": ("am", "pm", "midnight", "noon"),
    "es": ("a. m.", "p. m.", "de la noche", "del mediodía"),
}
READER_TIME = {"en": ("your time", "your time in {city}"), "es": ("su hora", "su hora en {city}")}
SAME_TIME = {"en": "the same time in {city}", "es": "la misma hora en {city}"}
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


def format_for_reader(
    moment: datetime, *, zone: str, language: str, reader_zone: str = "", city: str = ""
) -> str:
    """Return the organizer's time (`zone`) in words, and the reader's where their clock shows another time.

    "Tuesday, December 8, 8:00 pm Eastern, 6:00 pm your time in Phoenix". A reader whose zone is unknown ("",
    or a name missing in this machine's database) gets the organizer's time; one with the same clock, one
    time.
    """
    language = language if language in DAY_FORMATS else "en"
    start = moment.astimezone(ZoneInfo(zone))
    zone_label = zone_name(zone, language=language)
    sentence = (
        f"{format_day(start.date(), language=language)}, {format_time(start, language=language)} {zone_label}"
    )
    reader_tz = find_zone(reader_zone)
    if reader_tz is None:
        return sentence
    reader_start = moment.astimezone(reader_tz)
    if reader_start.utcoffset() == start.utcoffset():
        omits_city = not city or zone_name(reader_zone, language=language) == zone_label
        return sentence if omits_city else f"{sentence}, {SAME_TIME[language].format(city=city)}"
    without_city, with_city = READER_TIME[language]
    reader_label = with_city.format(city=city) if city else without_city
    day_prefix = (
        f"{format_day(reader_start.date(), language=language)}, "
        if reader_start.date() != start.date()
        else ""
    )
    return f"{sentence}, {day_prefix}{format_time(reader_start, language=language)} {reader_label}"


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


def format_day(local: date, *, language: str) -> str:
    """Return "Tuesday, December 8" or "martes 8 de diciembre"."""
    from babel.dates import format_date  # here, because most commands never need its words

    locale, pattern = DAY_FORMATS[language]
    return format_date(local, pattern, locale=locale)


def format_full_date(local: date, *, language: str) -> str:
    """Return "December 8, 2026" or "8 de diciembre de 2026"."""
    from babel.dates import format_date  # here, because most commands never need its words

    return format_date(local, "long", locale=DAY_FORMATS[language][0])


def format_time(local: datetime, *, language: str) -> str:
    """Return "8:00 pm" or "8:00 p. m."; twelve o'clock is "12:00 noon" or "12:00 midnight"."""
    morning, afternoon, midnight, noon = DAY_PERIODS[language]
    hour = local.hour % 12 or 12
    if local.minute == 0 and hour == 12:
        return f"12:00 {noon if local.hour else midnight}"
    return f"{hour}:{local.minute:02d} {afternoon if local.hour >= 12 else morning}"


def zone_name(zone: str, *, language: str) -> str:
    """Return the everyday name of a zone: "Eastern", "hora del Este"; by its city where it has none."""
    spanish = language == "es"
    if zone in ZONE_NAMES:
        return ZONE_NAMES[zone][spanish]
    city = zone.rpartition("/")[2].replace("_", " ")
    return f"hora de {city}" if spanish else f"{city} time"


@lru_cache(maxsize=256)
def find_zone(zone: str) -> ZoneInfo | None:
    """Return the zone when this machine's zone database has it, else None."""
    try:
        return ZoneInfo(zone) if zone else None
    except (KeyError, ValueError, OSError):
        return None


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
