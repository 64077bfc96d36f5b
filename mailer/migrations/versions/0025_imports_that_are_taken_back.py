"""Imports that are taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("arrivals", sa.Column("undo_began_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("arrivals", "undo_began_at")
