"""Local time: a moment in words, for readers who may live in another time zone.

Clock times are those of the zone database (zoneinfo), words are CLDR's (babel), except for the names that
people in the United States give to their zones: CLDR's are too stiff ("hora de las Montañas Rocosas").
"""

from datetime import date, datetime
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
DATE_FORMATS = {"en": "EEEE, MMMM d, y", "es": "EEEE d 'de' MMMM 'de' y"}
READER_TIME = {"en": ("your time", "your time in {city}"), "es": ("su hora", "su hora en {city}")}
SAME_TIME = {"en": "the same time in {city}", "es": "la misma hora en {city}"}


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


def format_day(local: date, *, language: str) -> str:
    """Return "Tuesday, December 8" or "martes 8 de diciembre"."""
    from babel.dates import format_date  # here, because most commands never need its words

    locale, pattern = DAY_FORMATS[language]
    return format_date(local, pattern, locale=locale)


def format_weekday_date(local: date, *, language: str) -> str:
    """Return "Tuesday, December 8, 2026" or "martes 8 de diciembre de 2026"."""
    from babel.dates import format_date  # here, because most commands never need its words

    return format_date(local, DATE_FORMATS[language], locale=DAY_FORMATS[language][0])


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
