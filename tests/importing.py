"""People brought in from a text, as `mailer list import` does it from a file."""

import io
from collections.abc import Callable, Sequence
from datetime import datetime

from lists import addresses, contacts, imports, subscriptions
from lists.db import Database
from lists.imports import ListImport
from lists.tables import column_mapping, importing, table_file
from lists.tables.rows import RowResult
from lists.tables.staging import StagingTable
from tests.people import PEPPER

Import = Callable[..., Sequence[RowResult]]


def staged(data: bytes) -> StagingTable:
    table = table_file.read(io.BytesIO(data))
    stage = StagingTable()
    importing.stage_rows(table, column_mapping.guess(table.columns), stage, pepper=PEPPER)
    return stage


def begun(database: Database, stage: StagingTable, *, list: str, now: datetime) -> ListImport:
    with database.write() as session:
        arrival = imports.begin(session, list=list, fingerprint=b"the sheet", now=now)
    with database.read() as session:
        importing.plan(session, stage, list=list, import_id=arrival.id)
    return arrival


def state(database: Database, email: str, list: str = "interest") -> str | None:
    with database.read() as session:
        contact = contacts.find(session, addresses.parse(email, pepper=PEPPER))
        if contact is None:
            return None
        found = subscriptions.find(session, contact_id=contact.id, list=list)
        return None if found is None else found.state
