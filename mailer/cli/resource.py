"""`mailer resource`: the toolkit, the webinar and the other resources that mails and pages lead to."""

from pathlib import Path

import click
from sqlalchemy.orm import Session

from lists.contacts import LANGUAGES
from lists.errors import BadInput
from mailer.cli import context, output, parameter_types
from mailer.cli.lists.group import LANGUAGE_NAMES
from mailer.cli.parameter_types import FILE_PATH
from mailer.library import file_store, resources
from mailer.library.resources import CurrentVersion, ResourceVersion
from mailer.outbox import stats
from mailer.policy import RESOURCES
from mailer.reasons import Reason
from mailer.service import Service

COLUMNS = {
    "number": "Number",
    "slot": "Resource",
    "language": "Language",
    "state": "State",
    "title": "Title",
    "kind": "Kind",
    "size": "Octets",
    "dated": "Dated",
    "leads_to": "Leads to",
}
LABELS = {**COLUMNS, "note": "Note", "added_at": "Added", "retired_at": "Retired"}
CURRENT_STATES = ("current", "settings")


@click.group()
def command() -> None:
    """Keep what the mails and pages lead to: toolkit, webinar, powerpoint, guide, pledge, allies.

    A mail always leads to the newest version, also one that was sent a year ago. Example:
    “mailer resource add toolkit --language en --file toolkit.pdf”.
    """


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Also what was replaced and retired.")
@output.json_option
def list_(*, every: bool, as_json: bool) -> None:
    """Show what stands in each slot, and how many mails wait for one that is empty."""
    with context.open_service() as service, service.database.read() as session:
        rows = _list_rows(session, service)
        waiting = stats.count_held_for(session, Reason.MISSING_LINK)
    visible_rows = [row for row in rows if every or row["state"] in CURRENT_STATES]
    full_slots = {row["slot"] for row in rows if row["state"] in CURRENT_STATES}
    visible_rows += [{"slot": slot, "state": "empty"} for slot in RESOURCES if slot not in full_slots]
    visible_rows.sort(key=lambda row: RESOURCES.index(str(row["slot"])))
    if as_json:
        output.print_json({"versions": visible_rows, "waiting": waiting})
        return
    output.print_rows(visible_rows, columns=COLUMNS, as_json=False)
    for fields, number in waiting.items():
        mails = "One mail waits" if number == 1 else f"{number:,} mails wait"
        output.print_line(f"{mails} for: {fields.replace('_url', '')}.")


@command.command()
@click.argument("number", type=parameter_types.ROW)
@output.json_option
def show(*, number: int, as_json: bool) -> None:
    """Tell everything about one version: “mailer resource show 3”."""
    with context.open_service() as service, service.database.read() as session:
        resources.get(session, number)
        row = next(row for row in _list_rows(session, service) if row["number"] == number)
    output.print_facts(row, labels=LABELS, as_json=as_json)


