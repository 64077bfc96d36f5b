"""Consents without the network: nobody writes it down, and what was is deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("consents", "source")


def downgrade() -> None:
    op.add_column("consents", sa.Column("source", sa.LargeBinary(length=16), nullable=True))
