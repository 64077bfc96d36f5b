"""Migrations: the database brought up to date, one numbered step after another (alembic)."""

from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from lists.db import Base, Database
from lists.errors import Conflict

ONE_AT_A_TIME = (
    7_264_001  # a number of our own for PostgreSQL's advisory lock; SQLite's write lock does it alone
)


def upgrade(database: Database) -> Sequence[str]:
    """Bring the database to the newest step; returns the steps taken. Two processes at once wait in turn."""
    with database.write() as session:
        connection = session.connection()
        if database.dialect == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": ONE_AT_A_TIME})
        before = _revision(connection)
        command.upgrade(_config(connection), "head")
        steps = ScriptDirectory.from_config(_config(connection)).iterate_revisions("head", before or "base")
        return [f"{step.revision} {step.doc}" for step in reversed(list(steps)) if step.revision != before]


def require_newest(database: Database) -> None:
    """Raise Conflict, with what to do, unless the database is at the newest step."""
    with database.read() as session:
        connection = session.connection()
        newest = ScriptDirectory.from_config(_config(connection)).get_current_head()
        if _revision(connection) != newest:
            raise Conflict("The database is not up to date. Run “mailer db upgrade” first.")


def differences(database: Database) -> Sequence[str]:
    """Return how the database differs from what the code describes; empty when it does not."""
    import mailer.pulse
    import mailer.runs
    import mailer.service  # noqa: F401  (every table is known once the service's parts are, and these two)

    with database.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"include_name": _ours})
        return [str(difference) for difference in compare_metadata(context, Base.metadata)]


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name != "alembic_version"


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
