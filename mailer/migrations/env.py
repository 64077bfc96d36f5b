"""What alembic runs for each command: our connection, our tables, one transaction around everything."""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext

import mailer.tables  # noqa: F401  (compared with what it registers)
from lists.db import Base, UtcDateTime


def _render(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Write moments as the whole numbers they are, so that old steps need nothing of today's code."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=_render,
)
context.run_migrations()
