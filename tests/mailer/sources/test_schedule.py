"""Schedule: steps open in the reader's own hours, on the right day, once; incomplete files are refused."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lists.errors import BrokenTemplate
from mailer.service import EMAIL_TEMPLATES
from mailer.sources import schedule
from mailer.sources.schedule import Schedule, Step, due_after

NEW_YORK, PHOENIX, LOS_ANGELES = "America/New_York", "America/Phoenix", "America/Los_Angeles"
ZONES = (NEW_YORK, PHOENIX, LOS_ANGELES, "Pacific/Honolulu", "America/St_Johns", "UTC", "Australia/Lord_Howe")
GOOD = """list = "interest"
goal = "organizer"

[[step]]
name = "one"

[[step]]
name = "two"
delay_days = 3
"""


def step(
    opens: str = "10:00", closes: str = "18:00", days: tuple[str, ...] = ("mon", "tue", "wed", "thu")
) -> Step:
    return Step(
        name="one",
        delay_days=0,
        opens=time.fromisoformat(opens),
        closes=time.fromisoformat(closes),
        weekdays=frozenset(schedule.DAYS.index(day) for day in days),
        skip="",
    )


def at(text: str, zone: str = "UTC") -> datetime:
    """Return the moment of a local time, such as "2026-11-01 01:30"; where it comes twice, the first."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def local(moment: datetime, zone: str) -> str:
    return moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


# Windows and weekdays


def test_a_window_opens_on_the_minute_and_is_closed_on_the_minute() -> None:
    one = step()
    assert not one.is_open(at("2026-10-20 09:59", NEW_YORK), NEW_YORK)
    assert one.is_open(at("2026-10-20 10:00", NEW_YORK), NEW_YORK)
    assert one.is_open(at("2026-10-20 17:59", NEW_YORK), NEW_YORK)
    assert not one.is_open(at("2026-10-20 18:00", NEW_YORK), NEW_YORK)


def test_a_friday_waits_for_monday_on_each_reader_s_own_calendar() -> None:
    friday = at("2026-10-23 12:00", NEW_YORK)
    assert local(step().next_open(friday, NEW_YORK), NEW_YORK) == "2026-10-26 10:00"
    evening = at("2026-10-22 23:00", NEW_YORK)  # Friday in London, Thursday evening in Honolulu
    assert local(step().next_open(evening, "Pacific/Honolulu"), "Pacific/Honolulu") == "2026-10-22 17:00"


@pytest.mark.parametrize(
    ("moment", "zone", "opening", "utc"),
    [
        ("2026-10-31 12:00", NEW_YORK, "2026-11-02 10:00", "15:00"),  # the clock went back on Sunday
        ("2026-10-29 19:00", NEW_YORK, "2026-11-02 10:00", "15:00"),
        ("2026-10-28 19:00", NEW_YORK, "2026-10-29 10:00", "14:00"),
        ("2027-03-13 12:00", NEW_YORK, "2027-03-15 10:00", "14:00"),  # the clock went ahead on Sunday
        ("2027-03-10 19:00", NEW_YORK, "2027-03-11 10:00", "15:00"),
        ("2027-03-13 12:00", LOS_ANGELES, "2027-03-15 10:00", "17:00"),
        ("2026-10-31 12:00", PHOENIX, "2026-11-02 10:00", "17:00"),  # no change there
        ("2027-03-13 12:00", PHOENIX, "2027-03-15 10:00", "17:00"),
        ("2028-02-28 19:00", NEW_YORK, "2028-02-29 10:00", "15:00"),  # a leap day, a Tuesday
    ],
)
def test_a_window_opens_at_its_local_hour_across_changes_of_the_clock_and_a_leap_day(
    moment: str, zone: str, opening: str, utc: str
) -> None:
    first = step().next_open(at(moment, zone), zone)
    assert local(first, zone) == opening
    assert first.strftime("%H:%M") == utc


def test_an_opening_hour_that_the_change_leaves_out_opens_right_after_and_once() -> None:
    early = step("02:30", "05:00", days=schedule.DAYS)
    opening = early.next_open(at("2027-03-14 00:00", NEW_YORK), NEW_YORK)
    assert local(opening, NEW_YORK) == "2027-03-14 03:30"
    assert early.is_open(opening, NEW_YORK)


def test_an_opening_hour_that_comes_twice_opens_the_first_time_only() -> None:
    early = step("01:15", "01:45", days=schedule.DAYS)
    first = early.next_open(at("2026-11-01 00:00", NEW_YORK), NEW_YORK)
    assert first == datetime(2026, 11, 1, 5, 15, tzinfo=UTC)
    again = early.next_open(first + timedelta(minutes=30), NEW_YORK)
    assert local(again, NEW_YORK) == "2026-11-02 01:15"


