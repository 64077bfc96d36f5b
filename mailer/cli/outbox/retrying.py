"""`mailer outbox retry`: shows and retries what a fault of ours or a limit of our relays holds back."""

import click
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from lists import audit
from lists.errors import BadInput
from mailer import reasons
from mailer.cli import context, output, parameter_types
from mailer.compose.source import settle_all
from mailer.outbox import held_messages
from mailer.outbox.outbox import OutboxRow
from mailer.reasons import Reason
from mailer.service import Service
from mailer.sources import broadcasts, journeys
from mailer.sources.journeys import Journey

COLUMNS = {"number": "Messages", "kind": "Kind", "state": "State", "why": "Why", "advice": "What to do"}
FAULT_ADVICE = "Mend the text or the name that it tells of; then --all. For an update, send a mended text."
LIMIT_ADVICE = "It leaves by itself once a mail server says it can; see docs/operating.md."


@click.command("retry")
@click.argument("number", type=parameter_types.ROW, required=False)
@click.option("--broadcast", type=parameter_types.ROW, help="All of one update, by its number.")
@click.option("--all", "every", is_flag=True, help="All that is kept back.")
@click.option("--give-up", is_flag=True, help="Do not send them at all.")
@output.json_option
def command(*, number: int | None, broadcast: int | None, every: bool, give_up: bool, as_json: bool) -> None:
    """Show what a fault of ours or a limit of our mail servers keeps back; try it again: “… retry --all”.

    None of it says anything about the people it is for. What is held is also tried again when the service
    starts, and when its text was changed. What “failed” in an earlier version waits for you to decide: try
    it, or give it up with --give-up. Who left meanwhile gets nothing in any case.
    """
    choices = [number is not None, broadcast is not None, every]
    if sum(choices) > 1:
        raise BadInput("Name one message by its number, one update by --broadcast, or all by --all.")
    with context.open_service() as service:
        if not any(choices):
            if give_up:
                raise BadInput("Say what to give up: a number, --broadcast, or --all.")
            _print_held(service, as_json=as_json)
            return
        conditions: list[ColumnElement[bool]] = []
        if number is not None:
            conditions = [OutboxRow.id == number]
        with service.database.write() as session:
            if broadcast is not None:
                broadcasts.get(session, broadcast)
                conditions = [OutboxRow.kind == "broadcast", OutboxRow.ref == broadcast]
            row_count = (
                _give_up(service, session, conditions) if give_up else _retry(service, session, conditions)
            )
    if as_json:
        output.print_json({"given_up" if give_up else "queued": row_count})
        return
    phrase = "given up" if give_up else "queued again; “mailer serve” sends what can be sent by now"
    output.print_line(f"{row_count:,} {'message is' if row_count == 1 else 'messages are'} {phrase}.")


def _print_held(service: Service, *, as_json: bool) -> None:
    with service.database.read() as session:
        rows = [
            {
                "number": each.number,
                "kind": each.kind,
                "state": each.state,
                "reason": each.reason,
                "detail": each.detail,
                "why": reasons.describe(each.reason, each.detail),
                "advice": FAULT_ADVICE if each.reason == Reason.OUR_FAULT else LIMIT_ADVICE,
            }
            for each in held_messages.count_by_reason(session)
        ]
    none = "Nothing is kept back by a fault of ours or a limit of our mail servers."
    output.print_rows(rows, columns=COLUMNS, as_json=as_json, none=none)
    if rows and not as_json:
        output.print_line("“mailer outbox retry --all” tries them again; with --give-up they are not sent.")


def _retry(service: Service, session: Session, conditions: list[ColumnElement[bool]]) -> int:
    """Queue again; sequences that a failure stopped continue from where they ended."""
    now = service.clock.now()
    row_count, entries = held_messages.retry(session, *conditions, now=now)
    journey_ids = [entry.ref for entry in entries if entry.kind == "sequence"]
    journeys.change_state(session, Journey.state == "stopped", Journey.id.in_(journey_ids), to="sending")
    audit.record(
        session, actor=context.ACTOR, action="outbox retry", subject=f"{row_count} messages", now=now
    )
    return row_count


def _give_up(service: Service, session: Session, conditions: list[ColumnElement[bool]]) -> int:
    """Give up; sequences continue with the next step."""
    now = service.clock.now()
    results = held_messages.give_up(session, *conditions)
    journey_ids = [result.entry.ref for result in results if result.entry.kind == "sequence"]
    journeys.change_state(session, Journey.state == "stopped", Journey.id.in_(journey_ids), to="sending")
    settle_all(session, service.sources, results, now=now)
    audit.record(
        session, actor=context.ACTOR, action="outbox give up", subject=f"{len(results)} messages", now=now
    )
    return len(results)
