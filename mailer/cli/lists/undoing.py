"""`mailer list undo`: undoes a wrong import, after a preview of what it has done."""

import click

from lists import audit, imports
from lists.errors import NotFound
from lists.imports import ListImport
from lists.tables import import_undo as list_undo
from mailer.batches import PAUSE_SECONDS
from mailer.cli import context, output, parameter_types, progress
from mailer.people import import_undo
from mailer.people.import_undo import ImportUndoPreview
from mailer.service import Service

NEWEST_SHOWN = 5
MAX_PEOPLE_SHOWN = 10_000
MESSAGE_COLUMNS = {"kind": "Kind of mail", "state": "State", "number": "How many"}
PERSON_COLUMNS = {"email": "Address", "kind": "Kind of mail", "state": "State", "sent_at": "Sent"}
STATE_NAMES = {"here": "finished", "arriving": "not finished", "undone": "taken back"}


@click.command(name="undo")
@click.argument("number", type=parameter_types.ROW, required=False)
@click.option("--yes", is_flag=True, help="Do it; without this it is only shown.")
@click.option("--show", is_flag=True, help="Name who has got mail by this import already.")
@output.json_option
def undo(*, number: int | None, yes: bool, show: bool, as_json: bool) -> None:
    """Take back an import that was wrong: “mailer list undo 3”.

    First it shows what would happen; --yes does it. Whom the import brought is taken off its list, what waits
    for them is cancelled, and of whom nothing else is known is deleted. Mail that has left already is
    counted, and --show names who has got it.

    Who was here before stays as they were. Who has confirmed since, or changed something by a link of theirs,
    stays; who left stays left; who signed up by the form meanwhile is asked to confirm.

    Without a number it takes back the import that was interrupted, at once: none of its people was written
    to.
    Status 0: done, or shown. Status 2: refused, nothing was changed.
    """
    with context.open_service() as service:
        list_import = _find_import(service, number)
        is_interrupted = list_import.state == "arriving" and list_import.undo_began_at is None
        with service.database.read() as session:
            preview = import_undo.preview(session, list_import)
            person_rows = (
                import_undo.list_messages(session, list_import, limit=MAX_PEOPLE_SHOWN) if show else []
            )
        is_applied = list_import.state != "undone" and (yes or (is_interrupted and number is None))
        deleted_count = _undo(service, list_import, preview) if is_applied else 0
    if as_json:
        report = _build_result(
            list_import, preview, undone=is_applied or list_import.state == "undone", deleted=deleted_count
        )
        output.print_json({**report, "people": person_rows} if show else report)
        return
    _print_preview(list_import, preview, is_applied=is_applied, deleted=deleted_count)
    if show:
        output.print_line("")
        output.print_rows(
            person_rows, columns=PERSON_COLUMNS, as_json=False, none="Nobody has got mail by this import."
        )


def _find_import(service: Service, number: int | None) -> ListImport:
    with service.database.read() as session:
        if number is not None:
            return imports.find(session, number)
        list_import = imports.find_unfinished(session)
        if list_import is not None:
            return list_import
        newest = imports.list_newest(session, limit=NEWEST_SHOWN)
    sentence = "There is no unfinished import."
    if newest:
        descriptions = "; ".join(
            f"{each.id}, {each.began_at:%B %-d, %Y at %H:%M} UTC, to {each.list}, {STATE_NAMES[each.state]}"
            for each in newest
        )
        sentence += f" To take back one that was finished, say its number: mailer list undo {newest[0].id}."
        sentence += f" The newest are: {descriptions}."
    raise NotFound(sentence)


def _undo(service: Service, list_import: ListImport, preview: ImportUndoPreview) -> int:
    """Undo an import, a small transaction at a time; returns the number of contacts deleted."""
    database, clock = service.database, service.clock
    number, is_finished = list_import.id, list_import.state == "here"
    after: int | None = 0 if is_finished else None
    while after is not None:
        with database.write() as session:
            after = list_undo.release_proven(session, list_import, after=after)
        clock.sleep(PAUSE_SECONDS)
    with database.write() as session:
        list_import = imports.begin_undo(session, number, now=clock.now())
    sequences = [each.name for each in service.sequences.schedules if each.list == list_import.list]
    people_count = deleted_count = 0
    after = 0
    with progress.show_bar("Taking back", total=preview.counts.people) as report:
        while after is not None:
            with database.write() as session:
                people, deleted, after = import_undo.undo_batch(
                    session, list_import, sequences=sequences, after=after, now=clock.now()
                )
            people_count, deleted_count = people_count + people, deleted_count + deleted
            report(people_count)
            clock.sleep(PAUSE_SECONDS)
    with database.write() as session:
        imports.end(session, number, state="undone", now=clock.now())
        subject = f"import {number}, {people_count} off {list_import.list}"
        audit.record(
            session, actor=context.ACTOR, action="import taken back", subject=subject, now=clock.now()
        )
    service.database.truncate_wal()
    return deleted_count


def _build_result(
    list_import: ListImport, preview: ImportUndoPreview, *, undone: bool, deleted: int
) -> dict[str, object]:
    counts = preview.counts
    return {
        "import": list_import.id,
        "list": list_import.list,
        "undone": undone,
        "off_the_list": counts.removed - counts.asked_again,
        "asked_again": counts.asked_again,
        "left": counts.left,
        "stay": counts.proven,
        "cancelled": preview.waiting,
        "deleted": deleted,
        "mails": [
            {"kind": kind, "state": state, "number": number} for kind, state, number in preview.message_counts
        ],
    }


def _print_preview(
    list_import: ListImport, preview: ImportUndoPreview, *, is_applied: bool, deleted: int
) -> None:
    counts, number = preview.counts, list_import.id
    output.print_line(
        f"Import {number} of {list_import.began_at:%B %-d, %Y at %H:%M} UTC,"
        f" to the list {list_import.list}.\n"
    )
    if list_import.state == "undone":
        output.print_line("It was taken back already.")
    else:
        for count, phrase in (
            (counts.removed - counts.asked_again, "taken off the list"),
            (counts.asked_again, "signed up themselves meanwhile, and are asked to confirm"),
            (counts.proven, "confirmed or changed something themselves, and stay"),
            (counts.left, "left meanwhile, and stay so"),
            (preview.waiting, "messages that wait for them, cancelled"),
        ):
            if count:
                output.print_line(f"{count:>7,}  {phrase}")
    output.print_line("")
    mails = [{"kind": kind, "state": state, "number": count} for kind, state, count in preview.message_counts]
    if mails:
        output.print_line("This mail has left for them already, and nobody can call it back:")
        output.print_rows(mails, columns=MESSAGE_COLUMNS, as_json=False)
        output.print_line(f"Who has got it: mailer list undo {number} --show")
    else:
        output.print_line("Nobody whom it brought was written to.")
    if is_applied:
        remaining = counts.removed - counts.asked_again - deleted
        output.print_line(f"\n{_format_taken_back(deleted=deleted, remaining=remaining)}")
    elif list_import.state != "undone":
        output.print_line(f"\nNothing was changed. To do it: mailer list undo {number} --yes")


def _format_taken_back(*, deleted: int, remaining: int) -> str:
    sentences = ["Taken back."]
    if deleted:
        sentences.append(f"Of {'one person' if deleted == 1 else f'{deleted:,}'} nothing is kept.")
    if remaining:
        people = "One is" if remaining == 1 else f"{remaining:,} are"
        sentences.append(f"{people} still known here, without this list.")
    return " ".join(sentences)
