"""How far a worker's clock is from the database's."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pulses", sa.Column("skew", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("pulses", "skew")
