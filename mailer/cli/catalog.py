"""`mailer list add | reword | close | reopen`: the lists that staff add."""

from collections.abc import Mapping
from pathlib import Path

import click
from sqlalchemy.orm import Session

from lists import catalog
from lists.catalog import MailingList
from lists.contacts import LANGUAGES
from lists.errors import BadInput
from mailer.cli import context, output
from mailer.cli.parameter_types import FILE_PATH
from mailer.service import Service
from mailer.templates import rendering, templates
from mailer.web.public import added_list

COLUMNS = {
    "name": "Name",
    "page": "Page",
    "title": "Title",
    "title_es": "Title in Spanish",
    "about": "What comes",
    "about_es": "The same in Spanish",
    "letter": "Asks to confirm with",
    "added_at": "Added",
    "closed_at": "Closed",
    "links_mended_at": "Links to leave work since",
}
MESSAGE_HELP = (
    "The mail that asks to confirm, as a Markdown file in both languages; else a shared one is sent."
)
MessageTexts = dict[str, dict[str, str]]


@click.command()
@click.argument("name")
@click.option("--title", required=True, help="What people call it, in English.")
@click.option("--title-es", required=True, help="The same in Spanish.")
@click.option("--about", required=True, help="What comes, and how often, in a sentence or two.")
@click.option("--about-es", required=True, help="The same in Spanish.")
@click.option("--letter", "file", type=FILE_PATH, help=MESSAGE_HELP)
@output.json_option
def add(
    *, name: str, title: str, title_es: str, about: str, about_es: str, file: Path | None, as_json: bool
) -> None:
    """Add a list with a page of its own, where people can join it.

    Example: mailer list add clergy --title "Clergy circle" --title-es "Círculo del clero"
    --about "One letter a month." --about-es "Una carta al mes."

    What people agree to is the title and what comes, as they stood that day. A --letter is written like an
    update (“mailer broadcast send --help”), with a link to {{ confirm_url }} in each language.

    What happens next: the page is there at once, and nothing leads to it until you give its address to
    people. Each of them gets a mail that asks to confirm.
    """
    with context.open_service() as service, service.database.write() as session:
        mailing_list = catalog.add(
            session,
            name,
            title={"en": title, "es": title_es},
            about={"en": about, "es": about_es},
            confirmation_message=_read_message(file) if file else {},
            now=service.clock.now(),
            actor=context.ACTOR,
        )
        previews = _preview_question(service, session, mailing_list)
        row = to_row(service, mailing_list)
    _print_result(row, f"The list {name} is open: {row['page']}", previews, as_json=as_json)


@click.command()
@click.argument("name")
@click.option("--title", default="", help="What people call it now, in English.")
@click.option("--title-es", default="", help="The same in Spanish.")
@click.option("--about", default="", help="What comes now, and how often.")
@click.option("--about-es", default="", help="The same in Spanish.")
@click.option("--letter", "file", type=FILE_PATH, help=MESSAGE_HELP)
@click.option("--shared-letter", is_flag=True, help="Send the shared mail again to ask people to confirm.")
@output.json_option
def reword(
    *,
    name: str,
    title: str,
    title_es: str,
    about: str,
    about_es: str,
    file: Path | None,
    shared_letter: bool,
    as_json: bool,
) -> None:
    """Change the words of a list that you added: “mailer list reword clergy --about "Two letters a month."”.

    Who is on it agreed to the words of their day, and those stay with each person. If more will come than
    they agreed to, tell them in an update first, and how to leave.
    """
    if file and shared_letter:
        raise BadInput("Give --letter or --shared-letter, not both.")
    message = _read_message(file) if file else {} if shared_letter else None
    with context.open_service() as service, service.database.write() as session:
        mailing_list = catalog.reword(
            session,
            name,
            title={"en": title, "es": title_es},
            about={"en": about, "es": about_es},
            confirmation_message=message,
            now=service.clock.now(),
            actor=context.ACTOR,
        )
        previews = _preview_question(service, session, mailing_list)
        row = to_row(service, mailing_list)
    _print_result(row, f"The list {name} has its new words: {row['page']}", previews, as_json=as_json)


