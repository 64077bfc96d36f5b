"""A moment in words: when something takes place, for people who may live in another time zone.

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
    """Say when it is for the organizer (`zone`), and for a reader whose clock shows another time.

    "Tuesday, December 8, 8:00 pm Eastern, 6:00 pm your time in Phoenix". A reader whose zone is unknown ("",
    or a name this machine does not know) is told the organizer's time; one with the same clock, one time.
    """
    language = language if language in DAY_FORMATS else "en"
    here = moment.astimezone(ZoneInfo(zone))
    named = zone_name(zone, language=language)
    said = f"{format_day(here.date(), language=language)}, {format_time(here, language=language)} {named}"
    theirs = find_zone(reader_zone)
    if theirs is None:
        return said
    there = moment.astimezone(theirs)
    if there.utcoffset() == here.utcoffset():
        plain = not city or zone_name(reader_zone, language=language) == named
        return said if plain else f"{said}, {SAME_TIME[language].format(city=city)}"
    nowhere, somewhere = READER_TIME[language]
    place = somewhere.format(city=city) if city else nowhere
    date = f"{format_day(there.date(), language=language)}, " if there.date() != here.date() else ""
    return f"{said}, {date}{format_time(there, language=language)} {place}"


def describe_clock_change(
    moment: datetime, *, sent_at: datetime, zone: str, language: str, reader_zone: str = "", city: str = ""
) -> str:
    """Say in a sentence or two that clocks change between `sent_at` and the call, and whose do not; else "".

    A change that has been undone before the call (autumn and spring both lie between) is not told.
    """
    language = language if language in DAY_FORMATS else "en"
    theirs = find_zone(reader_zone)
    ours = _find_change(zone, sent_at, moment)
    yours = _find_change(reader_zone, sent_at, moment) if theirs else ours
    at_ours = IN_ZONE[language].format(zone=zone_name(zone, language=language))
    nowhere, somewhere = IN_CITY[language]
    at_yours = somewhere.format(city=city) if city else nowhere
    if ours is not None and ours == yours:
        told = _describe_change(ours, where="", language=language)
    elif ours is not None and yours is not None:
        first = _describe_change(ours, where=at_ours, language=language)
        told = f"{first}. {_describe_change(yours, where=at_yours, language=language)}"
    elif ours is not None:
        told = _describe_change(ours, where=at_ours, language=language) + NO_CHANGE_CLAUSE[language].format(
            where=at_yours
        )
    elif yours is not None:
        told = _describe_change(yours, where=at_yours, language=language) + NO_CHANGE_CLAUSE[language].format(
            where=at_ours
        )
    else:
        return ""
    two_times = theirs is not None and moment.astimezone(theirs).utcoffset() != _offset(zone, moment)
    return f"{told}. {CHANGE_INCLUDED[language][two_times]}"


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
    """Return "8:00 pm" or "8:00 p. m."; twelve o'clock says which one it is."""
    morning, afternoon, midnight, noon = DAY_PERIODS[language]
    hour = local.hour % 12 or 12
    if local.minute == 0 and hour == 12:
        return f"12:00 {noon if local.hour else midnight}"
    return f"{hour}:{local.minute:02d} {afternoon if local.hour >= 12 else morning}"


def zone_name(zone: str, *, language: str) -> str:
    """Return what people call a zone: "Eastern", "hora del Este"; by its city where we have no name."""
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
    at, by = change
    forward, back, otherwise = CLOCK_CHANGES[language]
    moves = forward if by == HOUR else back if by == -HOUR else otherwise
    words = (
        CHANGE_SENTENCE[language]
        .format(where=where, moves=moves, day=format_day(at, language=language))
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
