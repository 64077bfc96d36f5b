"""Schedule: what a sequence sends, how long after the step before, and in which local hours and days.

One `sequence.toml` lies in each sequence's folder of templates, and the texts of its steps beside it.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from lists.errors import BrokenTemplate
from lists.subscriptions import LISTS

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CONDITIONS = ("organizer", "applied")  # sequences.py says what each means in SQL
FILE = "sequence.toml"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One mail of a sequence: `delay` in days on the reader's calendar, `window` in local time."""

    name: str
    delay_days: int
    opens: time
    closes: time
    weekdays: frozenset[int]
    skip: str

    def is_open(self, now: datetime, zone: str) -> bool:
        """Tell whether this step may leave at `now` for readers in `zone`."""
        local = now.astimezone(ZoneInfo(zone))
        return local.weekday() in self.weekdays and self.opens <= local.time() < self.closes

    def next_open(self, moment: datetime, zone: str) -> datetime:
        """Return the first moment, not before `moment`, when this step may leave for readers in `zone`."""
        if self.is_open(moment, zone):
            return moment
        local = moment.astimezone(ZoneInfo(zone))
        day = local.date()
        while True:
            opening = datetime.combine(day, self.opens, tzinfo=ZoneInfo(zone)).astimezone(UTC)
            if day.weekday() in self.weekdays and opening >= moment:
                return opening
            day += timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A sequence: whom it is for, what ends it early, and its steps in order."""

    name: str
    list: str
    goal: str
    steps: Sequence[Step]

    def template(self, step: str) -> str:
        """Return the name of a step's template."""
        return f"{self.name}/{step}"

    def after(self, step: str) -> Step | None:
        """Return the step that follows the one of this name; None after the last, and after one unknown."""
        names = [each.name for each in self.steps]
        place = names.index(step) + 1 if step in names else len(names)
        return self.steps[place] if place < len(names) else None


def due_after(sent: datetime, *, days: int, zone: str) -> datetime:
    """Return the same time of day, `days` later on the calendar of `zone`, across changes of the clock."""
    local = sent.astimezone(ZoneInfo(zone)).replace(tzinfo=None) + timedelta(days=days)
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def load_all(folder: Path) -> Sequence[Schedule]:
    """Read every sequence below the folder of email templates, by name.

    Raises BrokenTemplate, with file and line, for anything that does not make a sequence.
    """
    return [_load(path) for path in sorted(folder.glob(f"*/{FILE}"))]


def _load(path: Path) -> Schedule:
    shown = path.relative_to(path.parents[3]) if len(path.parents) > 3 else path
    text = path.read_text(encoding="utf-8")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BrokenTemplate(f"this is not TOML: {error}.", path=shown, line=1) from error

    def refuse(sentence: str, *, at: str = "") -> BrokenTemplate:
        lines = text.splitlines()
        line = next((number for number, found in enumerate(lines, 1) if at and at in found), 1)
        return BrokenTemplate(sentence, path=shown, line=line)

    try:
        if data.get("list") not in LISTS:
            raise ValueError(f"“list” must be one of {', '.join(LISTS)}.")
        goal = data.get("goal", "")
        if goal not in ("", *CONDITIONS):
            raise ValueError(f"“goal” must be one of {', '.join(CONDITIONS)}, or be left out.")
        steps = data.get("step", [])
        if not steps:
            raise ValueError("a sequence needs at least one [[step]].")
    except ValueError as error:
        raise refuse(str(error)) from error
    read: list[Step] = []
    for step in steps:
        try:
            read.append(_step(step))
        except (ValueError, KeyError, TypeError) as error:
            raise refuse(f"a step is not usable: {error}", at=str(step.get("name", "[[step]]"))) from error
    if len({step.name for step in read}) < len(read):
        raise refuse("two steps have the same name.")
    return Schedule(name=path.parent.name, list=data["list"], goal=goal, steps=tuple(read))


def _step(data: Mapping[str, Any]) -> Step:
    unknown = set(data) - {"name", "delay_days", "window", "weekdays", "skip"}
    if unknown:
        raise ValueError(f"nobody knows what “{min(unknown)}” means here.")
    opens, closes = (time.fromisoformat(text) for text in data.get("window", ["09:00", "18:00"]))
    if not opens < closes:
        raise ValueError("the window must open before it closes.")
    weekdays = frozenset(DAYS.index(day) for day in data.get("weekdays", DAYS))
    if not weekdays:
        raise ValueError("it needs at least one weekday.")
    skip = data.get("skip", "")
    if skip not in ("", *CONDITIONS):
        raise ValueError(f"“skip” must be one of {', '.join(CONDITIONS)}, or be left out.")
    days = data.get("delay_days", 0)
    if not isinstance(days, int) or not 0 <= days <= 365:
        raise ValueError("“delay_days” must be a whole number from 0 to 365.")
    return Step(
        name=str(data["name"]), delay_days=days, opens=opens, closes=closes, weekdays=weekdays, skip=skip
    )