MOMENTS = st.integers(0, 3 * 366 * 24 * 3600).map(
    lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
MINUTES = st.integers(0, 24 * 60 - 1)
STEPS = st.builds(
    lambda pair, days: step(
        *(f"{minute // 60:02}:{minute % 60:02}" for minute in sorted(pair)),
        days=tuple(schedule.DAYS[day] for day in days),
    ),
    st.sets(MINUTES, min_size=2, max_size=2),
    st.sets(st.integers(0, 6), min_size=1),
)


@given(STEPS, MOMENTS, st.sampled_from(ZONES))
@example(step("02:30", "05:00", days=schedule.DAYS), at("2027-03-14 06:10"), NEW_YORK)
@example(step("02:30", "03:00", days=schedule.DAYS), at("2027-03-14 06:10"), NEW_YORK)
@example(step("01:15", "01:45", days=("sun",)), at("2026-11-01 05:50"), NEW_YORK)
@settings(max_examples=300, deadline=None)
def test_the_next_opening_is_open_not_before_the_moment_and_there_is_none_in_between(
    one: Step, moment: datetime, zone: str
) -> None:
    opening = one.next_open(moment, zone)
    assert opening >= moment
    assert one.is_open(opening, zone)
    assert opening - moment <= timedelta(days=15)
    if opening > moment:
        assert not one.is_open(moment, zone)
        assert not one.is_open(opening - timedelta(minutes=1), zone) or opening - moment < timedelta(
            minutes=1
        )
        step_of_search = max(timedelta(minutes=7), (opening - moment) / 60)
        between = moment
        while between < opening:
            assert not one.is_open(between, zone)
            between += step_of_search


@given(MOMENTS, st.integers(0, 60), st.sampled_from(ZONES))
@settings(deadline=None)
def test_a_delay_keeps_the_time_of_day_and_counts_days_on_the_reader_s_calendar(
    sent: datetime, days: int, zone: str
) -> None:
    due = due_after(sent, days=days, zone=zone)
    before, after = sent.astimezone(ZoneInfo(zone)), due.astimezone(ZoneInfo(zone))
    assert due >= sent
    assert after.date() - before.date() == timedelta(days=days)
    difference = (
        after.replace(tzinfo=None, fold=0) - before.replace(tzinfo=None, fold=0) - timedelta(days=days)
    )
    assert difference in (timedelta(0), timedelta(hours=1), timedelta(minutes=30))


@pytest.mark.parametrize(
    ("sent", "days", "zone", "due"),
    [
        ("2026-10-30 10:30", 3, NEW_YORK, "2026-11-02 10:30"),
        ("2027-03-12 10:30", 3, NEW_YORK, "2027-03-15 10:30"),
        ("2027-03-12 10:30", 3, PHOENIX, "2027-03-15 10:30"),
        ("2028-02-27 10:30", 3, NEW_YORK, "2028-03-01 10:30"),
        ("2027-02-26 10:30", 3, NEW_YORK, "2027-03-01 10:30"),
        ("2026-12-29 10:30", 7, NEW_YORK, "2027-01-05 10:30"),
    ],
)
def test_days_later_is_the_same_hour_by_hand(sent: str, days: int, zone: str, due: str) -> None:
    assert local(due_after(at(sent, zone), days=days, zone=zone), zone) == due


def test_no_delay_is_the_very_moment_also_in_the_hour_that_comes_twice() -> None:
    second_time = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)  # 01:30 in New York, for the second time
    assert due_after(second_time, days=0, zone=NEW_YORK) == second_time


# The file


