"""`mailer outbox`: what waits, what left, what failed, and why."""

from collections.abc import Mapping, Sequence

import click

from mailer.cli import opening, output
from mailer.cli.outbox import resolving, retrying
from mailer.coordination import counters, suspensions
from mailer.outbox import attempts, stats
from mailer.outbox.outbox import STATES
from mailer.outbox.stats import OutboxStats
from mailer.people import message_history, messages
from mailer.policy import POLICY

FIGURES = {
    "due": "Due now",
    "later": "Due later",
    "oldest": "Oldest waiting",
    "left": "Left",
    "finish": "All sent by",
}
RELAYS = {"relay": "Mail server", **{outcome: outcome.capitalize() for outcome in attempts.OUTCOMES}}


@click.group()
def command() -> None:
    """See what waits, what left, what failed, and why.

    “queued” leaves when it is due; “held” waits for a reason to end; “unknown” may or may not have arrived;
    “expired” was too late; “cancelled” must not leave any more, mostly because the person left.
    """


command.add_command(resolving.command)


@command.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only messages in this state.")
@click.option("--kind", type=click.Choice(sorted(POLICY)), help="Only messages of this kind.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many to show.")
@output.json_option
def list_(*, state: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """Show messages, the newest first: “mailer outbox list --state failed”."""
    _list(limit=limit, state=state, kind=kind, as_json=as_json, none="There is no such message.")


@command.command()
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many to show.")
@output.json_option
def unknown(*, limit: int, as_json: bool) -> None:
    """Show messages of which nobody can say whether they arrived, and why.

    Confirmations and invitations were sent once more already. The others wait for you: ask the person, or
    leave it. “mailer outbox resolve 12 --sent” or “--resend” says what you decided.
    """
    _list(limit=limit, state="unknown", kind=None, as_json=as_json, none="Nothing is unknown.")


def _list(*, limit: int, state: str | None, kind: str | None, as_json: bool, none: str) -> None:
    with opening.service() as service, service.database.read() as session:
        found = messages.found(session, limit=limit, state=state, kind=kind)
    output.rows(found, columns=messages.MESSAGE, as_json=as_json, none=none)
    if len(found) == limit and not as_json:
        output.say(f"Only the newest {limit} are shown; --limit shows more.")


@command.command()
@click.argument("number", type=int)
@output.json_option
def show(*, number: int, as_json: bool) -> None:
    """Show one message, what became of it, and what the server said each time: “mailer outbox show 12”."""
    with opening.service() as service, service.database.read() as session:
        message = messages.one(session, number)
        happened = message_history.told(message, now=service.clock.now())
    if as_json:
        output.print_json({**message, "history": happened})
        return
    output.facts(message, labels=messages.DETAILS, as_json=False)
    output.say("")
    output.rows(happened, columns=message_history.TOLD, as_json=False)
    attempts = message["attempts"]
    assert isinstance(attempts, list)
    output.say("")
    output.rows(attempts, columns=messages.ATTEMPT, as_json=False, none="It was never handed to a server.")


command.add_command(retrying.command)


@command.command("stats")
@output.json_option
def show_stats(*, as_json: bool) -> None:
    """Count messages by kind and state, and say what waits, why, and when it will have left."""
    with opening.service() as service, service.database.read() as session:
        counted = stats.collect(session, now=service.clock.now())
        reasons = messages.reasons(session)
        relays = _by_relay(attempts.select_relay_totals(counters.read_totals(session)))
        paused = sorted(suspensions.read_all(session))
    kinds = [
        {"kind": kind, **{state: counted.counts.get((kind, state), 0) for state in STATES}}
        for kind in sorted({kind for kind, _ in counted.counts})
    ]
    if as_json:
        waiting = [{"state": state, "why": why, "number": number} for (state, why), number in reasons.items()]
        more = {"relays": relays, "paused": paused}
        output.print_json({"kinds": kinds, "waiting": waiting, **more, **_figures(counted)})
        return
    used = [state for state in STATES if any(row[state] for row in kinds)]
    columns = {"kind": "Kind", **{state: state.capitalize() for state in used}}
    output.rows([*kinds, *_sum(kinds, used)], columns=columns, as_json=False, none="The outbox is empty.")
    for (state, why), number in sorted(reasons.items()):
        output.say(f"{number:>7,}  {state}: {why}")
    for scope in paused:
        output.say(f"Paused: {scope.partition('/')[2]}. “mailer relay list” says why.")
    if len(relays) > 1:
        output.say("")
        output.rows(relays, columns=RELAYS, as_json=False)
    if kinds:
        output.say("")
        output.facts(_spoken(counted), labels=FIGURES, as_json=False)


def _by_relay(sums: Mapping[tuple[str, str], int]) -> Sequence[Mapping[str, object]]:
    """Return what each mail server answered, ever."""
    names = sorted({relay for relay, _ in sums})
    outcomes = attempts.OUTCOMES
    return [{"relay": name, **{each: sums.get((name, each), 0) for each in outcomes}} for name in names]


def _sum(kinds: Sequence[Mapping[str, object]], used: Sequence[str]) -> Sequence[Mapping[str, object]]:
    """Return a row of sums, when there is more than one row to add up."""
    sums = {state: sum(int(str(row[state])) for row in kinds) for state in used}
    return [{"kind": "all", **sums}] if len(kinds) > 1 else []


def _figures(counted: OutboxStats) -> dict[str, object]:
    age = counted.age
    return {
        "states": {state: counted.count_in_state(state) for state in STATES},
        "due": counted.waiting,
        "later": counted.later,
        "next_due": counted.next_due,
        "oldest_waiting_since": counted.oldest,
        "oldest_waiting_seconds": None if age is None else int(age.total_seconds()),
        "left_last_minute": counted.last_minute,
        "left_last_hour": counted.last_hour,
        "finish": counted.finish,
    }


def _spoken(counted: OutboxStats) -> dict[str, object]:
    finish = counted.finish
    if not counted.waiting:
        done = "nothing waits"
    elif finish is None:
        done = "unknown, because nothing has left within the last minute"
    else:
        done = f"{output.shown(finish)}, in {output.lasting(finish - counted.at)}"
    later = f"{counted.later:,}" if counted.later < stats.LATER_MOST else f"{counted.later:,} or more"
    if counted.next_due:
        later += f", the next at {output.shown(counted.next_due)}"
    return {
        "due": f"{counted.waiting:,}",
        "later": later,
        "oldest": "none waits" if counted.age is None else f"due for {output.lasting(counted.age)}",
        "left": f"{counted.last_minute:,} in the last minute, {counted.last_hour:,} in the last hour",
        "finish": done,
    }
