"""Migration writer: writes what the models have more than the newest revision into a numbered file."""

import sys
import tempfile
from pathlib import Path

from alembic import command

from lists.db import Database
from mailer.migrations import _config, upgrade


def main() -> None:
    """Compare an empty database at the newest revision with the models, and write the difference."""
    message = " ".join(sys.argv[1:]).strip()
    if not message:
        sys.exit('Say what the migration does: scripts/migration "Add the notes of a contact"')
    versions = Path(__file__).parent / "versions"
    number = f"{len(list(versions.glob('[0-9]*.py'))) + 1:04d}"
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/empty.db")
        upgrade(database)
        with database.read() as session:
            config = _config(session.connection())
            config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
            command.revision(config, message=message, autogenerate=True, rev_id=number)
        database.dispose()


if __name__ == "__main__":
    main()
