"""`mailer broadcast`: sends an update to a list, after a preview of recipients and text; and recalls it."""

from collections.abc import Mapping
from pathlib import Path

import click
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lists import catalog
from lists.contacts import LANGUAGES
from lists.errors import BadInput, Conflict
from mailer import reasons
from mailer.cli import context, output, parameter_types, progress
from mailer.cli.lists.group import LANGUAGE_NAMES
from mailer.cli.parameter_types import FILE_PATH
from mailer.compose.editions import Edition
from mailer.outbox import outbox, stats
from mailer.outbox.outbox import OutboxRow
from mailer.service import Service
from mailer.sources import broadcasts
from mailer.sources.broadcasts import Broadcast, RecipientCount
from mailer.templates import templates
from mailer.templates.rendering import RenderedMessage
from mailer.templates.templates import Template

KIND = "broadcast"
SAMPLE_NAME = "Alex"
SEGMENT_HELP = "Only to those who were sent a mail of this list whose link to leave did not work: dead-links."
SEGMENT_PHRASES = {"": "", broadcasts.DEAD_LINKS: " who were sent a mail whose link to leave did not work"}
COLUMNS = {"id": "Number", "subject": "Subject", "audience": "To", "created_at": "Created", "state": "State"}
STATUS_LABELS = {**COLUMNS, "segment": "Only to", "filled_at": "All in the outbox", "recalled_at": "Recalled"}
WAITING = ("queued", "sending")
STOPPABLE = (*WAITING, "held", "unknown")  # unknown ones are not sent again


@click.group()
def command() -> None:
    """Send an update to a list, after a look at who gets it.

    Example: “mailer broadcast send --file update.md --audience interest --dry-run”.
    If something is wrong with it, stop it: “mailer broadcast recall 2”.
    """


