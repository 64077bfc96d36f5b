"""Lists whose links to leave were refused until now, and updates to a part of a list."""

import re

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

NOW = {  # the database's clock, in microseconds
    "sqlite": "SELECT CAST(strftime('%s', 'now') AS INTEGER) * 1000000",
    "postgresql": "SELECT CAST(extract(epoch FROM now()) * 1000000 AS BIGINT)",
}
READ_BEFORE = re.compile(r"[a-z][a-z_]{0,29}")  # the names that links were read with until this version


def upgrade() -> None:
    op.add_column("broadcasts", sa.Column("segment", sa.String(length=20), server_default="", nullable=False))
    op.add_column("mailing_lists", sa.Column("links_mended_at", sa.BigInteger(), nullable=True))
    lists = sa.table("mailing_lists", sa.column("name"), sa.column("links_mended_at"))
    clock = sa.table("tryout_clock", sa.column("offset"))
    connection = op.get_bind()
    ahead = connection.scalar(sa.select(sa.func.max(clock.c.offset))) or 0
    now = connection.scalar(sa.text(NOW[connection.dialect.name])) + ahead
    for name in connection.scalars(sa.select(lists.c.name)).all():
        if not READ_BEFORE.fullmatch(name):
            connection.execute(lists.update().where(lists.c.name == name).values(links_mended_at=now))


def downgrade() -> None:
    op.drop_column("mailing_lists", "links_mended_at")
    op.drop_column("broadcasts", "segment")
