"""`mailer sequence`: the follow-up mails, when each leaves, and how many people stand where."""

import click

from lists.errors import NotFound
from mailer.cli import opening, output
from mailer.service import Service
from mailer.sources import journeys
from mailer.sources.schedule import DAYS, Schedule, Step

GOALS = {"organizer": "joined the organizers", "applied": "applied to be on the map"}
UNDERWAY = {"waiting": "Waiting", "sending": "Leaving", "paused": "Paused"}
ENDED = {"done": "Got all of it", "goal": "Reached the goal", "left": "Left", "stopped": "Stopped"}
STEP = {"number": "", "name": "Step", "subject": "Subject", "after": "After", "hours": "Local hours"}
STEP |= {"days": "Days", "skip": "Passed over for who", **UNDERWAY}


@click.group()
def command() -> None:
    """Show the follow-up sequences and who is where in them."""


@command.command("list")
@output.json_option
def list_(*, as_json: bool) -> None:
    """Show every sequence: for which list, how many steps, and how many people are underway."""
    rows: list[dict[str, object]] = []
    with opening.service() as service, service.database.read() as session:
        for schedule in service.schedules:
            counts = journeys.count_by_step(session, schedule.name)
            underway = sum(number for (_, state), number in counts.items() if state not in ENDED)
            rows.append(
                {
                    "name": schedule.name,
                    "list": schedule.list,
                    "steps": len(schedule.steps),
                    "underway": underway,
                    "ended": sum(counts.values()) - underway,
                }
            )
    columns = {"name": "Sequence", "list": "List", "steps": "Steps", "underway": "Underway", "ended": "Ended"}
    output.rows(rows, columns=columns, as_json=as_json)


@command.command()
@click.argument("name")
@output.json_option
def show(*, name: str, as_json: bool) -> None:
    """Show one sequence step by step: “mailer sequence show welcome”.

    Each step leaves so many days after the one before, in the reader's own local hours. “Waiting” are those
    for whom this step comes next.
    """
    with opening.service() as service:
        schedule = _named(service, name)
        with service.database.read() as session:
            counts = journeys.count_by_step(session, name)
    steps = [_step(service, schedule, step, counts) for step in schedule.steps]
    ended = {state: sum(number for (_, found), number in counts.items() if found == state) for state in ENDED}
    if as_json:
        output.print_json(
            {"name": name, "list": schedule.list, "goal": schedule.goal, "steps": steps, **ended}
        )
        return
    output.say(f"The sequence “{name}” follows those who confirmed for the list {schedule.list}.")
    if schedule.goal:
        output.say(f"It ends early for whoever has {GOALS[schedule.goal]}.")
    output.say("")
    output.rows([_in_words(step) for step in steps], columns=STEP, as_json=False)
    output.say("")
    output.facts(ended, labels=ENDED, as_json=False)


def _named(service: Service, name: str) -> Schedule:
    for schedule in service.schedules:
        if schedule.name == name:
            return schedule
    names = ", ".join(schedule.name for schedule in service.schedules)
    raise NotFound(f"There is no sequence called “{name}”. The sequences are: {names}.")


def _step(
    service: Service, schedule: Schedule, step: Step, counts: dict[tuple[str, str], int]
) -> dict[str, object]:
    text = service.editions.templates[schedule.template_name(step.name)].sources
    waiting = counts.get((step.name, "waiting"), 0) + counts.get((step.name, "due"), 0)
    return {
        "number": schedule.steps.index(step) + 1,
        "name": step.name,
        "subject": text["en"].subject,
        "delay_days": step.delay_days,
        "window": [f"{step.opens:%H:%M}", f"{step.closes:%H:%M}"],
        "weekdays": [DAYS[day] for day in sorted(step.weekdays)],
        "skip": step.skip,
        "waiting": waiting,
        "sending": counts.get((step.name, "sending"), 0),
        "paused": counts.get((step.name, "paused"), 0),
    }


def _in_words(step: dict[str, object]) -> dict[str, object]:
    days, window, weekdays, skip = (step[key] for key in ("delay_days", "window", "weekdays", "skip"))
    assert isinstance(window, list) and isinstance(weekdays, list)
    return {
        **step,
        "after": "at once" if not days else f"{days} day{'' if days == 1 else 's'}",
        "hours": " to ".join(window),
        "days": "every day" if len(weekdays) == len(DAYS) else " ".join(weekdays),
        "skip": GOALS.get(str(skip), ""),
    }
