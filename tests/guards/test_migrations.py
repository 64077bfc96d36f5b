"""Migrations: they create exactly the tables of the code, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import insert, text

from lists.db import EPOCH, Base, Database
from lists.errors import Conflict
from mailer import migrations
from mailer.outbox.held_messages import NO_SMTPUTF8


def test_migrations_create_exactly_the_tables_of_the_code(empty_database: Database) -> None:
    assert migrations.upgrade(empty_database)
    assert migrations.list_differences(empty_database) == []


def test_a_database_that_is_up_to_date_stays_as_it_is(empty_database: Database) -> None:
    migrations.upgrade(empty_database)
    assert migrations.upgrade(empty_database) == []
    migrations.require_up_to_date(empty_database)


def test_the_newest_step_is_the_one_with_the_highest_number() -> None:
    steps = ScriptDirectory(str(migrations.VERSIONS_FOLDER.parent))
    assert steps.get_heads() == [migrations.newest_revision()]
    for step in steps.walk_revisions():
        assert Path(step.path).name.startswith(f"{step.revision}_")


def test_an_empty_database_is_refused_with_what_to_do(empty_database: Database) -> None:
    with pytest.raises(Conflict, match="mailer db create"):
        migrations.require_up_to_date(empty_database)


def test_two_processes_that_start_at_once_migrate_once(empty_database: Database) -> None:
    with ThreadPoolExecutor(2) as threads:
        steps = [step for result in threads.map(migrations.upgrade, [empty_database] * 2) for step in result]
    assert len(steps) == len(set(steps))
    assert migrations.list_differences(empty_database) == []


def test_messages_that_failed_by_a_fault_of_ours_are_marked_for_staff(empty_database: Database) -> None:
    migrations.upgrade(empty_database, to="0020")
    reasons = {
        1: ("cannot be written: The subject is too long.", ""),
        2: (
            "their server refused it",
            "Not sent: the address has letters outside ASCII, which the relay does",
        ),
        3: ("their server refused it", "5.1.1 no such mailbox"),
    }
    contact = {"name": "", "email_digest": b"d", "language": "en", "created_at": 1, "version": 1}
    contact |= dict.fromkeys(
        ("zip", "city", "county", "state", "zone", "organization", "tradition", "role"), ""
    )
    with empty_database.write() as session:
        tables = {name: Base.metadata.tables[name] for name in ("contacts", "editions", "outbox", "attempts")}
        edition = {"name": "x", "digest": b"d", "created_at": EPOCH, "content": {}, "shared": {}}
        session.execute(insert(tables["editions"]).values(id=1, **edition))
        for number, (why, reply) in reasons.items():
            mailbox = {"email": f"{number}@x.example", "email_key": f"{number}@x.example"}
            person = {**contact, **mailbox, "created_at": EPOCH, "searchable": False}
            session.execute(insert(tables["contacts"]).values(id=number, **person))
            row = {"key": f"{number}", "kind": "broadcast", "list": "interest", "state": "failed", "why": why}
            row |= dict.fromkeys(("ref", "priority", "attempt", "tries"), 1)
            row |= dict.fromkeys(("queued_at", "due_at", "expires_at"), EPOCH)
            session.execute(
                insert(tables["outbox"]).values(id=number, contact_id=number, edition_id=1, **row)
            )
            attempt = {"attempt": 1, "at": EPOCH, "address": "", "outcome": "refused", "reply": reply}
            session.execute(insert(tables["attempts"]).values(outbox_id=number, **attempt))
    migrations.upgrade(empty_database)
    with empty_database.read() as session:
        rows = session.execute(text("SELECT state, why FROM outbox ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [
        ("failed", "a fault of ours: it cannot be written: The subject is too long."),
        ("failed", NO_SMTPUTF8),
        ("failed", "their server refused it"),
    ]
