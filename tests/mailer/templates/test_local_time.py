"""Local time: a call's time in the reader's language and zone, through both changes of the clocks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.templates.clock_change import describe_clock_change
from mailer.templates.local_time import format_for_reader, format_time

NEW_YORK = "America/New_York"
CALL = datetime(2026, 12, 8, 20, 0, tzinfo=ZoneInfo(NEW_YORK)).astimezone(UTC)
PHOENIX = {"reader_zone": "America/Phoenix", "city": "Phoenix"}
CHICAGO = {"reader_zone": "America/Chicago", "city": "Chicago"}


def test_ana_in_new_york_is_told_one_time() -> None:
    sentence = format_for_reader(CALL, zone=NEW_YORK, language="en", reader_zone=NEW_YORK, city="New York")
    assert sentence == "Tuesday, December 8, 8:00 pm Eastern"


def test_ben_in_phoenix_is_told_both_times_in_spanish() -> None:
    assert format_for_reader(CALL, zone=NEW_YORK, language="es", **PHOENIX) == (
        "martes 8 de diciembre, 8:00 p. m. hora del Este, 6:00 p. m. su hora en Phoenix"
    )


def test_a_reader_of_english_in_phoenix_is_told_both_times() -> None:
    assert format_for_reader(CALL, zone=NEW_YORK, language="en", **PHOENIX) == (
        "Tuesday, December 8, 8:00 pm Eastern, 6:00 pm your time in Phoenix"
    )


def test_the_same_clock_in_another_zone_is_one_time_too() -> None:
    detroit = {"reader_zone": "America/Detroit", "city": "Detroit"}
    assert (
        format_for_reader(CALL, zone=NEW_YORK, language="en", **detroit)
        == "Tuesday, December 8, 8:00 pm Eastern"
    )
    july = datetime(2027, 7, 13, 1, 0, tzinfo=UTC)
    assert format_for_reader(july, zone="America/Los_Angeles", language="en", **PHOENIX) == (
        "Monday, July 12, 6:00 pm Pacific, the same time in Phoenix"
    )
    assert format_for_reader(july, zone="America/Los_Angeles", language="es", **PHOENIX) == (
        "lunes 12 de julio, 6:00 p. m. hora del Pacífico, la misma hora en Phoenix"
    )


@pytest.mark.parametrize("zone", ["", "Napakiak", "../etc/passwd", "\0", "America"])
def test_a_reader_whose_zone_nobody_knows_is_told_the_organizers_time(zone: str) -> None:
    sentence = format_for_reader(CALL, zone=NEW_YORK, language="en", reader_zone=zone, city="")
    assert sentence == "Tuesday, December 8, 8:00 pm Eastern"
    assert (
        describe_clock_change(
            CALL, sent_at=CALL - timedelta(days=7), zone=NEW_YORK, language="en", reader_zone=zone
        )
        == ""
    )


def test_a_reader_without_a_city_has_a_time_all_the_same() -> None:
    sentence = format_for_reader(CALL, zone=NEW_YORK, language="en", reader_zone="America/Phoenix")
    assert sentence.endswith("8:00 pm Eastern, 6:00 pm your time")
    sentence = format_for_reader(CALL, zone=NEW_YORK, language="es", reader_zone="America/Phoenix")
    assert sentence.endswith("6:00 p. m. su hora")


def test_where_it_is_tomorrow_the_day_is_said() -> None:
    guam = {"reader_zone": "Pacific/Guam", "city": "Hagatna"}
    assert format_for_reader(CALL, zone=NEW_YORK, language="en", **guam) == (
        "Tuesday, December 8, 8:00 pm Eastern, Wednesday, December 9, 11:00 am your time in Hagatna"
    )
    assert format_for_reader(CALL, zone=NEW_YORK, language="es", **guam).endswith(
        ", miércoles 9 de diciembre, 11:00 a. m. su hora en Hagatna"
    )


def test_twelve_o_clock_says_which_one() -> None:
    noon, midnight = datetime(2026, 12, 8, 12, tzinfo=UTC), datetime(2026, 12, 8, 0, tzinfo=UTC)
    assert [format_time(moment, language="en") for moment in (noon, midnight)] == [
        "12:00 noon",
        "12:00 midnight",
    ]
    assert format_time(noon, language="es") == "12:00 del mediodía"
    assert format_time(noon.replace(minute=30), language="en") == "12:30 pm"
    assert format_time(midnight.replace(minute=5), language="en") == "12:05 am"


def describe_change(sent: str, starts: str, **reader: str) -> str:
    """Return the note on a call at 8 pm in New York, for a mail of noon in New York."""
    zone = ZoneInfo(NEW_YORK)
    sent_at, moment = (datetime.fromisoformat(f"{day}T{hour}").replace(tzinfo=zone)
                       for day, hour in ((sent, "12:00"), (starts, "20:00")))  # fmt: skip
    language = reader.pop("language", "en")
    return describe_clock_change(moment, sent_at=sent_at, zone=NEW_YORK, language=language, **reader)


def test_clocks_that_go_back_for_both_are_told_once() -> None:
    expected = (
        "Clocks go back one hour on Sunday, November 1, before this call. "
        "The time given here already counts that."
    )
    assert describe_change("2026-10-20", "2026-11-10", reader_zone=NEW_YORK, city="New York") == expected
    assert describe_change("2026-10-20", "2026-11-10") == expected
    assert describe_change("2026-10-20", "2026-11-10", **CHICAGO) == expected.replace(
        "The time given here already counts", "The times given here already count"
    )


def test_clocks_that_go_forward_are_told_in_spanish() -> None:
    assert describe_change("2027-03-09", "2027-03-16", language="es", reader_zone=NEW_YORK) == (
        "Los relojes se adelantan una hora el domingo 14 de marzo, antes de esta llamada. "
        "La hora indicada aquí ya lo tiene en cuenta."
    )


def test_ben_in_phoenix_learns_that_his_clock_stays() -> None:
    assert describe_change("2026-10-20", "2026-11-10", **PHOENIX) == (
        "On Eastern time clocks go back one hour on Sunday, November 1, before this call; "
        "in Phoenix clocks do not change. The times given here already count that."
    )
    assert describe_change("2027-03-09", "2027-03-16", language="es", **PHOENIX) == (
        "En la hora del Este los relojes se adelantan una hora el domingo 14 de marzo, "
        "antes de esta llamada; en Phoenix los relojes no cambian. "
        "Las horas indicadas aquí ya lo tienen en cuenta."
    )


def test_a_reader_whose_clock_alone_changes_is_told() -> None:
    starts = datetime(2026, 11, 10, 20, tzinfo=ZoneInfo("America/Phoenix"))
    sent_at = starts - timedelta(days=14)
    reader = {"reader_zone": NEW_YORK, "city": "New York"}
    assert describe_clock_change(
        starts, sent_at=sent_at, zone="America/Phoenix", language="en", **reader
    ) == (
        "In New York clocks go back one hour on Sunday, November 1, before this call; "
        "on Arizona time clocks do not change. The times given here already count that."
    )


def test_clocks_that_change_on_different_days_are_told_apart() -> None:
    sentences = describe_change("2026-10-20", "2026-11-10", reader_zone="Europe/Madrid", city="Madrid")
    assert sentences == (
        "On Eastern time clocks go back one hour on Sunday, November 1, before this call. "
        "In Madrid clocks go back one hour on Sunday, October 25, before this call. "
        "The times given here already count that."
    )


@pytest.mark.parametrize(
    ("sent", "starts"),
    [
        ("2026-11-01", "2026-11-10"),  # sent in the afternoon of the change
        ("2026-11-20", "2026-12-08"),  # no change between
        ("2026-10-20", "2026-10-31"),  # the change is after the call
        ("2026-10-20", "2027-04-13"),  # back and forward again
        ("2026-12-08", "2026-10-20"),  # sent after the call, which nobody should do
    ],
)
def test_there_is_no_note_where_no_change_remains(sent: str, starts: str) -> None:
    assert describe_change(sent, starts, **PHOENIX) == ""


@pytest.mark.parametrize("sunday", ["2026-11-01", "2027-03-14"])
def test_the_call_stays_at_eight_through_both_changes(sunday: str) -> None:
    before = datetime.fromisoformat(f"{sunday}T20:00").replace(tzinfo=ZoneInfo(NEW_YORK)) - timedelta(days=7)
    for week in range(3):
        local = (before.replace(tzinfo=None) + timedelta(weeks=week)).replace(tzinfo=ZoneInfo(NEW_YORK))
        assert "8:00 pm Eastern" in format_for_reader(
            local.astimezone(UTC), zone=NEW_YORK, language="en", **PHOENIX
        )


ZONES = sorted(available_timezones() - {"localtime", "posixrules"})


@given(
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    ahead=st.timedeltas(timedelta(0), timedelta(days=90)),
    zone=st.sampled_from(ZONES),
    reader_zone=st.sampled_from(["", *ZONES]),
    language=st.sampled_from(["en", "es", "fr"]),
)
def test_any_moment_in_any_zone_has_words(
    moment: datetime, ahead: timedelta, zone: str, reader_zone: str, language: str
) -> None:
    assert format_for_reader(moment, zone=zone, language=language, reader_zone=reader_zone, city="X")
    sentence = describe_clock_change(
        moment, sent_at=moment - ahead, zone=zone, language=language, reader_zone=reader_zone
    )
    assert sentence == "" or sentence.endswith(".")
