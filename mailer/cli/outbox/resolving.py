"""`mailer outbox resolve`: decides the result of messages in doubt, one or many at once."""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta

import click
from sqlalchemy.orm import Session

from lists import audit
from lists.errors import BadInput
from mailer import reasons
from mailer.batches import write_in_batches
from mailer.cli import context, output, parameter_types
from mailer.outbox import in_doubt
from mailer.outbox.in_doubt import Resolution, Selection
from mailer.policy import POLICY
from mailer.service import Service
from mailer.sources import broadcasts

BATCH_SIZE = 2_500  # rows in one transaction
AGE_PATTERN = re.compile(r"([1-9][0-9]{0,3})\s*([hd])")
UNITS = {"h": "hours", "d": "days"}
COUNT_COLUMNS = {"kind": "Kind", "why": "Why", "age": "In the outbox for", "number": "Messages"}
UNDECIDED_SENTENCE = "Say what you decided: --sent if it arrived, --resend to send it once more."


@click.command(name="resolve")
@click.argument("number", type=parameter_types.ROW, required=False)
@click.option("--all", "everything", is_flag=True, help="All that wait for a decision.")
@click.option("--broadcast", type=parameter_types.ROW, help="All of one update, by its number.")
@click.option("--kind", type=click.Choice(sorted(POLICY)), help="All of one kind.")
@click.option("--older-than", "age", help="All put into the outbox longer ago than this, such as 6h or 2d.")
@click.option("--restored", is_flag=True, help="All that may have left before a backup was restored.")
@click.option("--sent", "decision", flag_value="sent", help="It arrived.")
@click.option("--resend", "decision", flag_value="resend", help="Send it once more; it may arrive twice.")
@click.option("--yes", is_flag=True, help="Decide about many without asking.")
@output.json_option
def command(
    *,
    number: int | None,
    everything: bool,
    broadcast: int | None,
    kind: str | None,
    age: str | None,
    restored: bool,
    decision: Resolution | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Decide about one unknown message, or about many: “mailer outbox resolve 12 --sent”.

    “mailer outbox resolve --broadcast 3” only looks: it counts what waits by kind, reason and age. With
    --sent or --resend it counts, asks, and decides about all of them. --broadcast, --kind and --older-than
    narrow it together; --all takes every one.

    Who has left since then gets nothing, whatever you decide, and what is too late by now is not sent either.
    After a restore, “mailer outbox resolve --restored --sent” decides about all that may have left from the
    lost machine.
    """
    has_filter = any(each is not None for each in (broadcast, kind, age))
    if sum((number is not None, restored, everything, has_filter)) != 1:
        raise BadInput(
            "Name one message by its number, or many: --all, --restored, or some of --broadcast, --kind and"
            " --older-than."
        )
    if decision is None and (number is not None or restored):
        raise BadInput(UNDECIDED_SENTENCE)
    with context.open_service() as service:
        if number is not None or restored:
            assert decision is not None
            _resolve_one(service, number, decision)
            return
        selection = Selection(
            kind=kind, broadcast=broadcast, before=service.clock.now() - _parse_age(age) if age else None
        )
        words = {"broadcast": broadcast, "kind": kind, "older than": age}
        subject = ", ".join(f"{name} {word}" for name, word in words.items() if word is not None)
        _resolve_many(service, selection, decision, subject=subject or "all", yes=yes, as_json=as_json)


def _resolve_one(service: Service, number: int | None, decision: Resolution) -> None:
    """Decide about one message, or about all of a restore."""
    with service.database.write() as session:
        now = service.clock.now()
        if number is None:
            row_count, subject = in_doubt.resolve_restored(session, decision, now=now), "restored"
            sentence = f"Decided about {row_count:,} messages."
        else:
            in_doubt.resolve(session, number, decision, now=now)
            subject = f"message {number}"
            phrase = "counts as sent" if decision == "sent" else "leaves once more; “mailer serve” sends it"
            sentence = f"Message {number} {phrase}."
        audit.record(session, actor=context.ACTOR, action=f"resolve {decision}", subject=subject, now=now)
    output.print_line(sentence)


def _resolve_many(
    service: Service,
    selection: Selection,
    decision: Resolution | None,
    *,
    subject: str,
    yes: bool,
    as_json: bool,
) -> None:
    if as_json and decision is not None and not yes:
        raise BadInput(
            "With --json nobody is asked, so add --yes to decide, or leave the decision out to look."
        )
    with service.database.read() as session:
        if selection.broadcast is not None:
            broadcasts.get(session, selection.broadcast)
        counts = [
            {**row, "why": reasons.describe(str(row["reason"]))}
            for row in in_doubt.count_unresolved(session, selection, now=service.clock.now())
        ]
    total = _sum_rows(counts)
    if not as_json:
        output.print_rows(
            counts, columns=COUNT_COLUMNS, as_json=False, none="Nothing of this waits for a decision."
        )
    decided_count = 0
    if total and decision is not None:
        if not yes:
            click.confirm(_confirm_question(total, decision), abort=True, err=True)
        decided_count = _decide(service, selection, decision, subject=f"{subject}: {total} messages")
    if as_json:
        output.print_json({"unknown": counts, "decision": decision, "decided": decided_count})
    elif total and decision is None:
        output.print_line(f"{_format_messages(total)} of this. Nothing was decided. {UNDECIDED_SENTENCE}")
    elif total:
        phrase = "count as sent" if decision == "sent" else "leave once more; “mailer serve” sends them"
        output.print_line(f"Decided about {_format_messages(decided_count)}: they {phrase}.")


def _decide(service: Service, selection: Selection, decision: Resolution, *, subject: str) -> int:
    """Decide about all of the selection, in batches; the audit entry is written with the first."""
    is_recorded = False

    def resolve_batch(session: Session) -> int:
        nonlocal is_recorded
        now = service.clock.now()
        row_count = in_doubt.resolve_some(session, selection, decision, now=now, limit=BATCH_SIZE)
        if row_count and not is_recorded:
            audit.record(session, actor=context.ACTOR, action=f"resolve {decision}", subject=subject, now=now)
            is_recorded = True
        return row_count

    return max(write_in_batches(service.database, service.clock, resolve_batch, limit=1))


def _confirm_question(total: int, decision: Resolution) -> str:
    if decision == "sent":
        return f"Count {_format_messages(total)} as sent?"
    return f"Send {_format_messages(total)} once more? Whoever has it already will get it twice."


def _format_messages(number: int) -> str:
    return "1 message" if number == 1 else f"{number:,} messages"


def _sum_rows(rows: Iterable[Mapping[str, object]]) -> int:
    return sum(int(str(row["number"])) for row in rows)


def _parse_age(text: str) -> timedelta:
    match = AGE_PATTERN.fullmatch(text.strip().lower())
    if match is None:
        raise BadInput(f"{text} is no age that can be read; write hours or days, such as 6h or 2d.")
    return timedelta(**{UNITS[match.group(2)]: int(match.group(1))})
