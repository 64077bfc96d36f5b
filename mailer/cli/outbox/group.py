"""`mailer outbox`: shows what waits, what was sent, what failed, and why."""

from collections.abc import Mapping, Sequence

import click

from mailer.cli import context, output, parameter_types
from mailer.cli.outbox import resolving, retrying
from mailer.coordination import counters, suspensions
from mailer.outbox import attempts, stats
from mailer.outbox.outbox import STATES
from mailer.outbox.stats import OutboxStats
from mailer.people import message_events, messages
from mailer.policy import POLICY

STATS_LABELS = {
    "due": "Due now",
    "later": "Due later",
    "oldest": "Oldest waiting",
    "left": "Left",
    "finish": "All sent by",
}
RELAY_COLUMNS = {"relay": "Mail server", **{outcome: outcome.capitalize() for outcome in attempts.OUTCOMES}}


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
@click.option("--limit", default=50, show_default=True, type=parameter_types.LIMIT, help="How many to show.")
@output.json_option
def list_(*, state: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """Show messages, the newest first: “mailer outbox list --state failed”."""
    _print_messages(limit=limit, state=state, kind=kind, as_json=as_json, none="There is no such message.")


@command.command()
@click.option("--limit", default=50, show_default=True, type=parameter_types.LIMIT, help="How many to show.")
@output.json_option
def unknown(*, limit: int, as_json: bool) -> None:
    """Show messages of which nobody can say whether they arrived, and why.

    Confirmations and invitations were sent once more already. The others wait for you: ask the person, or
    leave it. “mailer outbox resolve 12 --sent” or “--resend” says what you decided.
    """
    _print_messages(limit=limit, state="unknown", kind=None, as_json=as_json, none="Nothing is unknown.")


def _print_messages(*, limit: int, state: str | None, kind: str | None, as_json: bool, none: str) -> None:
    with context.open_service() as service, service.database.read() as session:
        rows = messages.list_newest(session, limit=limit, state=state, kind=kind)
    output.print_rows(rows, columns=messages.MESSAGE_COLUMNS, as_json=as_json, none=none)
    if len(rows) == limit and not as_json:
        output.print_line(f"Only the newest {limit} are shown; --limit shows more.")


@command.command()
@click.argument("number", type=parameter_types.ROW)
@output.json_option
def show(*, number: int, as_json: bool) -> None:
    """Show one message, what became of it, and what the server said each time: “mailer outbox show 12”."""
    with context.open_service() as service, service.database.read() as session:
        message = messages.get(session, number)
        history = message_events.list_events(message, now=service.clock.now())
    if as_json:
        output.print_json({**message, "history": history})
        return
    output.print_facts(message, labels=messages.DETAIL_COLUMNS, as_json=False)
    output.print_line("")
    output.print_rows(history, columns=message_events.COLUMNS, as_json=False)
    attempts = message["attempts"]
    assert isinstance(attempts, list)
    output.print_line("")
    output.print_rows(
        attempts, columns=messages.ATTEMPT_COLUMNS, as_json=False, none="It was never handed to a server."
    )


command.add_command(retrying.command)


@command.command("stats")
@output.json_option
def show_stats(*, as_json: bool) -> None:
    """Count messages by kind and state, and say what waits, why, and when it will have left."""
    with context.open_service() as service, service.database.read() as session:
        outbox_stats = stats.collect(session, now=service.clock.now())
        waiting_counts = messages.count_by_reason(session)
        relays = _list_relay_rows(attempts.select_relay_totals(counters.read_totals(session)))
        suspended_scopes = sorted(suspensions.read_all(session))
    kinds = [
        {"kind": kind, **{state: outbox_stats.counts.get((kind, state), 0) for state in STATES}}
        for kind in sorted({kind for kind, _ in outbox_stats.counts})
    ]
    if as_json:
        waiting = [
            {"state": state, "why": sentence, "number": number}
            for (state, sentence), number in waiting_counts.items()
        ]
        delivery_facts = {"relays": relays, "paused": suspended_scopes}
        output.print_json(
            {"kinds": kinds, "waiting": waiting, **delivery_facts, **_stats_values(outbox_stats)}
        )
        return
    used_states = [state for state in STATES if any(row[state] for row in kinds)]
    columns = {"kind": "Kind", **{state: state.capitalize() for state in used_states}}
    output.print_rows(
        [*kinds, *_sum_rows(kinds, used_states)], columns=columns, as_json=False, none="The outbox is empty."
    )
    for (state, sentence), number in sorted(waiting_counts.items()):
        output.print_line(f"{number:>7,}  {state}: {sentence}")
    for scope in suspended_scopes:
        output.print_line(f"Paused: {scope.partition('/')[2]}. “mailer relay list” says why.")
    if len(relays) > 1:
        output.print_line("")
        output.print_rows(relays, columns=RELAY_COLUMNS, as_json=False)
    if kinds:
        output.print_line("")
        output.print_facts(_stats_phrases(outbox_stats), labels=STATS_LABELS, as_json=False)


def _list_relay_rows(sums: Mapping[tuple[str, str], int]) -> Sequence[Mapping[str, object]]:
    """Return the number of each outcome for each relay."""
    names = sorted({relay for relay, _ in sums})
    outcomes = attempts.OUTCOMES
    return [{"relay": name, **{each: sums.get((name, each), 0) for each in outcomes}} for name in names]


def _sum_rows(
    kinds: Sequence[Mapping[str, object]], used_states: Sequence[str]
) -> Sequence[Mapping[str, object]]:
    """Return a row of sums, when there is more than one row."""
    sums = {state: sum(int(str(row[state])) for row in kinds) for state in used_states}
    return [{"kind": "all", **sums}] if len(kinds) > 1 else []


def _stats_values(outbox_stats: OutboxStats) -> dict[str, object]:
    age = outbox_stats.age
    return {
        "states": {state: outbox_stats.count_in_state(state) for state in STATES},
        "due": outbox_stats.waiting,
        "later": outbox_stats.later,
        "next_due": outbox_stats.next_due,
        "oldest_waiting_since": outbox_stats.oldest,
        "oldest_waiting_seconds": None if age is None else int(age.total_seconds()),
        "left_last_minute": outbox_stats.last_minute,
        "left_last_hour": outbox_stats.last_hour,
        "finish": outbox_stats.finish,
    }


def _stats_phrases(outbox_stats: OutboxStats) -> dict[str, object]:
    finish = outbox_stats.finish
    if not outbox_stats.waiting:
        finish_phrase = "nothing is due now" if outbox_stats.later else "nothing waits"
    elif finish is None:
        finish_phrase = "unknown, because nothing has left within the last minute"
    else:
        finish_phrase = (
            f"{output.format_value(finish)}, in {output.format_duration(finish - outbox_stats.at)}"
        )
    later = (
        f"{outbox_stats.later:,}"
        if outbox_stats.later < stats.MAX_LATER
        else f"{outbox_stats.later:,} or more"
    )
    if outbox_stats.next_due:
        later += f", the next at {output.format_value(outbox_stats.next_due)}"
    return {
        "due": f"{outbox_stats.waiting:,}",
        "later": later,
        "oldest": "none waits"
        if outbox_stats.age is None
        else f"due for {output.format_duration(outbox_stats.age)}",
        "left": f"{outbox_stats.last_minute:,} in the last minute,"
        f" {outbox_stats.last_hour:,} in the last hour",
        "finish": finish_phrase,
    }