@command.command()
@click.option("--file", required=True, type=FILE_PATH, help="The text, as a Markdown file.")
@click.option("--audience", required=True, help="The list it goes to.")
@click.option("--segment", type=click.Choice(broadcasts.SEGMENTS), help=SEGMENT_HELP)
@click.option("--people", is_flag=True, help="Name everybody who would get it.")
@click.option("--dry-run", is_flag=True, help="Only show who would get it, and how it reads.")
@click.option("--yes", is_flag=True, help="Send it without asking.")
@click.option("--again", is_flag=True, help="Send it even if exactly this text went to this list before.")
@output.json_option
def send(
    *,
    file: Path,
    audience: str,
    segment: str | None,
    people: bool,
    dry_run: bool,
    yes: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Send an update: “mailer broadcast send --file update.md --audience interest”.

    The file begins with its subject between two lines of three dashes; the text below is Markdown. For two
    languages, give the subject as “en:” and “es:”, and put each text below a line <!-- en --> or <!-- es -->.

    First it shows how many people get it, who is left out and why, and how it reads. Then it asks. What you
    saw is what leaves.

    What happens next: every message is put into the outbox, and “mailer serve” sends them; confirmations and
    invitations overtake them. If this is stopped in the middle, “mailer serve” goes on where it stopped.
    """
    segment = segment or ""
    if as_json and not (yes or dry_run):
        raise BadInput("With --json nobody is asked, so add --yes to send it, or --dry-run to look.")
    template = Template(name=KIND, sources=templates.parse_update(templates.read(file), path=file.name))
    with context.open_sending_service() as service:
        edition, previews, recipient_count = _prepare(service, template, audience, segment)
        with service.database.read() as session:
            empty_fields = service.editions.library.list_empty_fields(session)
            now = service.clock.now()
            emails = (
                broadcasts.list_recipients(session, audience=audience, segment=segment, now=now)
                if people
                else ()
            )
        notes = _list_notes(edition, recipient_count, empty_fields)
        report: dict[str, object] = {
            "audience": audience, "segment": segment, "readers": recipient_count.total, "notes": notes,
            **({"people": emails} if people else {}),
            "languages": recipient_count.languages, "left_out": recipient_count.exclusions,
            "previews": previews,
        }  # fmt: skip
        if not as_json:
            _print_preview(f"{audience}{SEGMENT_PHRASES[segment]}", previews, recipient_count, notes)
            for email in emails:
                output.print_line(f"         {email}")
        if dry_run:
            if as_json:
                output.print_json({**report, "broadcast": None})
            else:
                output.print_line("Nothing was sent. Leave out --dry-run to send it.")
            return
        if not recipient_count.total:
            raise Conflict(
                f"Nobody on the list {audience}{SEGMENT_PHRASES[segment]} may be written to now,"
                " so there is nothing to send."
            )
        if not yes:
            click.confirm(f"Send it to {_format_people(recipient_count.total)}?", abort=True, err=True)
        number = _create(service, template, audience, segment, again=again)
        queued_count = _fill(service, number, recipient_count.total)
    if as_json:
        output.print_json({**report, "broadcast": number, "put": queued_count})
        return
    output.print_line(
        f"Update {number} is in the outbox for {_format_people(queued_count)}. “mailer serve” sends it."
    )
    output.print_line(f"“mailer broadcast status {number}” tells how far it has come.")
    output.print_line(f"“mailer broadcast recall {number}” stops it.")


@command.command("list")
@output.json_option
def list_(*, as_json: bool) -> None:
    """Show every update, the newest first, and what became of its messages."""
    with context.open_service() as service, service.database.read() as session:
        updates = broadcasts.list_all(session)
        rows = session.execute(
            select(OutboxRow.ref, OutboxRow.state, func.count())
            .where(OutboxRow.kind == KIND)
            .group_by(OutboxRow.ref, OutboxRow.state)
        )
        counts: dict[int, dict[str, int]] = {}
        for ref, state, number in rows:
            counts.setdefault(ref, {})[state] = number
    table_rows = [_to_row(broadcast, counts.get(broadcast.id, {})) for broadcast in updates]
    columns = {**COLUMNS, "sent": "Sent", "waiting": "Waiting", "others": "Others"}
    output.print_rows(table_rows, columns=columns, as_json=as_json, none="No update was ever sent.")


@command.command()
@click.argument("number", type=parameter_types.ROW)
@output.json_option
def status(*, number: int, as_json: bool) -> None:
    """Tell how far an update has come: “mailer broadcast status 2”.

    The counts are those of the outbox: “queued” and “sending” leave soon, “held” waits for a reason to end,
    “cancelled” people left before it reached them, “failed” addresses were refused by their server.
    """
    with context.open_service() as service, service.database.read() as session:
        broadcast = broadcasts.get(session, number)
        counts = _count_states(session, number)
    row = _to_row(broadcast, counts)
    if as_json:
        output.print_json(row)
        return
    output.print_facts(row, labels=STATUS_LABELS, as_json=False)
    for state in outbox.STATES:
        if counts.get(state):
            output.print_line(f"{counts[state]:>7,}  {state}")
    if not counts:
        output.print_line("No message of it is in the outbox yet.")


@command.command()
@click.argument("number", type=parameter_types.ROW)
@click.option("--yes", is_flag=True, help="Recall it without asking.")
@output.json_option
def recall(*, number: int, yes: bool, as_json: bool) -> None:
    """Stop an update that is being sent: “mailer broadcast recall 2”.

    A second after your yes nothing of it begins any more, however many messages wait. Whoever has it keeps
    it: a mail cannot be taken back. A recall is for good; to send the text after all, send it again.

    If this is stopped after your yes, “mailer serve” clears up what waits, and so does the same command.
    """
    if as_json and not yes:
        raise BadInput("With --json nobody is asked, so add --yes to recall it.")
    with context.open_service() as service:
        with service.database.read() as session:
            broadcast = broadcasts.get(session, number)
            counts_before = _count_states(session, number)
        waiting = sum(counts_before.get(state, 0) for state in STOPPABLE)
        if broadcast.state != "recalled":
            if not waiting and broadcast.state == "filled":
                raise Conflict(f"Nothing of update {number} waits, so there is nothing to recall.")
            if not yes:
                click.confirm(
                    _recall_question(broadcast, counts_before.get("sent", 0), waiting), abort=True, err=True
                )
            with service.database.write() as session:
                broadcasts.recall(session, number, now=service.clock.now(), actor=context.ACTOR)
        _withdraw(service, waiting)
        with service.database.read() as session:
            counts = _count_states(session, number)
    if as_json:
        output.print_json({"broadcast": number, "counts": counts})
        return
    sent, stopped, under_way = (counts.get(state, 0) for state in ("sent", "cancelled", "sending"))
    output.print_line(
        f"Update {number} is recalled: {_format_people(sent)} had it already,"
        f" {_format_people(stopped)} will not get it."
    )
    if under_way:
        output.print_line(
            f"It was about to leave for {_format_people(under_way)}; “mailer broadcast status {number}”"
            " tells in a moment whether it did."
        )


def _recall_question(broadcast: Broadcast, sent: int, waiting: int) -> str:
    suffix = " Not everybody is in the outbox yet." if broadcast.state == "filling" else ""
    return (
        f"Update {broadcast.id}, “{broadcast.subject}”: sent to {_format_people(sent)} already,"
        f" and waiting for {_format_people(waiting)}.{suffix} Recall it?"
    )


def _withdraw(service: Service, waiting: int) -> None:
    with progress.show_bar("Out of the outbox", total=waiting) as report:
        for count in service.jobs.withdraw_broadcasts():
            report(count)


def _count_states(session: Session, number: int) -> dict[str, int]:
    return {
        state: count
        for (_, state), count in stats.count_by_kind_and_state(session, kind=KIND, ref=number).items()
    }


def _prepare(
    service: Service, template: Template, audience: str, segment: str
) -> tuple[Edition, dict[str, dict[str, str]], RecipientCount]:
    """Count the recipients and render each language for a sample reader; nothing of it is stored."""
    now = service.clock.now()
    with service.database.write() as session:
        catalog.check_name(session, audience)
        broadcasts.check_segment(session, audience=audience, segment=segment)
        edition = service.editions.freeze(session, template, KIND, now=now)
        session.expunge(edition)
        session.rollback()
    service.preflight.check_update(edition, list=audience, now=now)
    with service.database.read() as session:
        recipient_count = broadcasts.count_recipients(session, audience=audience, now=now, segment=segment)
    previews = {}
    for language in edition.content:
        preview = _preview(service, edition, language, audience)
        previews[language] = {"subject": preview.subject, "text": preview.text}
    return edition, previews, recipient_count


def _preview(service: Service, edition: Edition, language: str, audience: str) -> RenderedMessage:
    """Render for the sample reader, whose links lead nowhere: there is no contact number 0."""
    sample = {
        "name": SAMPLE_NAME,
        "leave_url": service.links.unsubscribe_url(0, audience),
        "preferences_url": service.links.preferences_url(0),
    }
    return service.editions.preview(edition, language, sample=sample)


def _list_notes(edition: Edition, recipient_count: RecipientCount, empty_fields: frozenset[str]) -> list[str]:
    """Return notes for staff to read before they send."""
    languages = list(edition.content)
    notes = []
    for language, number in sorted(recipient_count.languages.items()):
        if language not in languages:
            verb = "reads" if number == 1 else "read"
            notes.append(
                f"{_format_people(number)} {verb} {LANGUAGE_NAMES[language]}, and this update has no"
                f" {LANGUAGE_NAMES[language]} text: they get it in {LANGUAGE_NAMES[languages[0]]}."
            )
    for language in languages:
        missing = sorted(empty_fields.intersection(edition.content[language]["names"]))
        if missing:
            names = ", ".join(name.removesuffix("_url") for name in missing)
            notes.append(
                f"The {LANGUAGE_NAMES[language]} text leads to a resource that nobody has given ({names}):"
                " its messages are held until “mailer resource add” gives it."
            )
    return notes


def _print_preview(
    audience: str,
    previews: Mapping[str, Mapping[str, str]],
    recipient_count: RecipientCount,
    notes: list[str],
) -> None:
    for language, preview in previews.items():
        output.print_line(f"--- {LANGUAGE_NAMES[language]}, as {SAMPLE_NAME} would read it ---")
        output.print_line(f"Subject: {preview['subject']}\n\n{preview['text'].rstrip()}\n")
    output.print_line(f"--- Who gets it: {_format_people(recipient_count.total)} of the list {audience} ---")
    for language in sorted(recipient_count.languages, key=LANGUAGES.index):
        output.print_line(f"{recipient_count.languages[language]:>7,}  read {LANGUAGE_NAMES[language]}")
    for reason, number in sorted(recipient_count.exclusions.items()):
        output.print_line(f"{number:>7,}  do not get it: {reasons.describe(reason)}")
    for note in notes:
        output.print_line(f"Please note: {note}")


def _create(service: Service, template: Template, audience: str, segment: str, *, again: bool) -> int:
    """Freeze the text and create the update; raises Conflict when the same text went to this list before."""
    now = service.clock.now()
    with service.database.write() as session:
        edition = service.editions.freeze(session, template, KIND, now=now)
        condition = (Broadcast.edition_id == edition.id) & (Broadcast.audience == audience)
        condition &= Broadcast.segment == segment
        previous = session.scalars(select(Broadcast).where(condition).order_by(Broadcast.id.desc())).first()
        if previous is not None and not again:
            raise Conflict(
                f"Exactly this text went to the list {audience} on {previous.created_at:%B %-d, %Y}, as"
                f" update {previous.id}. Nothing was sent. Add --again to send it once more."
            )
        subject = next(iter(template.sources.values())).subject
        return broadcasts.create(
            session,
            subject=subject,
            audience=audience,
            segment=segment,
            edition_id=edition.id,
            now=now,
            actor=context.ACTOR,
        ).id


def _fill(service: Service, number: int, readers: int) -> int:
    """Queue the update; returns for how many people it is in the outbox now."""
    with progress.show_bar("Into the outbox", total=readers) as report:
        for count in service.jobs.fill_broadcast(number):
            report(count)
    with service.database.read() as session:
        return sum(_count_states(session, number).values())


def _to_row(broadcast: Broadcast, counts: Mapping[str, int]) -> dict[str, object]:
    waiting = sum(counts.get(state, 0) for state in WAITING)
    sent = counts.get("sent", 0)
    others = sum(counts.values()) - waiting - sent
    values = {key: getattr(broadcast, key) for key in STATUS_LABELS}
    return {**values, "sent": sent, "waiting": waiting, "others": others, "counts": dict(counts)}


def _format_people(number: int) -> str:
    return "one person" if number == 1 else f"{number:,} people"
