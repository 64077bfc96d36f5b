"""`mailer event`: plans a call, and invites people to it."""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

import click
from sqlalchemy.orm import Session

from lists.errors import Conflict
from mailer import reasons
from mailer.cli import context, output, parameter_types
from mailer.cli.lists.group import LANGUAGE_NAMES
from mailer.events import events
from mailer.events.events import Event
from mailer.outbox import outbox, stats
from mailer.service import Service
from mailer.sources import invitations
from mailer.sources.invitations import ANSWERS, KIND, TEMPLATE, InviteeCount
from mailer.templates import clock_change, local_time

SAMPLE_NAME = "Alex"
COLUMNS = {"id": "Number", "title": "Title", "when": "When", "minutes": "Minutes", "audience": "For"}
COLUMNS |= {"status": "Status", "invited": "Invited", "yes": "Yes", "maybe": "Maybe", "no": "No"}
LABELS = {
    **{key: COLUMNS[key] for key in ("id", "title", "when", "minutes", "audience", "status")},
    "title_es": "In Spanish",
    "description": "Description",
    "description_es": "In Spanish",
    "join_url": "Way in",
    "created_at": "Planned",
    "invited_at": "Invitations since",
}


@click.group()
def command() -> None:
    """Plan a call, and invite people to it.

    First “mailer event create …”, then “mailer event invite 1 --dry-run”, then “mailer event invite 1”.
    """


@command.command()
@click.option("--title", required=True, help="What people see in their calendar.")
@click.option("--title-es", default="", help="The same in Spanish.")
@click.option("--starts", required=True, help='Date and local time, like "2026-12-08 20:00".')
@click.option("--zone", required=True, help="The time zone of --starts, like America/New_York.")
@click.option("--minutes", type=parameter_types.INTEGER, default=60, show_default=True, help="Its length.")
@click.option("--join-url", required=True, help="The link by which people join the call.")
@click.option("--audience", required=True, help="The list that is invited.")
@click.option("--description", default="", help="A few sentences for the calendar entry.")
@click.option("--description-es", default="", help="The same in Spanish.")
@output.json_option
def create(
    *,
    title: str,
    title_es: str,
    starts: str,
    zone: str,
    minutes: int,
    join_url: str,
    audience: str,
    description: str,
    description_es: str,
    as_json: bool,
) -> None:
    """Plan a call; nobody is invited yet.

    Example: mailer event create --title "December call" --title-es "Llamada de diciembre"
    --starts "2026-12-08 20:00" --zone America/New_York --join-url https://example.org/call
    --audience organizers

    What happens next: the call is on the home page. “mailer event invite” sends the invitations.
    """
    with context.open_service() as service:
        with service.database.write() as session:
            event = events.create(
                session,
                title={"en": title, "es": title_es},
                description={"en": description, "es": description_es},
                starts=starts,
                zone=zone,
                minutes=minutes,
                join_url=join_url,
                audience=audience,
                now=service.clock.now(),
                actor=context.ACTOR,
            )
            _compose_samples(service, session, event)
        row = _to_row(event)
    if as_json:
        output.print_json(row)
        return
    output.print_line(f"Call {event.id} is planned: {_format_time(event)}.")
    if "es" not in event.title:
        output.print_line("Please note: it has no Spanish title, so readers of Spanish see the English one.")
    output.print_line(
        f"Nobody is invited yet. “mailer event invite {event.id} --dry-run” shows who would be."
    )


@command.command("list")
@output.json_option
def list_(*, as_json: bool) -> None:
    """Show every call, the latest first, how many are invited, and what they answered."""
    with context.open_service() as service, service.database.read() as session:
        rows = []
        for event in events.list_all(session):
            invited = sum(stats.count_by_kind_and_state(session, kind=KIND, ref=event.id).values())
            rows.append(
                {**_to_row(event), "invited": invited, **invitations.count_answers(session, event.id)}
            )
    output.print_rows(rows, columns=COLUMNS, as_json=as_json, none="No call is planned.")


@command.command()
@click.argument("number", type=parameter_types.ROW)
@output.json_option
def show(*, number: int, as_json: bool) -> None:
    """Tell everything about one call: “mailer event show 1”."""
    with context.open_service() as service, service.database.read() as session:
        event = events.get(session, number)
        row = _to_row(event)
        answers = invitations.count_answers(session, number)
        invitation_counts = stats.count_by_kind_and_state(session, kind=KIND, ref=number)
    counts = {state: count for (_, state), count in invitation_counts.items()}
    if as_json:
        output.print_json({**row, "answers": answers, "invitations": counts})
        return
    labels = {key: label for key, label in LABELS.items() if row[key] not in ("", None)}
    output.print_facts(row, labels=labels, as_json=False)
    if event.invited_at is None:
        output.print_line("\nNobody is invited yet.")
        return
    output.print_line("\nInvitations")
    for state in outbox.STATES:
        if counts.get(state):
            output.print_line(f"{counts[state]:>7,}  {state}")
    output.print_line("\nAnswers")
    for answer in ANSWERS:
        output.print_line(f"{answers[answer]:>7,}  {answer}")


