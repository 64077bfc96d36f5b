"""Alembic environment: our connection and our tables, all of a command in one transaction."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

import mailer.tables  # noqa: F401  (registers the models to compare with)
from lists.db import Base, UtcDateTime


def _render(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Render times as the integers that they are, so that old migrations need nothing of the present code."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=_render,
)
context.run_migrations()