@click.command()
@click.argument("name")
@output.json_option
def close(*, name: str, as_json: bool) -> None:
    """Let nobody join a list any more: “mailer list close clergy”.

    What happens next: its page says that it is closed. Who is on it stays, gets your updates, and can leave.
    """
    with context.open_service() as service, service.database.write() as session:
        row = to_row(service, catalog.close(session, name, now=service.clock.now(), actor=context.ACTOR))
    _print_result(row, f"Nobody can join the list {name} any more.", {}, as_json=as_json)


@click.command()
@click.argument("name")
@output.json_option
def reopen(*, name: str, as_json: bool) -> None:
    """Let people join a closed list again: “mailer list reopen clergy”."""
    with context.open_service() as service, service.database.write() as session:
        row = to_row(service, catalog.reopen(session, name, now=service.clock.now(), actor=context.ACTOR))
    _print_result(row, f"The list {name} is open again: {row['page']}", {}, as_json=as_json)


def to_row(service: Service, mailing_list: MailingList) -> dict[str, object]:
    """Return the facts about a list that staff added."""
    return {
        "name": mailing_list.name,
        "page": f"{service.settings.public_url}{added_list.sign_up_path(mailing_list.name)}",
        "title": mailing_list.title["en"],
        "title_es": mailing_list.title["es"],
        "about": mailing_list.about["en"],
        "about_es": mailing_list.about["es"],
        "letter": "its own letter" if mailing_list.letter else "the shared letter",
        "added_at": mailing_list.added_at,
        "closed_at": mailing_list.closed_at,
        "links_mended_at": mailing_list.links_mended_at,
    }


def _read_message(file: Path) -> MessageTexts:
    """Read a confirmation message in every language; raises BadInput when one is missing, BrokenTemplate."""
    sources = templates.parse_update(templates.read(file), path=file.name)
    for source in sources.values():  # at this point the line numbers are those of the file
        rendering.check_source(source)
    missing = [catalog.LANGUAGE_NAMES[language] for language in LANGUAGES if language not in sources]
    if missing:
        raise BadInput(f"The letter has no {' and no '.join(missing)} text. Everybody is asked in their own.")
    return {
        language: {"subject": source.subject, "preview": source.preview, "body": source.body}
        for language, source in sources.items()
    }


def _preview_question(
    service: Service, session: Session, mailing_list: MailingList
) -> Mapping[str, dict[str, str]]:
    """Return the mail that asks to confirm, by language, as rendered for a sample reader.

    Raises BadInput for one that could not be sent to every reader.
    """
    edition = service.confirmations.freeze_edition(session, mailing_list.name, now=service.clock.now())
    service.preflight.check_confirmation(edition, list=mailing_list.name, now=service.clock.now())
    sample = {
        "name": "",  # no reader is addressed by name before the confirmation
        "leave_url": "",
        "preferences_url": service.links.preferences_url(0),
        "confirm_url": service.links.confirm_url(0, 0),
    }
    previews = {
        language: service.editions.preview(edition, language, sample=sample) for language in LANGUAGES
    }
    return {
        language: {"subject": preview.subject, "text": preview.text} for language, preview in previews.items()
    }


def _print_result(
    row: dict[str, object], sentence: str, previews: Mapping[str, Mapping[str, str]], *, as_json: bool
) -> None:
    if as_json:
        output.print_json(row | ({"question": previews} if previews else {}))
        return
    for language, preview in previews.items():
        output.print_line(f"--- What asks to confirm, in {catalog.LANGUAGE_NAMES[language]} ---")
        output.print_line(f"Subject: {preview['subject']}\n\n{preview['text'].rstrip()}\n")
    output.print_line(sentence)