@command.command()
@click.argument("number", type=parameter_types.ROW)
@click.option("--dry-run", is_flag=True, help="Only show who would be invited, and how it reads.")
@output.json_option
def invite(*, number: int, dry_run: bool, as_json: bool) -> None:
    """Invite the call's list: “mailer event invite 1”. Look first with --dry-run.

    Each person gets a private invitation in their own language and local time, with an entry for their
    calendar. Nobody is invited twice, however often this is called.

    What happens next: “mailer serve” sends the invitations, ahead of updates. Whoever joins the list before
    the call is over is invited, too.
    """
    with context.open_sending_service() as service:
        now = service.clock.now()
        with service.database.read() as session:
            event = events.get(session, number)
            invitee_count = service.invitations.count_invitees(session, event, now=now)
        report: dict[str, object] = {
            "event": number,
            "readers": invitee_count.total,
            "languages": invitee_count.languages,
        }
        report |= {"left_out": invitee_count.exclusions}
        if dry_run:
            if event.is_over(now):
                raise Conflict(
                    f"The call “{event.title_in('en')}” is over or cancelled. Nobody is invited to it."
                )
            previews = {language: _preview(service, event, language) for language in LANGUAGE_NAMES}
            if as_json:
                output.print_json({**report, "previews": previews})
                return
            _print_previews(previews, invitee_count)
            output.print_line("Nothing was sent. Leave out --dry-run to invite them.")
            return
        with service.database.write() as session:
            _compose_samples(
                service, session, service.invitations.invite(session, number, now=now, actor=context.ACTOR)
            )
        service.jobs.get(f"fill-{KIND}").run()
        with service.database.read() as session:
            invited = sum(stats.count_by_kind_and_state(session, kind=KIND, ref=number).values())
    if as_json:
        output.print_json({**report, "invited": invited})
        return
    _print_count(invitee_count)
    output.print_line(f"{_format_people(invited)} invited by now. “mailer serve” sends the invitations.")
    output.print_line(f"“mailer event show {number}” tells how far they have come, and who answers what.")


def _compose_samples(service: Service, session: Session, event: Event) -> None:
    """Compose the invitations for sample readers of every kind; raises BadInput for a fault in the call."""
    now = service.clock.now()
    edition = service.editions.freeze(session, service.editions.templates[TEMPLATE], KIND, now=now)
    service.preflight.check_invitations(edition, event, now=now)


def _preview(service: Service, event: Event, language: str) -> dict[str, str]:
    """Render the invitation for a sample reader in the organizer's own time zone; nothing of it is stored."""
    now = service.clock.now()
    with service.database.write() as session:
        edition = service.editions.freeze(session, service.editions.templates[TEMPLATE], KIND, now=now)
        session.expunge(edition)
        session.rollback()
    links = service.links
    sample = {
        "name": SAMPLE_NAME,
        "leave_url": links.unsubscribe_url(0, event.audience),
        "preferences_url": links.preferences_url(0),
        "event_title": event.title_in(language),
        "event_when": local_time.format_for_reader(event.starts_at, zone=event.zone, language=language),
        "event_note": clock_change.describe_clock_change(
            event.starts_at, sent_at=now, zone=event.zone, language=language
        ),
        "event_minutes": str(event.minutes),
        "join_url": event.join_url,
        **{f"rsvp_{answer}_url": links.rsvp_url(event.id, 0, answer=answer) for answer in ANSWERS},
    }
    rendered = service.editions.preview(edition, language, sample=sample)
    return {"subject": rendered.subject, "text": rendered.text}


def _print_previews(previews: Mapping[str, Mapping[str, str]], invitee_count: InviteeCount) -> None:
    for language, preview in previews.items():
        output.print_line(f"--- {LANGUAGE_NAMES[language]}, as {SAMPLE_NAME} would read it ---")
        output.print_line(f"Subject: {preview['subject']}\n\n{preview['text'].rstrip()}\n")
    _print_count(invitee_count)


def _print_count(invitee_count: InviteeCount) -> None:
    output.print_line(f"{_format_people(invitee_count.total)} to be invited now.")
    for language, number in sorted(invitee_count.languages.items()):
        output.print_line(f"{number:>7,}  in {LANGUAGE_NAMES[language]}")
    for reason, number in sorted(invitee_count.exclusions.items()):
        output.print_line(f"{number:>7,}  not: {reasons.describe(reason)}")


def _to_row(event: Event) -> dict[str, object]:
    return {
        "id": event.id,
        "title": event.title_in("en"),
        "title_es": event.title.get("es", ""),
        "description": event.description.get("en", ""),
        "description_es": event.description.get("es", ""),
        "when": _format_time(event),
        "starts_at": event.starts_at,
        "local": event.starts_at.astimezone(ZoneInfo(event.zone)).isoformat(),
        "zone": event.zone,
        "minutes": event.minutes,
        "join_url": event.join_url,
        "audience": event.audience,
        "status": event.status,
        "created_at": event.created_at,
        "invited_at": event.invited_at,
    }


def _format_time(event: Event) -> str:
    year = event.starts_at.astimezone(ZoneInfo(event.zone)).year
    return f"{local_time.format_for_reader(event.starts_at, zone=event.zone, language='en')} ({year})"


def _format_people(number: int) -> str:
    return "1 person is" if number == 1 else f"{number:,} people are"
