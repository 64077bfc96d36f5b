"""Schedule: the steps of a sequence, the delay after the step before, and their local hours and days.

Each sequence's folder of templates contains one `sequence.toml` and the texts of its steps.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from lists.catalog import BUILT_IN_LISTS
from lists.errors import BrokenTemplate

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CONDITIONS = ("organizer", "applied")  # sequences.CONDITION_BUILDERS defines each in SQL
FILE = "sequence.toml"
MAX_DAYS = 365


@dataclass(frozen=True, kw_only=True)
class Step:
    """One mail of a sequence: the delay in days on the reader's calendar, opening hours in local time."""

    name: str
    delay_days: int
    opens: time
    closes: time
    weekdays: frozenset[int]
    skip: str

    def is_open(self, now: datetime, zone: str) -> bool:
        """Return whether this step may be sent at `now` to readers in `zone`."""
        day = now.astimezone(ZoneInfo(zone)).date()
        opening, closing = self._hours(day, zone)
        return day.weekday() in self.weekdays and opening <= now < closing

    def next_open(self, moment: datetime, zone: str) -> datetime:
        """Return the first moment, not before `moment`, when this step may be sent to readers in `zone`."""
        day = moment.astimezone(ZoneInfo(zone)).date()
        while True:
            opening, closing = self._hours(day, zone)
            earliest = max(opening, moment)
            if earliest < closing and self.is_open(earliest, zone):
                return earliest
            day += timedelta(days=1)

    def _hours(self, day: date, zone: str) -> tuple[datetime, datetime]:
        """Return when the window opens and closes on a day: once, also when the clock is changed that day.

        An hour that the change skips counts as the one after it, an hour that occurs twice as the first.
        """
        timezone = ZoneInfo(zone)
        opening, closing = (
            datetime.combine(day, clock_time, tzinfo=timezone) for clock_time in (self.opens, self.closes)
        )
        return opening.astimezone(UTC), closing.astimezone(UTC)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A sequence: its list, the goal that ends it early, and its steps in order."""

    name: str
    list: str
    goal: str
    steps: Sequence[Step]

    def template_name(self, step: str) -> str:
        """Return the name of a step's template."""
        return f"{self.name}/{step}"

    def next_step(self, step: str) -> Step | None:
        """Return the step after the one of this name; None after the last, and for an unknown name."""
        names = [candidate.name for candidate in self.steps]
        index = names.index(step) + 1 if step in names else len(names)
        return self.steps[index] if index < len(names) else None


def due_after(sent_at: datetime, *, days: int, zone: str) -> datetime:
    """Return the same time of day, `days` later on the calendar of `zone`, across changes of the clock."""
    if days == 0:
        return sent_at
    local = sent_at.astimezone(ZoneInfo(zone)).replace(tzinfo=None) + timedelta(days=days)
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def load_all(folder: Path) -> Sequence[Schedule]:
    """Return every sequence below the folder of email templates, by name.

    Raises BrokenTemplate, with file and line, for an invalid file.
    """
    return [_ScheduleFile(path).schedule() for path in sorted(folder.glob(f"*/{FILE}"))]


