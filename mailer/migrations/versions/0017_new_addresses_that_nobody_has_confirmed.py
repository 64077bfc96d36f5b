"""New addresses that nobody has confirmed yet."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("contacts", sa.Column("readdressed_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("contacts", "readdressed_at")