def read(folder: Path, text: str | bytes, *, name: str = "welcome") -> Schedule:
    folder_path = folder / "templates" / "email" / name
    folder_path.mkdir(parents=True)
    (folder_path / "sequence.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    (parsed,) = schedule.load_all(folder / "templates" / "email")
    return parsed


def test_the_shipped_sequences_are_as_the_brief_says() -> None:
    schedules = {item.name: item for item in schedule.load_all(EMAIL_TEMPLATES)}
    assert list(schedules) == ["organizer", "welcome"]
    welcome = schedules["welcome"]
    assert (welcome.list, welcome.goal) == ("interest", "organizer")
    assert [item.name for item in welcome.steps] == ["toolkit", "powerpoint", "detainers", "partners", "map"]
    assert [item.delay_days for item in welcome.steps] == [0, 3, 7, 3, 7]
    assert welcome.steps[-1].skip == "applied"
    assert welcome.template_name("map") == "welcome/map"
    assert len(schedules["organizer"].steps) == 2


def test_the_step_after_the_last_and_after_an_unknown_one_is_none(tmp_path: Path) -> None:
    parsed = read(tmp_path, GOOD)
    next_step = parsed.next_step("one")
    assert next_step is not None and next_step.name == "two"
    assert parsed.next_step("two") is None
    assert parsed.next_step("gone") is None


def test_what_is_left_out_has_a_sensible_meaning(tmp_path: Path) -> None:
    first = read(tmp_path, GOOD).steps[0]
    assert (first.delay_days, first.opens, first.closes) == (0, time(9), time(18))
    assert first.weekdays == frozenset(range(7))
    assert first.skip == ""


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (('list = "interest"', 'list = "friends"'), 1, "“list” must be one of interest, organizers"),
        (('list = "interest"\n', ""), 1, "“list” must be one of"),
        (('goal = "organizer"', 'goal = "rich"'), 2, "“goal” must be one of organizer, applied"),
        (('goal = "organizer"', 'gaol = "organizer"'), 2, "nobody knows what “gaol” means"),
        (('"one"', '"two"'), 8, "two steps are called “two”"),
        (('name = "one"', ""), 4, "needs a “name”"),
        (('name = "one"', "name = 1"), 5, "needs a “name”"),
        (('name = "one"', 'name = "../one"'), 5, "small letters"),
        (('name = "one"', f'name = "{"o" * 41}"'), 5, "at most 40"),
        (("delay_days = 3", "delay_days = -1"), 9, "whole number from 0 to 365"),
        (("delay_days = 3", "delay_days = 366"), 9, "whole number from 0 to 365"),
        (("delay_days = 3", "delay_days = 1.5"), 9, "whole number from 0 to 365"),
        (("delay_days = 3", "delay_days = true"), 9, "whole number from 0 to 365"),
        (("delay_days = 3", 'window = ["18:00", "09:00"]'), 9, "open before it closes"),
        (("delay_days = 3", 'window = ["09:00", "09:00"]'), 9, "open before it closes"),
        (("delay_days = 3", 'window = ["09:00"]'), 9, "two times of day"),
        (("delay_days = 3", 'window = "09:00"'), 9, "two times of day"),
        (("delay_days = 3", 'window = ["9 am", "6 pm"]'), 9, "two times of day"),
        (("delay_days = 3", 'window = ["09:00", "24:00"]'), 9, "two times of day"),
        (("delay_days = 3", 'window = ["09:00+02:00", "18:00"]'), 9, "two times of day"),
        (("delay_days = 3", 'weekdays = ["monday"]'), 9, "one or more of mon, tue"),
        (("delay_days = 3", "weekdays = []"), 9, "one or more of mon, tue"),
        (("delay_days = 3", 'weekdays = "mon"'), 9, "one or more of mon, tue"),
        (("delay_days = 3", "weekdays = [1]"), 9, "one or more of mon, tue"),
        (("delay_days = 3", 'skip = "lazy"'), 9, "“skip” must be one of organizer, applied"),
        (("delay_days = 3", "delay = 3"), 9, "nobody knows what “delay” means"),
        (("delay_days = 3", "delay_days = ="), 9, "not TOML"),
        (('goal = "organizer"', 'goal = "organizer'), 2, "not TOML"),
        ((GOOD, 'list = "interest"\nstep = 3\n'), 2, "at least one [[step]]"),
        ((GOOD, 'list = "interest"\nstep = ["one"]\n'), 2, "at least one [[step]]"),
        ((GOOD, 'list = "interest"\n'), 1, "at least one [[step]]"),
        ((GOOD, ""), 1, "“list” must be one of"),
    ],
)
def test_a_file_that_makes_no_sequence_is_refused_with_its_name_and_line(
    tmp_path: Path, change: tuple[str, str], line: int, says: str
) -> None:
    assert change[0] in GOOD
    with pytest.raises(BrokenTemplate) as refused:
        read(tmp_path, GOOD.replace(*change, 1))
    assert refused.value.path == "templates/email/welcome/sequence.toml"
    assert refused.value.line == line
    assert says in str(refused.value)


def test_a_name_that_a_comment_also_says_is_not_taken_for_the_step(tmp_path: Path) -> None:
    with pytest.raises(BrokenTemplate) as refused:
        read(tmp_path, "# step two has a delay_days = 9\n" + GOOD.replace("= 3", "= 999"))
    assert refused.value.line == 10


def test_a_file_that_is_not_utf_8_and_a_folder_of_an_odd_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BrokenTemplate, match="line 2: this line is not UTF-8"):
        read(tmp_path / "one", b'list = "interest"\n# \xff\n')
    with pytest.raises(BrokenTemplate, match="the folder's name"):
        read(tmp_path / "two", GOOD, name="Wel come")


@given(st.text(max_size=200))
@settings(deadline=None, max_examples=150)
def test_any_text_is_a_sequence_or_is_refused_with_a_sentence(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            read(Path(folder), (GOOD + text).encode("utf-8", "surrogatepass"))
        except BrokenTemplate as refused:
            assert refused.line >= 1


def test_a_window_on_every_day_of_a_year_opens_once_a_day(tmp_path: Path) -> None:
    one = step("02:30", "03:30", days=schedule.DAYS)
    moment, days_open = at("2026-01-01 00:00", NEW_YORK), []
    while moment < at("2027-12-31 00:00", NEW_YORK):
        moment = one.next_open(moment, NEW_YORK)
        days_open.append(moment.astimezone(ZoneInfo(NEW_YORK)).date())
        moment = datetime.combine(
            days_open[-1] + timedelta(days=1), time(0), tzinfo=ZoneInfo(NEW_YORK)
        ).astimezone(UTC)
    missed = {date(2026, 1, 1) + timedelta(days=day) for day in range(729)} - set(days_open)
    assert len(days_open) == len(set(days_open))
    assert missed <= {date(2026, 3, 8), date(2027, 3, 14)}  # an hour that does not exist cannot open