class _ScheduleFile:
    """One sequence.toml, with the line numbers of its keys for errors."""

    def __init__(self, path: Path) -> None:
        parts = path.parts
        is_in_templates = "templates" in parts
        self.display_path = (
            "/".join(parts[parts.index("templates") :]) if is_in_templates else path.as_posix()
        )
        self.name = path.parent.name
        data = path.read_bytes()
        try:
            self.text = data.decode("utf-8")
            self.data = tomllib.loads(self.text)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise BrokenTemplate("this line is not UTF-8 text.", path=self.display_path, line=line) from error
        except tomllib.TOMLDecodeError as error:
            match = _TOML_LINE.search(str(error))
            line = int(match[1]) if match else self.text.count("\n") + 1
            raise BrokenTemplate(f"this is not TOML: {error}.", path=self.display_path, line=line) from error

    def schedule(self) -> Schedule:
        """Return the schedule of the file; raises BrokenTemplate with the line of the error."""
        data = self.data
        if not _NAME.fullmatch(self.name):
            raise self._build_error(f"the folder's name “{self.name[:60]}” {_NAMES}")
        unknown = sorted(set(data) - {"list", "goal", "step"})
        if unknown:
            raise self._build_error(f"nobody knows what “{unknown[0]}” means here.", key=unknown[0])
        if data.get("list") not in BUILT_IN_LISTS:
            raise self._build_error(f"“list” must be one of {', '.join(BUILT_IN_LISTS)}.", key="list")
        if data.get("goal", "") not in ("", *CONDITIONS):
            raise self._build_error(f"“goal” must be {_CONDITIONS}", key="goal")
        steps = data.get("step")
        if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
            raise self._build_error("a sequence needs at least one [[step]].", key="step")
        parsed_steps = tuple(self._step(step, number) for number, step in enumerate(steps))
        names = [step.name for step in parsed_steps]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise self._build_error(f"two steps are called “{name}”.", key="name", step=number)
        return Schedule(name=self.name, list=data["list"], goal=data.get("goal", ""), steps=parsed_steps)

    def _step(self, data: Mapping[str, Any], number: int) -> Step:
        def refusal(sentence: str, key: str = "") -> BrokenTemplate:
            return self._build_error(sentence, key=key, step=number)

        unknown = sorted(set(data) - {"name", "delay_days", "window", "weekdays", "skip"})
        if unknown:
            raise refusal(f"nobody knows what “{unknown[0]}” means here.", unknown[0])
        name = data.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise refusal(f"a step needs a “name” that {_NAMES}", "name")
        days = data.get("delay_days", 0)
        if type(days) is not int or not 0 <= days <= MAX_DAYS:
            raise refusal(f"“delay_days” must be a whole number from 0 to {MAX_DAYS}.", "delay_days")
        window = data.get("window", ["09:00", "18:00"])
        if not (isinstance(window, list) and len(window) == 2 and all(_is_time(text) for text in window)):
            raise refusal('“window” must be two times of day, such as ["09:00", "18:00"].', "window")
        opens, closes = (time.fromisoformat(text) for text in window)
        if not opens < closes:
            raise refusal("the window must open before it closes.", "window")
        weekdays = data.get("weekdays", list(DAYS))
        if not isinstance(weekdays, list) or not weekdays or any(day not in DAYS for day in weekdays):
            raise refusal(f"“weekdays” must be one or more of {', '.join(DAYS)}.", "weekdays")
        skip = data.get("skip", "")
        if skip not in ("", *CONDITIONS):
            raise refusal(f"“skip” must be {_CONDITIONS}", "skip")
        days_open = frozenset(DAYS.index(day) for day in weekdays)
        return Step(name=name, delay_days=days, opens=opens, closes=closes, weekdays=days_open, skip=skip)

    def _build_error(self, sentence: str, *, key: str = "", step: int | None = None) -> BrokenTemplate:
        """Return an error at a key of the file's head or of one step; at its first line without the key."""
        lines = self.text.splitlines()
        starts = [number for number, line in enumerate(lines) if _STEP.match(line)]
        first, last = 0, starts[0] if starts else len(lines)
        if step is not None and step < len(starts):
            first, last = starts[step], [*starts, len(lines)][step + 1]
        pattern = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
        line_numbers = (number for number in range(first, last) if key and pattern.match(lines[number]))
        return BrokenTemplate(sentence, path=self.display_path, line=next(line_numbers, first) + 1)


def _is_time(text: object) -> bool:
    return isinstance(text, str) and _TIME.fullmatch(text) is not None


_CONDITIONS = f"one of {', '.join(CONDITIONS)}, or be left out."
_NAMES = "has at most 40 small letters, digits and hyphens, such as first-call."
_NAME = re.compile(r"(?=.{1,40}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d")
_STEP = re.compile(r"\s*\[\[\s*step\s*\]\]")
_TOML_LINE = re.compile(r"at line (\d+)")
