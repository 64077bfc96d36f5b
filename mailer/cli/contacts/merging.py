"""`mailer contact merge` and `duplicates`: merges two addresses of one person, after a preview."""

import re
from dataclasses import asdict

import click

from lists.errors import BadInput, Conflict
from lists.identity import duplicates
from mailer.cli import context, output, parameter_types
from mailer.cli.contacts import editing
from mailer.people import merging
from mailer.people.merging import MergePreview

DETAIL_LABELS = {
    "email": "Address",
    "name": "Name",
    "language": "Language",
    "zip": "ZIP",
    "city": "City",
    "organization": "Organization",
    "tradition": "Tradition",
    "role": "Role",
    "discreet": "Discreet mail",
}
VERSIONS = re.compile(r"[0-9]{1,10}\.[0-9]{1,10}")
NEVER_JOINED = "never joined"
PAIR_COLUMNS = {"why": "Why", "email": "Address", "other": "Other address"}


@click.command()
@click.argument("keep")
@click.argument("other")
@click.option("--yes", is_flag=True, help="Do it; without this it is only shown.")
@click.option("--seen", default="", help="What the look at both said; refuses if either has changed since.")
@output.json_option
def merge(*, keep: str, other: str, yes: bool, seen: str, as_json: bool) -> None:
    """Make one contact of two: “mailer contact merge ana@example.org ana@old.example.org”.

    The first address stays, the second goes. Without --yes this only shows what each has and what will be.
    What the first does not have is filled from the second; nothing of the first is overwritten.

    The stricter answer wins: who left a list with either address has left it, what was declined with either
    stays declined, a pause lasts as long as the longer one. What either got is not sent again, and what waits
    for the second address is cancelled. Links in mails to the second address still work for leaving.

    This cannot be undone.
    """
    with context.open_service() as service:
        with service.database.read() as session:
            keep_contact, other_contact = (
                editing.find_contact(service, session, keep),
                editing.find_contact(service, session, other),
            )
            preview = merging.preview(session, keep_contact, other_contact, now=service.clock.now())
        versions = _parse_versions(seen) if seen else preview.plan.versions
        if yes:
            with service.database.write() as session:
                preview = merging.merge(
                    session,
                    keep_contact.id,
                    other_contact.id,
                    versions=versions,
                    now=service.clock.now(),
                    actor=context.ACTOR,
                )
            service.jobs.write_departures()
            service.database.truncate_wal()
    if as_json:
        output.print_json(_build_result(preview, is_applied=yes))
        return
    _print_preview(preview)
    if yes:
        output.print_line(f"\nDone. They are one contact now: {keep_contact.email}.")
    elif preview.plan.refusal:
        raise Conflict(preview.plan.refusal)
    else:
        addresses = f"{keep_contact.email} {other_contact.email}"
        command_line = f"mailer contact merge {addresses} --seen {_format_versions(preview)} --yes"
        output.print_line(f"\nNothing was changed. To do it: {command_line}")


@click.command("duplicates")
@click.option("--limit", default=50, show_default=True, type=parameter_types.LIMIT, help="How many pairs.")
@output.json_option
def list_duplicates(*, limit: int, as_json: bool) -> None:
    """Name pairs that are likely one person; nothing is merged.

    They have the same mailbox (ana+news@ and ana@; dots in a Gmail address), or the same name and ZIP code.
    Two people can share both, so look before you merge: “mailer contact merge ADDRESS OTHER”.
    """
    with context.open_service() as service, service.database.read() as session:
        pairs = duplicates.find_pairs(session, limit=limit)
    rows = [{"why": each.why, "email": each.email, "other": each.other} for each in pairs]
    output.print_rows(rows, columns=PAIR_COLUMNS, as_json=as_json, none="None that can be seen.")


def _format_versions(preview: MergePreview) -> str:
    return ".".join(str(version) for version in preview.plan.versions)


def _parse_versions(text: str) -> tuple[int, int]:
    if not VERSIONS.fullmatch(text):
        raise BadInput(f"“{text}” is not what the look at both said; it is like 3.1.")
    keep_version, other_version = map(int, text.split("."))
    return keep_version, other_version


def _build_result(preview: MergePreview, *, is_applied: bool) -> dict[str, object]:
    plan = preview.plan
    lists = [
        {"list": name, "keep": keep_state, "other": other_state, "becomes": becomes}
        for name, (keep_state, other_state, becomes) in plan.lists.items()
    ]
    return {
        "merged": is_applied,
        "refusal": plan.refusal,
        "seen": _format_versions(preview),
        "details": [asdict(each) for each in plan.details],
        "lists": lists,
        "declined": plan.declined_topics,
        "suppressed": plan.suppression_reason,
        "paused_until": plan.paused_until,
        "messages": preview.message_count,
        "cancelled": preview.cancelled,
    }


def _print_preview(preview: MergePreview) -> None:
    plan = preview.plan
    rows: list[dict[str, object]] = [
        {**asdict(each), "what": DETAIL_LABELS.get(each.what, each.what)}
        for each in plan.details
        if each.keep or each.other
    ]
    for name, (keep_state, other_state, becomes) in plan.lists.items():
        states = {
            "keep": keep_state or NEVER_JOINED,
            "other": other_state or NEVER_JOINED,
            "becomes": becomes,
        }
        rows.append({"what": f"List {name}", **states})
    columns = {"what": "", "keep": "Stays", "other": "Goes", "becomes": "Will be"}
    output.print_rows(rows, columns=columns, as_json=False)
    output.print_line("")
    if plan.declined_topics:
        output.print_line(f"Does not want: {', '.join(plan.declined_topics)}.")
    if plan.paused_until:
        output.print_line(f"Paused until {output.format_value(plan.paused_until)}.")
    if plan.suppression_reason:
        output.print_line(f"Must not be written to: {plan.suppression_reason}.")
    output.print_line(
        f"Messages that move: {preview.message_count:,};"
        f" of these cancelled because they wait: {preview.cancelled:,}."
    )
