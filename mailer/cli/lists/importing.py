"""`mailer list import`: imports people from a file, all or none, with the evidence of their consent."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

import click

from lists import catalog, fields, imports, subscriptions
from lists.contacts import LANGUAGES
from lists.errors import BadInput, NotFound
from lists.fields import Field
from lists.tables import (
    column_mapping,
    csv_file,
    csv_records,
    encoding_detection,
    importing,
    refusal_wording,
    text_matching,
    yes_no_cells,
)
from lists.tables.column_mapping import FIELDS, ColumnMapping
from lists.tables.csv_file import TableFile
from lists.tables.staged_rows import UNDECIDED, StagingTable
from mailer.cli import context, output, progress
from mailer.cli.lists import import_report
from mailer.cli.parameter_types import FILE_PATH
from mailer.service import Service
from mailer.web import signup_sheet

ANNOUNCE_BATCH = 2_000  # people announced to the sequences at once
BATCH_PAUSE_SECONDS = 0.01  # between batches; a waiting sign-up polls for the free database every 4 ms
CHUNK_OCTETS = 1 << 18  # octets read at once


@click.command(name="import")
@click.argument("file", type=FILE_PATH)
@click.option("--list", "list_name", required=True, help="The list they join.")
@click.option(
    "--consent",
    default="",
    help='Where it can be seen that they agreed: "signed the sheet at St. Mark on October 4, 2026".',
)
@click.option("--sheet", "congregation", help="It was written on the paper sheet of this congregation.")
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="Of the sheet: 2026-10-04.")
@click.option("--sheet-language", type=click.Choice(LANGUAGES), default="en", help="Of the sheet.")
@click.option("--confirmed", is_flag=True, help="They have agreed already: do not ask them by mail first.")
@click.option("--dry-run", is_flag=True, help="Only tell what would happen; nothing is changed.")
@click.option("--refused", type=FILE_PATH, help="Write the rows that cannot be used here.")
@click.option("--leave-out-refused", is_flag=True, help="Import the others; needs --refused.")
@click.option("--show-mapping", is_flag=True, help="Only show what each column is read as.")
@click.option(
    "--map",
    "corrections",
    multiple=True,
    metavar="COLUMN=FIELD",
    help=f'Say what a column is: "Correo=email". Nothing after “=”: not read. Fields: {", ".join(FIELDS)}.',
)
@click.option(
    "--ignore-column",
    "ignored_columns",
    multiple=True,
    metavar="COLUMN",
    help="This column says nothing about who wants mail, whatever it looks like.",
)
@click.option(
    "--yes-means",
    multiple=True,
    metavar="TEXT",
    help='Who has this text agreed: "I want the monthly letter".',
)
@click.option(
    "--encoding", default="", help=f"If it was not found out: {', '.join(encoding_detection.CODECS)}."
)
@click.option(
    "--separator", default="", help=f"If it was not found out: {', '.join(csv_records.SEPARATORS)}."
)
@output.json_option
def command(
    *, file: Path, list_name: str, consent: str, congregation: str | None, day: datetime | None,
    sheet_language: str, confirmed: bool, dry_run: bool, refused: Path | None, leave_out_refused: bool,
    show_mapping: bool, corrections: Sequence[str], ignored_columns: Sequence[str], yes_means: Sequence[str],
    encoding: str, separator: str, as_json: bool,
) -> None:  # fmt: skip
    """Bring people in from a file: all of them, or none if any row is wrong.

    It reads CSV files of any spreadsheet, and what other tools export: docs/importing.md names them.
    The first line names the columns. Only the address is required; name, language (en or es) and ZIP code
    are read too. Who left, bounces or is blocked in the other tool is passed over. A column that may say so
    and is not understood stops the import, and you are told what to type.

    Try it first: mailer list import people.csv --list interest --consent "sheet of October 4" --dry-run

    What happens next: each of them gets a mail that asks to confirm. With --confirmed they are on the list
    at once; use it only when you can show that each of them asked for this, for --consent is kept with every
    person as the proof. Nobody comes back this way who left, was forgotten or must not be written to.

    All of them count at once, at the end. An import that was interrupted goes on with the same command, and
    “mailer list undo” takes it back; until then nobody of it is written to. “mailer list undo NUMBER” takes
    back one that was finished.
    Status 0: done. Status 2: refused, nothing was changed.
    """
    if congregation is not None:
        other = bool(consent or confirmed)
        consent = _signup_sheet_evidence(congregation, day, sheet_language, has_other_evidence=other)
    if leave_out_refused and refused is None:
        raise BadInput("Add --refused FILE, so that the rows that are left out are not lost.")
    evidence = importing.check_evidence(consent)
    request = ImportRequest(list=list_name, consent=evidence, confirmed=confirmed)
    yes_texts = _parse_yes_texts(yes_means)
    with context.open_service() as service, _open_file(file) as stream, StagingTable() as staging:
        request.check(service)
        table = csv_file.read(stream, encoding=encoding, separator=separator)
        custom_fields = _list_custom_fields(service)
        mapping = _guess_columns(
            table, file.name, corrections=_parse_corrections(corrections), ignored_columns=ignored_columns,
            custom_fields=custom_fields,
        )  # fmt: skip
        if not as_json:
            import_report.print_format(table, mapping)
        if show_mapping:
            import_report.print_mapping(mapping, as_json=as_json)
            return
        fingerprint = request.fingerprint(stream, mapping, yes_texts)
        _stage_rows(stream, table, mapping, staging, service, custom_fields, yes_texts)
        _plan_rows(staging, request, fingerprint, service)
        if refused is not None:
            import_report.write_unusable_rows(refused, mapping, staging)
        wrong_count = staging.counts()["wrong"]
        is_imported = not dry_run and (leave_out_refused or not wrong_count)
        number = _import_rows(staging, request, fingerprint, service) if is_imported else None
        import_report.print_report(
            staging, table, mapping, is_imported=is_imported, number=number, as_json=as_json
        )
        if wrong_count and not leave_out_refused:
            import_report.refuse_unusable_rows(wrong_count, refused=refused)
        if not as_json:
            import_report.print_next_steps(
                staging, confirmed=confirmed, is_imported=is_imported, number=number, refused=refused
            )


def _signup_sheet_evidence(
    congregation: str, day: datetime | None, language: str, *, has_other_evidence: bool
) -> str:
    """Return the evidence of a paper sheet; it does not prove that an address belongs to the person."""
    if has_other_evidence:
        raise BadInput("A sheet is its own evidence, and each of them is asked: no --consent or --confirmed.")
    if day is None:
        raise BadInput("Say when it was written: --date 2026-10-04.")
    return signup_sheet.build_evidence(congregation, date=f"{day:%Y-%m-%d}", language=language)


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """The parameters of an import: the list, the evidence of consent, and whether staff vouch for it."""

    list: str
    consent: str
    confirmed: bool

    def check(self, service: Service) -> None:
        """Raise NotFound for an unknown list, Conflict for a closed one, BadInput where people must apply."""
        with service.database.read() as session:
            catalog.check_open(session, self.list)
        if self.list == "organizers" and not self.confirmed:
            raise BadInput(
                "Organizers join by applying on the page, and staff approve them. Add --confirmed if these"
                " people have agreed to be on the organizer list, or send them the page."
            )

    def fingerprint(self, file: BinaryIO, mapping: ColumnMapping, yes_means: frozenset[str]) -> bytes:
        """Return a digest that is equal only for the same request with the same file."""
        position = file.tell()
        file.seek(0)
        digest = hashlib.sha256()
        for chunk in iter(partial(file.read, CHUNK_OCTETS), b""):
            digest.update(chunk)
        file.seek(position)
        parameters = [self.list, self.consent, self.confirmed, [*mapping.fields], mapping.file_exclusion]
        digest.update(json.dumps([*parameters, sorted(mapping.waived_indexes), sorted(yes_means)]).encode())
        return digest.digest()


@contextmanager
def _open_file(file: Path) -> Iterator[BinaryIO]:
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.") from None
    except OSError as trouble:
        raise BadInput(f"The file {file} cannot be read: {trouble.strerror}.") from trouble
    with stream:
        yield stream


def _list_custom_fields(service: Service) -> Mapping[str, Field]:
    """Return the fields that staff defined, by name."""
    with service.database.read() as session:
        return fields.list_active(session)


def _parse_corrections(pairs: Sequence[str]) -> dict[str, str]:
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise BadInput(f"“{wrong[0]}” says no column and field. Write --map like this: --map “Correo=email”.")
    parts = [pair.rpartition("=") for pair in pairs]
    return {column.strip(): field.strip() for column, _, field in parts}


def _guess_columns(
    table: TableFile,
    file_name: str,
    *,
    corrections: Mapping[str, str],
    ignored_columns: Sequence[str],
    custom_fields: Mapping[str, Field],
) -> ColumnMapping:
    """Return the field of each column.

    Raises BadInput when the name of the file says that its people want no mail, and no column says who does.
    """
    titles = {name: field.title for name, field in custom_fields.items()}
    mapping = column_mapping.guess(
        table.columns,
        file_name=file_name,
        corrections=corrections,
        ignored_columns=ignored_columns,
        custom_fields=titles,
    )
    words = refusal_wording.find_in_file_name(file_name)
    if words and not mapping.file_exclusion and not mapping.mail_status_columns:
        raise BadInput(
            f"The name of the file says “{words}”: people who want no mail, or whose addresses take none."
            " They must not be brought in. If these people did agree to mail from you, give the file"
            " another name."
        )
    return mapping


def _parse_yes_texts(texts: Sequence[str]) -> frozenset[str]:
    """Return the normalized texts that count as a yes; raises BadInput for one that is a no."""
    if wrong := [text for text in texts if yes_no_cells.parse_answer(text) in ("no", "nothing")]:
        raise BadInput(f"“{wrong[0]}” is no yes. After --yes-means stands the whole text that people ticked.")
    return frozenset(text_matching.normalize(text) for text in texts)


def _stage_rows(
    file: BinaryIO,
    table: TableFile,
    mapping: ColumnMapping,
    staging: StagingTable,
    service: Service,
    custom_fields: Mapping[str, Field],
    yes_means: frozenset[str],
) -> None:
    position = file.tell()
    file.seek(0)
    lines = sum(chunk.count(b"\n") for chunk in iter(partial(file.read, CHUNK_OCTETS), b""))
    file.seek(position)
    with progress.show_bar("Reading", total=lines) as report:
        importing.stage_rows(
            table,
            mapping,
            staging,
            custom_fields=custom_fields,
            pepper=service.keys.pepper,
            yes_means=yes_means,
            progress=report,
        )


def _plan_rows(staging: StagingTable, request: ImportRequest, fingerprint: bytes, service: Service) -> None:
    """Decide the result of each row; an import that was interrupted keeps the people it imported already."""
    total = staging.count(UNDECIDED)
    with progress.show_bar("Comparing", total=total) as report, service.database.read() as session:
        unfinished = imports.find_unfinished(session)
        is_same = unfinished is not None and unfinished.fingerprint == fingerprint
        number = unfinished.id if is_same and unfinished is not None else None
        importing.plan(session, staging, list=request.list, import_id=number, progress=report)


def _import_rows(
    staging: StagingTable, request: ImportRequest, fingerprint: bytes, service: Service
) -> int | None:
    """Write the people whom the plan adds, batch by batch, and activate all of them at the end.

    Returns the number of the import, None when there are none to import.
    """
    total = staging.counts()["added"]
    if not total:
        return None
    database, clock = service.database, service.clock
    with database.write() as session:
        list_import = imports.begin(session, list=request.list, fingerprint=fingerprint, now=clock.now())
    with progress.show_bar("Importing", total=total) as report:
        row_count = 0
        for batch in staging.batches("added"):
            with database.write() as session:
                results = importing.import_batch(
                    session,
                    batch,
                    list_import=list_import,
                    evidence=request.consent,
                    confirmed=request.confirmed,
                    now=clock.now(),
                )
            staging.decide(results)
            row_count += len(batch)
            report(row_count)
            clock.sleep(BATCH_PAUSE_SECONDS)
    with database.write() as session:
        importing.finish(
            session,
            list_import,
            people=staging.counts()["added"],
            confirmed=request.confirmed,
            now=clock.now(),
            actor=context.ACTOR,
        )
    after: int | None = 0
    while after is not None:
        with database.write() as session:
            after = subscriptions.queue_changes(
                session, import_id=list_import.id, after=after, limit=ANNOUNCE_BATCH
            )
        clock.sleep(BATCH_PAUSE_SECONDS)
    return list_import.id
