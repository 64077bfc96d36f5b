"""`mailer sequence`: the follow-up sequences, when each step is sent, and how many people are at each."""

import click

from lists.errors import NotFound
from mailer.cli import context, output
from mailer.service import Service
from mailer.sources import journeys
from mailer.sources.schedule import DAYS, Schedule, Step

GOALS = {"organizer": "joined the organizers", "applied": "applied to be on the map"}
ACTIVE_STATES = {"waiting": "Waiting", "sending": "Leaving", "paused": "Paused"}
ENDED_STATES = {"done": "Got all of it", "goal": "Reached the goal", "left": "Left", "stopped": "Stopped"}
STEP_COLUMNS = {"number": "", "name": "Step", "subject": "Subject", "after": "After", "hours": "Local hours"}
STEP_COLUMNS |= {"days": "Days", "skip": "Passed over for who", **ACTIVE_STATES}


@click.group()
def command() -> None:
    """Show the follow-up sequences and who is where in them."""


@command.command("list")
@output.json_option
def list_(*, as_json: bool) -> None:
    """Show every sequence: for which list, how many steps, and how many people are underway."""
    rows: list[dict[str, object]] = []
    with context.open_service() as service, service.database.read() as session:
        for schedule in service.schedules:
            counts = journeys.count_by_step(session, schedule.name)
            underway = sum(number for (_, state), number in counts.items() if state not in ENDED_STATES)
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
    output.print_rows(rows, columns=columns, as_json=as_json)


@command.command()
@click.argument("name")
@output.json_option
def show(*, name: str, as_json: bool) -> None:
    """Show one sequence step by step: “mailer sequence show welcome”.

    Each step leaves so many days after the one before, in the reader's own local hours. “Waiting” are those
    for whom this step comes next.
    """
    with context.open_service() as service:
        schedule = _find_schedule(service, name)
        with service.database.read() as session:
            counts = journeys.count_by_step(session, name)
    steps = [_step_row(service, schedule, step, counts) for step in schedule.steps]
    ended = {
        state: sum(number for (_, row_state), number in counts.items() if row_state == state)
        for state in ENDED_STATES
    }
    if as_json:
        output.print_json(
            {"name": name, "list": schedule.list, "goal": schedule.goal, "steps": steps, **ended}
        )
        return
    output.print_line(f"The sequence “{name}” follows those who confirmed for the list {schedule.list}.")
    if schedule.goal:
        output.print_line(f"It ends early for whoever has {GOALS[schedule.goal]}.")
    output.print_line("")
    output.print_rows([_format_step(step) for step in steps], columns=STEP_COLUMNS, as_json=False)
    output.print_line("")
    output.print_facts(ended, labels=ENDED_STATES, as_json=False)


def _find_schedule(service: Service, name: str) -> Schedule:
    for schedule in service.schedules:
        if schedule.name == name:
            return schedule
    names = ", ".join(schedule.name for schedule in service.schedules)
    raise NotFound(f"There is no sequence called “{name}”. The sequences are: {names}.")


def _step_row(
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


def _format_step(step: dict[str, object]) -> dict[str, object]:
    days, window, weekdays, skip = (step[key] for key in ("delay_days", "window", "weekdays", "skip"))
    assert isinstance(window, list) and isinstance(weekdays, list)
    return {
        **step,
        "after": "at once" if not days else f"{days} day{'' if days == 1 else 's'}",
        "hours": " to ".join(window),
        "days": "every day" if len(weekdays) == len(DAYS) else " ".join(weekdays),
        "skip": GOALS.get(str(skip), ""),
    }
