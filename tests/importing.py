"""People brought in from a text, as `mailer list import` does it from a file."""

import io
from collections.abc import Callable, Sequence
from datetime import datetime

from lists import addresses, contacts, imports, subscriptions
from lists.db import Database
from lists.imports import Arrival
from lists.tables import column_mapping, importing, table_file
from lists.tables.rows import Fate
from lists.tables.staging import Stage
from tests.people import PEPPER

Import = Callable[..., Sequence[Fate]]


def staged(data: bytes) -> Stage:
    table = table_file.read(io.BytesIO(data))
    stage = Stage()
    importing.read(table, column_mapping.guess(table.columns), stage, pepper=PEPPER)
    return stage


def begun(database: Database, stage: Stage, *, list: str, now: datetime) -> Arrival:
    with database.write() as session:
        arrival = imports.begin(session, list=list, fingerprint=b"the sheet", now=now)
    with database.read() as session:
        importing.plan(session, stage, list=list, arrival_id=arrival.id)
    return arrival


def state(database: Database, email: str, list: str = "interest") -> str | None:
    with database.read() as session:
        contact = contacts.find(session, addresses.parse(email, pepper=PEPPER))
        if contact is None:
            return None
        found = subscriptions.find(session, contact_id=contact.id, list=list)
        return None if found is None else found.state