@command.command()
@click.argument("slot", type=click.Choice(RESOURCES))
@click.option("--language", required=True, type=click.Choice(LANGUAGES), help="The language it is in.")
@click.option("--link", default="", help="Where it is on the web, beginning with https://.")
@click.option("--file", type=FILE_PATH, help="A file to keep and to hand out ourselves.")
@click.option("--title", default="", help="What it is called; the allies' links need one.")
@click.option("--note", default="", help="A sentence about it, in its language.")
@click.option("--date", "dated", default="", help="The day it is from, like 2026-11-22; else today.")
@output.json_option
def add(
    *,
    slot: str,
    language: str,
    link: str,
    file: Path | None,
    title: str,
    note: str,
    dated: str,
    as_json: bool,
) -> None:
    """Put a new version into a slot: a link, or a file of at most 500 MB that is kept and handed out by us.

    Files may be pdf, pptx, docx, odp, odt, mp4, png, jpg and txt. Example:
    “mailer resource add guide --language en --link https://example.org/guide”.

    What happens next: every link in mails, sent and to come, leads to it. Mails that waited for it leave
    within a minute. Nobody is written to about it by itself.
    """
    if bool(link) == (file is not None):
        raise BadInput("Give either --link or --file.")
    with context.open_service() as service:
        with service.database.read() as session:
            has_older = bool(service.editions.library.list_for_language(session, language)[slot])
        stored_file = None if file is None else file_store.store_file(file, home=service.settings.home)
        with service.database.write() as session:
            version = resources.add(
                session,
                slot,
                language=language,
                link=link,
                stored_file=stored_file,
                title=title,
                note=note,
                dated=dated,
                now=service.clock.now(),
                actor=context.ACTOR,
            )
            number = version.id
        with service.database.read() as session:
            row = next(row for row in _list_rows(session, service) if row["number"] == number)
            waiting = stats.count_held_for(session, Reason.MISSING_LINK)
        address = service.editions.library.build_url(slot, language)
    if as_json:
        output.print_json({**row, "address": address})
        return
    output.print_line(f"Version {number} stands in {slot} now, in {LANGUAGE_NAMES[language]}: {address}")
    if any(f"{slot}_url" in fields for fields in waiting):
        output.print_line("Mails that waited for it leave within a minute.")
    if has_older:
        _print_announcement_hint(slot)


@command.command()
@click.argument("number", type=parameter_types.ROW)
@output.json_option
def retire(*, number: int, as_json: bool) -> None:
    """Take a version out for good: “mailer resource retire 3”.

    What happens next: the version before it stands in the slot again; if there is none, the slot is empty and
    mails that lead to it are held. A file that no other version needs is deleted after a day.
    """
    with context.open_service() as service:
        with service.database.write() as session:
            version = resources.retire(session, number, now=service.clock.now(), actor=context.ACTOR)
            slot = version.slot
        with service.database.read() as session:
            rows = _list_rows(session, service)
    if as_json:
        output.print_json(next(row for row in rows if row["number"] == number))
        return
    output.print_line(f"Version {number} is retired.")
    current_rows = [row for row in rows if row["slot"] == slot and row["state"] in CURRENT_STATES]
    for row in current_rows:
        source = "the link in the settings" if row["number"] is None else f"version {row['number']}"
        output.print_line(f"In {slot} stands, in {LANGUAGE_NAMES[str(row['language'])]}: {source}.")
    if not current_rows:
        output.print_line(f"{slot} is empty now: mails that lead to it are held until you add a version.")


def _print_announcement_hint(slot: str) -> None:
    """Print how to announce the new version; links in mails that were sent lead to it already."""
    output.print_line(
        "Links in mails that were sent lead to the new version already. To tell people about it, write a text"
        f" whose link is [Open it{{{{ {slot}_note }}}}]({{{{ {slot}_url }}}}), and look at it first:"
    )
    output.print_line("  mailer broadcast send --file news.md --audience interest --dry-run")


def _list_rows(session: Session, service: Service) -> list[dict[str, object]]:
    """Return every version, the newest first, then the links in the settings, each with its state."""
    current_versions = service.editions.library.list_current(session)
    current = {version.number for version in current_versions}
    rows = [_to_row(version, service, current) for version in resources.list_versions(session)]
    return rows + [_settings_row(version) for version in current_versions if version.number is None]


def _to_row(version: ResourceVersion, service: Service, current: set[int | None]) -> dict[str, object]:
    state = "current" if version.id in current else "retired" if version.retired_at else "replaced"
    values = {key: getattr(version, key) for key in (*LABELS, "file") if hasattr(version, key)}
    is_stored = not version.file or file_store.find_path(version.file, home=service.settings.home)
    leads_to = version.link or (
        f"a file of {version.size:,} octets" if is_stored else "a file that is missing"
    )
    return {
        **values,
        "number": version.id,
        "state": state,
        "kind": version.kind or "link",
        "size": version.size or None,
        "leads_to": leads_to,
    }


def _settings_row(version: CurrentVersion) -> dict[str, object]:
    values = {"number": None, "slot": version.slot, "language": version.language, "state": "settings"}
    return {**values, "kind": "link", "leads_to": version.link}
