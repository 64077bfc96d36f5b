"""Migrations: upgrade the database's schema in numbered steps (alembic).

Whether an upgrade is needed is read from the numbers of the files and one row, without alembic: importing it
takes a third of a second, in which a worker that was just started would not deliver. Only `require_match`
needs it each time; `mailer serve` calls it before it starts a worker.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.orm import Session

from lists.db import Base, Database
from lists.errors import Conflict

if TYPE_CHECKING:
    from alembic.config import Config

VERSIONS_FOLDER = Path(__file__).parent / "versions"  # files that begin with their number, such as 0002
ADVISORY_LOCK = (
    7_264_001  # an arbitrary number for PostgreSQL's advisory lock; on SQLite the write lock suffices
)


def upgrade(database: Database, *, to: str = "head") -> Sequence[str]:
    """Upgrade the database to the newest revision, or to an earlier one; returns the steps taken.

    Two processes at once run one after the other.
    """
    if is_up_to_date(database):
        return []
    refuse_newer(database)
    with database.write(long=True) as session:
        return upgrade_within(session, to=to)


def upgrade_within(session: Session, *, to: str = "head") -> Sequence[str]:
    """Upgrade the database to a revision within this transaction; returns the steps taken."""
    from alembic import command
    from alembic.script import ScriptDirectory

    acquire_lock(session)
    connection = session.connection()
    previous = _current_revision(connection)
    command.upgrade(_config(connection), to)
    steps = ScriptDirectory.from_config(_config(connection)).iterate_revisions(to, previous or "base")
    return [f"{step.revision} {step.doc}" for step in reversed(list(steps)) if step.revision != previous]


def acquire_lock(session: Session) -> None:
    """Wait until no other process creates tables, and block others until this transaction ends."""
    if session.connection().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": ADVISORY_LOCK})


def is_up_to_date(database: Database) -> bool:
    """Tell whether the database is at the newest revision."""
    with database.read() as session:
        return _current_revision(session.connection()) == newest_revision()


def has_tables(database: Database) -> bool:
    """Tell whether the database has any revision; the check does not create a missing file."""
    if database.file is not None and not database.file.exists():
        return False
    with database.read() as session:
        return session_has_tables(session)


def session_has_tables(session: Session) -> bool:
    """Tell whether the database has tables, as this transaction sees it."""
    return _current_revision(session.connection()) is not None


def newest_revision() -> str:
    """Return the number of the newest revision."""
    return max(_list_revisions())


def _list_revisions() -> set[str]:
    return {path.name.partition("_")[0] for path in VERSIONS_FOLDER.glob("[0-9]*.py")}


def refuse_newer(database: Database) -> None:
    """Raise Conflict, with what to do, for a database at a revision that this program does not have."""
    with database.read() as session:
        revision = _current_revision(session.connection())
    if revision is not None and revision not in _list_revisions():
        raise Conflict(
            f"The database is at step {revision}, which this version of the program does not have: a newer"
            " version has used it. Install that version again, or restore a backup of before it."
        )


def require_up_to_date(database: Database) -> None:
    """Raise Conflict, with what to do, unless the database is at the newest revision."""
    require_tables(database)
    if not is_up_to_date(database):
        refuse_newer(database)
        raise Conflict("The database is not up to date. Run “mailer db upgrade” first.")


def require_tables(database: Database) -> None:
    """Raise Conflict, with what to do, for a database that is missing or empty."""
    if not has_tables(database):
        where = f"The database {database.file}" if database.file else "The database that database_url names"
        raise Conflict(
            f"{where} is empty or missing, so there is nobody to answer about. If it was lost, put a backup"
            " back (“mailer db restore”); if it never was, begin with “mailer serve” or “mailer db create”."
        )


def require_match(database: Database) -> None:
    """Raise Conflict, with every difference, unless the database has all that the models need.

    Tables and indexes that the models do not have are no difference here: other programs may use the same
    database, and an operator may have made an index.
    """
    differences = [each for each in _compare(database) if not _is_surplus(each)]
    if differences:
        lines = "\n".join(map(str, differences))
        raise Conflict(
            "The database is not as this version of the program left it, so nothing is started. Restore a"
            f" backup (“mailer db restore”), or undo what was changed by hand:\n{lines}"
        )


def list_differences(database: Database) -> Sequence[str]:
    """Return the differences between the database and the models; empty when there are none."""
    return [str(difference) for difference in _compare(database)]


def _is_surplus(difference: object) -> bool:
    return isinstance(difference, tuple) and difference[0] in ("remove_table", "remove_index")


def _compare(database: Database) -> Sequence[object]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    import mailer.tables  # noqa: F401  (registers the models to compare with)

    with database.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"include_name": _is_ours})
        return list(compare_metadata(context, Base.metadata))


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name != "alembic_version"


def _current_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    number: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return number


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
