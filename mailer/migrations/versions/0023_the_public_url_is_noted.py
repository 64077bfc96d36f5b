"""The public URL is noted, and which run of a restore put this database back."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "public_url",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("url", sa.String(length=400), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_public_url")),
    )
    op.add_column("restores", sa.Column("run", sa.String(length=32), nullable=True))


def downgrade() -> None:
    op.drop_column("restores", "run")
    op.drop_table("public_url")
