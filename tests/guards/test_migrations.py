"""Migrations: they create exactly the tables of the code, on both databases."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, insert, text

from lists.db import Database
from lists.errors import Conflict
from mailer import migrations
from mailer.reasons import Reason

HASHES = Path(__file__).parent / "migrations.sha256"
TABLES = ("contacts", "editions", "outbox", "attempts")
WIDE = "our mail server: it cannot send to addresses with letters like ñ or é before the @"
# What versions before 0027 stored, and the code and the detail that it becomes.
OLD_SENTENCES: Mapping[str, tuple[str, str]] = {
    "": ("", ""),
    "paused": (Reason.PAUSED, ""),
    "never joined": (Reason.NEVER_JOINED, ""),
    "left while it was held": (Reason.LEFT_WHILE_HELD, ""),
    "their server asked us to try again later": (Reason.DEFERRED, ""),
    "their server did not answer in time; tried again": (Reason.NO_ANSWER, ""),
    "their server refuses us, not this person; tried again": (Reason.SENDER_REFUSED, ""),
    "their server refused it": (Reason.REFUSED, ""),
    "the relay cannot be reached": (Reason.RELAY_UNREACHABLE, ""),
    "its connection failed, while others got through": (Reason.CONNECTION_FAILED, ""),
    "their server lets others wait; tried in a while": (Reason.SLOW_SERVER, ""),
    "waits for a mail server of ours that can carry it": (Reason.NO_CAPABLE_RELAY, ""),
    "waits for the limit of gmail.com": (Reason.DOMAIN_RATE_LIMIT, "gmail.com"),
    "strict.example refuses our mail": (Reason.DOMAIN_SUSPENDED, "strict.example"),
    "mail to strict.example is paused by staff": (Reason.DOMAIN_PAUSED, "strict.example"),
    "the connection broke after the last byte": (Reason.CONNECTION_BROKEN, ""),
    "the server did not answer in time": (Reason.LATE_ANSWER, ""),
    "a fault of the program while it was handed over": (Reason.PROGRAM_FAULT, ""),
    "a fault of the program: ValueError": (Reason.PROGRAM_FAULT, "ValueError"),
    "its worker died at the last byte": (Reason.WORKER_DIED, ""),
    "the machine stopped while it was claimed": (Reason.MACHINE_STOPPED, ""),
    "its worker was lost": (Reason.WORKER_LOST, ""),
    "it may have left before the backup was restored": (Reason.BEFORE_RESTORE, ""),
    "nobody can say whether it arrived; once more": (Reason.RESENT_IN_DOUBT, ""),
    "its journal says so": (Reason.JOURNAL, ""),
    "missing link": (Reason.MISSING_LINK, ""),
    "missing link: toolkit_url, guide_url": (Reason.MISSING_LINK, "toolkit_url, guide_url"),
    WIDE: (Reason.NO_SMTPUTF8, ""),
    "our mail server: it takes no 8-bit text": (Reason.NO_8BITMIME, ""),
    "our mail server: it takes no message of more than 10,240 octets": (Reason.RELAY_SIZE_LIMIT, "10,240"),
    "our mail server: 552 5.3.4 message too big": (Reason.SERVER_SIZE_LIMIT, "552 5.3.4 message too big"),
    "a fault of ours: it cannot be signed: no key": (Reason.OUR_FAULT, "it cannot be signed: no key"),
    "cannot be written: The name is odd.": (Reason.OUR_FAULT, "it cannot be written: The name is odd."),
    "too late": (Reason.TOO_LATE, ""),
    "recalled by staff": (Reason.RECALLED, ""),
    "the call is over or cancelled": (Reason.CALL_OVER, ""),
    "a newer invitation to this call takes its place": (Reason.NEWER_INVITATION, ""),
    "This is the address the invitations come from.": (Reason.OWN_ADDRESS, ""),
    "nothing waits any more": (Reason.NOTHING_WAITS, ""),
    "merged with another address": (Reason.MERGED, ""),
    "the address is another one now": (Reason.ADDRESS_CHANGED, ""),
    "given up by staff": (Reason.GIVEN_UP, ""),
    "staff say it arrived": (Reason.STAFF_SENT, ""),
    "staff want it sent again": (Reason.STAFF_RESEND, ""),
    "the agenda is not there yet": (Reason.OTHER, "the agenda is not there yet"),
    " refuses our mail": (Reason.OTHER, " refuses our mail"),
}


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


def put_rows(database: Database, rows: Mapping[int, tuple[str, str, str]]) -> None:
    """Insert a contact, a message and an attempt for each number: the state, its sentence and the reply."""
    contact = {"name": "", "email_digest": b"d", "language": "en", "created_at": 1, "version": 1}
    contact |= dict.fromkeys(
        ("zip", "city", "county", "state", "zone", "organization", "tradition", "role"), ""
    )
    columns = dict.fromkeys(("ref", "priority", "attempt", "tries", "queued_at", "due_at", "expires_at"), 1)
    with database.write() as session:
        connection = session.connection()
        reflected = {name: Table(name, MetaData(), autoload_with=connection) for name in TABLES}
        edition = {"name": "x", "digest": b"d", "created_at": 1, "content": {}, "shared": {}}
        session.execute(insert(reflected["editions"]).values(id=1, **edition))
        for number, (state, why, reply) in rows.items():
            mailbox = {"email": f"{number}@x.example", "email_key": f"{number}@x.example"}
            person = {**contact, **mailbox, "searchable": False}
            session.execute(insert(reflected["contacts"]).values(id=number, **person))
            row = {"key": f"{number}", "kind": "broadcast", "list": "interest", "state": state, "why": why}
            statement = insert(reflected["outbox"])
            session.execute(statement.values(id=number, contact_id=number, edition_id=1, **row, **columns))
            attempt = {"attempt": 1, "at": 1, "address": "", "outcome": "refused", "reply": reply}
            session.execute(insert(reflected["attempts"]).values(outbox_id=number, **attempt))


def test_messages_that_failed_by_a_fault_of_ours_are_marked_for_staff(empty_database: Database) -> None:
    migrations.upgrade(empty_database, to="0020")
    too_wide = "Not sent: the address has letters outside ASCII, which the relay does"
    rows = {
        1: ("failed", "cannot be written: The subject is too long.", ""),
        2: ("failed", "their server refused it", too_wide),
        3: ("failed", "their server refused it", "5.1.1 no such mailbox"),
    }
    put_rows(empty_database, rows)
    migrations.upgrade(empty_database)
    with empty_database.read() as session:
        stored = session.execute(text("SELECT state, reason, detail FROM outbox ORDER BY id")).all()
    assert [tuple(row) for row in stored] == [
        ("failed", Reason.OUR_FAULT, "it cannot be written: The subject is too long."),
        ("failed", Reason.NO_SMTPUTF8, ""),
        ("failed", Reason.REFUSED, ""),
    ]


def test_every_sentence_that_a_version_stored_becomes_a_code(empty_database: Database) -> None:
    migrations.upgrade(empty_database, to="0026")
    rows = {number: ("held", why, "250 ok") for number, why in enumerate(OLD_SENTENCES, 1)}
    put_rows(empty_database, rows)
    migrations.upgrade(empty_database)
    with empty_database.read() as session:
        stored = session.execute(text("SELECT state, reason, detail FROM outbox ORDER BY id")).all()
    assert [tuple(row) for row in stored] == [("held", *code) for code in OLD_SENTENCES.values()]
    assert {row.reason for row in stored} <= {"", *Reason}


def test_what_stood_in_place_of_a_reply_becomes_a_code(empty_database: Database) -> None:
    migrations.upgrade(empty_database, to="0026")
    replies = {
        "its worker died at the last byte": (Reason.WORKER_DIED, ""),
        "its journal says so": (Reason.JOURNAL, ""),
        "No answer in time.": ("", "No answer in time."),
        "5.1.1 its worker was lost": ("", "5.1.1 its worker was lost"),
    }
    put_rows(empty_database, {number: ("unknown", "", reply) for number, reply in enumerate(replies, 1)})
    migrations.upgrade(empty_database)
    with empty_database.read() as session:
        stored = session.execute(text("SELECT reason, reply FROM attempts ORDER BY id")).all()
    assert [tuple(row) for row in stored] == list(replies.values())


def test_an_update_that_was_recalled_is_in_that_state(empty_database: Database) -> None:
    migrations.upgrade(empty_database, to="0026")
    put_rows(empty_database, {})
    with empty_database.write() as session:
        table = Table("broadcasts", MetaData(), autoload_with=session.connection())
        update = {"subject": "x", "audience": "interest", "edition_id": 1, "cursor": 0, "created_at": 1}
        for number, state, recalled_at in ((1, "filling", None), (2, "filled", None), (3, "filled", 7)):
            values = {"id": number, "state": state, "recalled_at": recalled_at}
            session.execute(insert(table).values(**update, **values))
    migrations.upgrade(empty_database)
    with empty_database.read() as session:
        stored = session.execute(text("SELECT state, recalled_at FROM broadcasts ORDER BY id")).all()
    assert [tuple(row) for row in stored] == [("filling", None), ("filled", None), ("recalled", 7)]


def test_a_database_of_a_newer_version_is_refused_with_what_to_do(empty_database: Database) -> None:
    migrations.upgrade(empty_database)
    with empty_database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refuse in (migrations.upgrade, migrations.require_up_to_date):
        with pytest.raises(Conflict, match="a newer version has used it"):
            refuse(empty_database)


def test_a_database_that_was_changed_by_hand_is_refused_with_the_difference(empty_database: Database) -> None:
    migrations.upgrade(empty_database)
    migrations.require_match(empty_database)
    with empty_database.write() as session:
        session.execute(text("CREATE TABLE other_program (id INTEGER)"))
        session.execute(text("CREATE INDEX ix_by_hand ON outbox (sent_at)"))
    migrations.require_match(empty_database)
    with empty_database.write() as session:
        session.execute(text("ALTER TABLE attempts DROP COLUMN reason"))
    with pytest.raises(Conflict, match=r"(?s)nothing is started.*add_column.*reason"):
        migrations.require_match(empty_database)


def test_no_step_that_was_published_has_changed() -> None:
    """Hold migrations append-only: an installation that took a step never takes it again."""
    lines = HASHES.read_text("utf-8").splitlines()
    published = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    current = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in migrations.VERSIONS_FOLDER.glob("[0-9]*.py")
    }
    assert current == published, "a new step adds its line: sha256sum mailer/migrations/versions/NNNN*.py"
