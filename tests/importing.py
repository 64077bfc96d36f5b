"""Importing: import people from a text, as `mailer list import` does from a file."""

import io
from collections.abc import Callable, Sequence
from datetime import datetime

from lists import addresses, contacts, imports, subscriptions
from lists.db import Database
from lists.imports import ListImport
from lists.tables import column_mapping, csv_file, importing
from lists.tables.row_parsing import RowResult
from lists.tables.staged_rows import StagingTable
from tests.people import PEPPER

Import = Callable[..., Sequence[RowResult]]


def stage_file(data: bytes) -> StagingTable:
    table = csv_file.read(io.BytesIO(data))
    staging = StagingTable()
    importing.stage_rows(table, column_mapping.guess(table.columns), staging, pepper=PEPPER)
    return staging


def begin_import(database: Database, staging: StagingTable, *, list: str, now: datetime) -> ListImport:
    with database.write() as session:
        list_import = imports.begin(session, list=list, fingerprint=b"the sheet", now=now)
    with database.read() as session:
        importing.plan(session, staging, list=list, import_id=list_import.id)
    return list_import


def state(database: Database, email: str, list: str = "interest") -> str | None:
    with database.read() as session:
        contact = contacts.find(session, addresses.parse(email, pepper=PEPPER))
        if contact is None:
            return None
        subscription = subscriptions.find(session, contact_id=contact.id, list=list)
        return None if subscription is None else subscription.state
