"""`mailer outbox`: what waits, what left, what failed, and why."""

import click

from mailer import outbox
from mailer.cli import messages, opening, output
from mailer.outbox import STATES
from mailer.policy import POLICY


@click.group()
def command() -> None:
    """See what waits, what left, what failed, and why.

    “queued” leaves when it is due; “held” waits for a reason to end; “unknown” may or may not have arrived;
    “expired” was too late; “cancelled” must not leave any more, mostly because the person left.
    """


@command.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only messages in this state.")
@click.option("--kind", type=click.Choice(sorted(POLICY)), help="Only messages of this kind.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many to show.")
@output.json_option
def list_(*, state: str | None, kind: str | None, limit: int, as_json: bool) -> None:
    """Show messages, the newest first: “mailer outbox list --state failed”."""
    with opening.service() as service, service.database.read() as session:
        found = messages.found(session, limit=limit, state=state, kind=kind)
    output.rows(found, columns=messages.MESSAGE, as_json=as_json, none="There is no such message.")
    if len(found) == limit and not as_json:
        output.say(f"Only the newest {limit} are shown; --limit shows more.")


@command.command()
@click.argument("number", type=int)
@output.json_option
def show(*, number: int, as_json: bool) -> None:
    """Show one message, and what their server said each time: “mailer outbox show 12”."""
    with opening.service() as service, service.database.read() as session:
        message = messages.one(session, number)
    if as_json:
        output.print_json(message)
        return
    output.facts(message, labels=messages.DETAILS, as_json=False)
    attempts = message["attempts"]
    assert isinstance(attempts, list)
    output.say("")
    output.rows(attempts, columns=messages.ATTEMPT, as_json=False, none="It was never handed to a server.")


@command.command()
@output.json_option
def stats(*, as_json: bool) -> None:
    """Count messages by kind and state, and say why some wait."""
    with opening.service() as service, service.database.read() as session:
        counts = outbox.counts(session)
        reasons = messages.reasons(session)
    kinds = [
        {"kind": kind, **{state: counts.get((kind, state), 0) for state in STATES}}
        for kind in sorted({kind for kind, _ in counts})
    ]
    if as_json:
        waiting = [{"state": state, "why": why, "number": number} for (state, why), number in reasons.items()]
        output.print_json({"kinds": kinds, "waiting": waiting})
        return
    used = [state for state in STATES if any(row[state] for row in kinds)]
    columns = {"kind": "Kind", **{state: state.capitalize() for state in used}}
    output.rows(kinds, columns=columns, as_json=False, none="The outbox is empty.")
    for (state, why), number in sorted(reasons.items()):
        if why:
            output.say(f"{number:>7,}  {state}: {why}")
